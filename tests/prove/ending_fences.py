"""The fences of endings: when a conversation is gone, how another is begun, what ends with it, and that what is used stays."""

from tests.prove.fence import Fence, gone

ALIVE, CLAIMS, SPENDING = "core/store/alive.py", "core/store/claims.py", "core/store/spending.py"
ENDINGS, ENDS, LOCKS = "core/store/endings.py", "core/store/ends.py", "core/store/locks.py"
EXPIRING = "core/store/expired.py"
SESSIONS, ANSWERING, VISITORS = "core/store/sessions.py", "core/answering.py", "core/store/visitors.py"
GONE, EXTENDING = "tests/store/test_alive.py", "tests/store/test_extending.py"
ENDED, CLEANED = "tests/store/test_endings.py", "tests/store/test_clean_up.py"
ANEW, LOGOUT = "tests/core/test_beginning_anew.py", "tests/functions/test_logout.py"

EXPIRED = (
    *(
        gone(f"expired means gone, in {name}", file, place, old, GONE, new)
        for name, file, place, old, new in (
            ("the conversation that is meant", VISITORS, "ITS: Final", " AND {ALIVE}", ""),
            ("whatever is theirs", VISITORS, "THEIRS: Final", " AND {ALIVE}", ""),
        )
    ),
    gone(
        "expired means gone, in the claim",
        CLAIMS,
        "_CLAIM_TEXT: Final",
        "{ALIVE} END AS",
        ANEW,
        "true END AS",
    ),
    *(
        gone(f"{name} keeps it alive", ALIVE, "ALIVE: Final", old, GONE, new)
        for name, old, new in (
            ("a lease", "COALESCE(s.lease_expires_at > clock.at, false)", "false"),
            ("an open turn", "alive_t.ended_at IS NULL", "false"),
            ("a question", "alive_a.status = 'pending'", "false"),
            ("an application session", "alive_p.session_id = s.id", "false"),
        )
    ),
    gone(
        "a question whose time is over does not",
        ALIVE,
        "ALIVE: Final",
        "AND alive_a.expires_at > clock.at",
        GONE,
    ),
    gone(
        "one that was made when it was gone does not",
        ALIVE,
        "ALIVE: Final",
        "AND alive_p.created_at < s.last_active_at + make_interval(secs => s.idle_ttl)",
        GONE,
    ),
    gone(
        "an application session past its time does not",
        ALIVE,
        "ALIVE: Final",
        "AND alive_p.last_active_at + make_interval(secs => alive_p.idle_ttl) > clock.at",
        GONE,
    ),
)

EXTENDED = (
    *(
        gone(f"{name} extends its time", file, place, old, EXTENDING, new)
        for name, file, place, old, new in (
            ("a lock", LOCKS, "_SET: Final", ", last_active_at = {USED}", ""),
            ("a lock that is cleared", LOCKS, "_CLEAR: Final", ", last_active_at = {USED}", ""),
            ("an outcome", "core/store/outcomes.py", "_SETTLE: Final", ", last_active_at = {USED}", ""),
            ("an answer", ENDS, "_FINISH: Final", " last_active_at = {EXTENDED},", ""),
            ("an end", ENDS, "_CLOSE: Final", " last_active_at = {EXTENDED},", ""),
            (
                "a decision",
                "core/store/approvals.py",
                "_DECIDE: Final",
                "ELSE {USED} END",
                "ELSE s.last_active_at END",
            ),
        )
    ),
    gone(
        "time that decides does not",
        "core/store/approvals.py",
        "_DECIDE: Final",
        "CASE WHEN :decision = 'expired' THEN s.last_active_at ELSE {USED} END",
        EXTENDING,
        "{USED}",
    ),
    gone("the slack of a look", SESSIONS, "_LOOK: Final", " AND {IS_SLACK}", EXTENDING),
    gone("the slack of an end", ALIVE, "EXTENDED: Final", "{IS_SLACK}", EXTENDING, "true"),
    gone(
        "a look extends only what it read",
        SESSIONS,
        "_LOOK: Final",
        " AND s.lease_epoch = k.lease_epoch",
        ANEW,
    ),
    gone("a lock is set only on what was read", LOCKS, "_SET: Final", "AND s.version = its.version", ANEW),
    gone(
        "a lock is cleared only on what was read",
        LOCKS,
        "def clearing",
        " AND s.version = its.version",
        ANEW,
    ),
)

