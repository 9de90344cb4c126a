"""Fences around who asks: what they are in a conversation, what a claim lets them say, how much, and what a cache answers them."""

from tests.prove.fence import gone

VISITORS = "core/store/visitors.py"
CLAIMS = "core/store/claims.py"
RATES = "core/store/rates.py"
CURRENT = "core/sessions/current.py"
READ = "tests/store/test_visitors.py"
SPEAKING = "tests/core/test_speaking.py"
SENDING = "tests/core/test_rates.py"
CACHED = "tests/functions/test_session_from_the_cache.py"

LET_IN = (
    *(
        gone(name, VISITORS, place, old, READ, new)
        for name, place, old, new in (
            (
                "the boundary of an organisation",
                "HELD_AS: Final",
                "s.org_id IS NOT NULL AND s.org_id IS DISTINCT FROM a.org_id",
                "false",
            ),
            ("a link that was taken back", "HELD_AS: Final", " AND l.revoked_at IS NULL", ""),
            ("a link whose time is over", "HELD_AS: Final", " AND l.expires_at > clock.at", ""),
            ("a link's own conversation", "HELD_AS: Final", "l.session_id = s.id AND ", ""),
            ("a device that was signed out", "ASKER: Final", "c.revoked_at IS NULL", "true"),
            ("the version of a token", "ASKER: Final", "c.token_version = :token_version", "true"),
            ("whose token it is", "ASKER: Final", "u.subject = :subject", "true"),
        )
    ),
    gone(
        "a stop takes an editor",
        "core/reception.py",
        "    def cancel",
        "demand(stored.held_as, Role.EDITOR)",
        READ,
        "pass",
    ),
    gone("a lock takes an editor", "core/store/locks.py", "_SET: Final", " AND {EDITS}", READ),
)

SPOKEN = (
    gone("a viewer says nothing", CLAIMS, "known AS MATERIALIZED", " AND {EDITS}", SPEAKING),
    gone(
        "nobody begins anew whose device was signed out",
        CLAIMS,
        "moved AS (",
        " AND c.revoked_at IS NULL",
        SPEAKING,
    ),
    gone(
        "where a conversation is named none begins",
        CLAIMS,
        "leaving AS MATERIALIZED",
        " AND NOT d.is_elsewhere",
        SPEAKING,
    ),
    gone(
        "what waits says who sent it",
        "core/store/admissions.py",
        "_ADMIT_TEXT: Final",
        "NULLIF(a.user_id, s.user_id)",
        SPEAKING,
        "CAST(NULL AS uuid)",
    ),
)

SENT = (
    gone(
        "the last place of a device",
        RATES,
        "DEVICE_HAS_ROOM: Final",
        "c.rate_at IS NULL OR",
        SENDING,
        "true OR c.rate_at IS NULL OR",
    ),
    gone(
        "the last place of a network",
        RATES,
        "ADDRESS_HAS_ROOM: Final",
        "purse.rate_at > at",
        SENDING,
        "false AND purse.rate_at > at",
    ),
    gone("what is not taken is not charged", CLAIMS, "_CHARGED: Final", "FOR UPDATE OF s", SENDING),
    gone(
        "the last place that is taken",
        RATES,
        "_TAKE: Final",
        "WHERE r.rate_at <= EXCLUDED.rate_at + make_interval(secs => :room_s - :every_s)",
        SENDING,
    ),
)

ANSWERED = (
    gone(
        "the version of a token, in the cache",
        CURRENT,
        "def _shows",
        "asked.token_version is None or",
        CACHED,
        "True or",
    ),
    gone(
        "whose token it is, in the cache",
        CURRENT,
        "def _shows",
        "asked.subject is None or",
        CACHED,
        "True or",
    ),
    gone(
        "a conversation that is named, in the cache",
        CURRENT,
        "    def look",
        "asked.session_id is not None or asked.link is not None",
        CACHED,
        "False",
    ),
)

VISITOR_FENCES = (*LET_IN, *SPOKEN, *SENT, *ANSWERED)