BEGUN = (
    gone(
        "the version of what is passed over",
        CLAIMS,
        "passed_over AS (",
        "AND s.version = d.version ",
        ANEW,
    ),
    gone("its time is looked at once more", CLAIMS, "passed_over AS (", " AND NOT {OWN_TIME}", ANEW),
    gone(
        "what is passed over gets a new version",
        CLAIMS,
        "passed_over AS (",
        "SET version = s.version + 1,",
        ANEW,
        "SET",
    ),
    gone(
        "what is passed over gets a new epoch",
        CLAIMS,
        "passed_over AS (",
        ", lease_epoch = s.lease_epoch + 1",
        ANEW,
    ),
    gone(
        "a device is moved from where it was read to be",
        CLAIMS,
        "moved AS (",
        " AND c.session_id IS NOT DISTINCT FROM l.left_id",
        ANEW,
    ),
    gone(
        "the organisation of whoever begins anew",
        CLAIMS,
        "opened AS (",
        "(SELECT u.org_id FROM users u WHERE u.id = new.user_id)",
        ANEW,
        "NULL",
    ),
    gone("nothing is begun anew beyond a budget", CLAIMS, "passed_over AS (", " %(unless)s", ANEW),
    gone(
        "nothing is begun after a logout beyond a budget",
        CLAIMS,
        "leaving AS MATERIALIZED (",
        " %(unless)s",
        ANEW,
    ),
    gone(
        "what the old one had spent is its own",
        SPENDING,
        "OVER: Final",
        "s.id = d.session_id AND d.is_alive",
        ANEW,
        "s.id = d.session_id",
    ),
)

ENDING = (
    gone("the version of what is ended", ENDINGS, "GONE: Final", " AND s.version = k.version", ENDED),
    gone("a reservation is read under its lock", ENDINGS, "GONE: Final", "    FOR UPDATE OF t\n", ENDED),
    gone(
        "what was reserved counts as spent",
        ENDINGS,
        "GONE: Final",
        "spent_micros = p.spent_micros + b.micros",
        ENDED,
        "spent_micros = p.spent_micros",
    ),
    gone(
        "what was reserved is given back",
        ENDINGS,
        "GONE: Final",
        "reserved_micros = p.reserved_micros - b.micros",
        ENDED,
        "reserved_micros = p.reserved_micros",
    ),
    gone(
        "only what is its own",
        ENDINGS,
        "_END: Final",
        " WHERE held_as = 'owner'",
        "tests/store/test_visitors.py",
    ),
    gone(
        "application sessions end with it",
        ENDINGS,
        "WITH_IT: Final",
        "WHERE p.session_id = g.id",
        ENDED,
        "WHERE p.session_id = g.id AND false",
    ),
    gone(
        "and with its ID",
        ENDINGS,
        "_END_SESSION: Final",
        "WHERE p.session_id = :session_id AND (",
        ENDED,
        "WHERE p.session_id = :session_id AND false AND (",
    ),
    gone("only what is not alive is cleaned up", EXPIRING, "_CLEAN_UP: Final", " AND NOT {ALIVE}", CLEANED),
    gone(
        "an application session that is used at the moment keeps it",
        EXPIRING,
        "_CLEAN_UP: Final",
        " WHERE id NOT IN (SELECT session_id FROM beside WHERE is_alive)",
        CLEANED,
    ),
    gone(
        "application sessions are judged under their locks",
        EXPIRING,
        "beside AS MATERIALIZED (",
        "    FOR UPDATE OF p\n",
        CLEANED,
    ),
    gone(
        "application sessions are cleaned up with it",
        EXPIRING,
        "with_it AS (",
        "WHERE p.session_id = g.id",
        CLEANED,
        "WHERE p.session_id = g.id AND false",
    ),
    gone("no clean-up waits for another", EXPIRING, "_CLEAN_UP: Final", " SKIP LOCKED", CLEANED),
    gone(
        "an application session goes with its conversation, not before",
        EXPIRING,
        "_CLEAN_UP_ALONE: Final",
        "AND NOT COALESCE((SELECT true FROM conversation_states s WHERE s.id = p.session_id), false)",
        CLEANED,
    ),
    gone(
        "who waits is told that it was ended",
        ANSWERING,
        "    def _still",
        "raise SessionEnded from None",
        LOGOUT,
        "raise",
    ),
)

ENDING_FENCES: tuple[Fence, ...] = (*EXPIRED, *EXTENDED, *BEGUN, *ENDING)
