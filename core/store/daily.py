"""The day's book: what a thing counts as, and the counts of all that is final.

A figure is what the book says, and the few things that are not in it yet. A thing goes into the book once it is final: by the
clean-up (`counting`), or by whoever takes it away, if they come first. All of them count by the fragments of this module, so a
thing is the same wherever it is counted, and a conversation that ends changes no figure of the past.

What can go wrong, and why it cannot:

* *A row is counted twice, or not at all.* It says whether it was counted, and the statement that counts it sets that, or takes the row
  away, under the row's lock. So for whoever looks at one snapshot of rows and book it is in one of them.
* *Many count at once.* Each adds to the rows of its own connection's shard, so they seldom wait for each other.
* *Two wait for each other.* Counting comes last in its statement, behind every other lock that it takes, and by the order of the key.

A thing is counted in the hour (UTC) in which it began: a message was accepted, a lock was set. Durations are counted by upper
bounds that grow by a quarter of a doubling, so a percentile is never too low and at most a fifth too high (and a millisecond).

**Locks.** A lock is a line of the audit (`lock_set`), and the next line about the lock of its conversation decides what became of it.
So it is that next line which is counted, and with it the lock before. A conversation's last lock has no such line: it is counted when
the conversation goes, and until then it is read from where it stands.
"""

from typing import Final

from core.store.revision import ABOUT_LOCKS, COUNTS

# The smallest upper bound that a duration of so many milliseconds fits under.
_BOUND: Final = "CAST(ceil(power(2.0, ceil(4 * ln(GREATEST({ms}, 1.0)) / ln(2.0)) / 4)) AS bigint)"  # 1 2 3 4 5 6 7 8 10 12 14 16 20...
_MS: Final = "CAST(GREATEST(EXTRACT(EPOCH FROM {span}), 0) * 1000 AS double precision)"


def bound(span: str) -> str:
    return _BOUND.format(ms=_MS.format(span=span))


def _used(kind: str) -> str:
    return f"COALESCE(CAST(t.usage ->> '{kind}' AS bigint), 0)"


_KINDS: Final = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write": "cache_creation_input_tokens",
}
_TOKENS: Final = " + ".join(_used(kind) for kind in _KINDS.values())
_AGENT: Final = "COALESCE(t.agent, '')"
_ANSWERED: Final = "t.status IN ('completed', 'failed')"

# What a turn's time went into, as its run tells; see core/run.py.
STAGES: Final = ("claim", "model", "tools", "finish")


def _stage(stage: str) -> str:
    ms = f"CAST(t.usage -> 'run' ->> '{stage}' AS double precision)"
    return f"CASE WHEN {_ANSWERED} AND {ms} > 0 THEN CAST({_BOUND.format(ms=ms)} AS text) END, 1"


# By figure, what a turn `t` counts as: name, label and value. No label, or nothing: it does not count. {open} is what one counts as
# that has not ended: what it is, while it is there; else that its conversation went before it had ended.
_OF_TURN: Final = {
    "turns": ("'turns', CASE WHEN t.ended_at IS NULL THEN {open} ELSE t.status END, 1",),
    "errors": (
        "'errors', CASE WHEN t.status = 'failed' THEN COALESCE(left(t.error ->> 'code', 64), '') END, 1",
    ),
    "latency": (
        f"'latency', CASE WHEN {_ANSWERED} THEN CAST({bound('t.ended_at - t.created_at')} AS text) END, 1",
    ),
    "stages": tuple(f"'stage.{stage}', {_stage(stage)}" for stage in STAGES),
    "tokens": tuple(f"'tokens', '{label}', {_used(kind)}" for label, kind in _KINDS.items()),
    "cost": (f"'cost', {_AGENT}, {_used('cost_micros')}",),
    "unpriced": (
        f"'unpriced', CASE WHEN t.usage ->> 'cost_micros' IS NULL AND {_TOKENS} > 0 THEN {_AGENT} END, 1",
    ),
    "recoveries": ("'recoveries', 'crashes', t.crashes",),
    "history": ("'history', left(t.usage -> 'run' ->> 'history', 64), 1",),
}
OF_TURNS: Final = tuple(_OF_TURN)
# The columns that these look at.
TURN: Final = "t.session_id, t.id, t.status, t.agent, t.first_seq, t.joined_to, t.crashes, t.usage, t.error, t.created_at, t.ended_at"

# Younger things are not counted yet: by the same index it is known which conversations are active.
YOUNG_S: Final = 300
# What there is to count.
TURNS_DUE: Final = f"""FROM turns t CROSS JOIN clock
    WHERE NOT t.counted AND t.ended_at IS NOT NULL AND t.created_at < clock.at - make_interval(secs => {YOUNG_S})"""
SESSIONS_DUE: Final = f"""FROM conversation_states s CROSS JOIN clock
    WHERE NOT s.counted AND s.created_at < clock.at - make_interval(secs => {YOUNG_S})
      AND (s.lease_expires_at IS NULL OR s.lease_expires_at <= clock.at)"""
NOTES_DUE: Final = f"FROM audit_log a WHERE NOT a.counted AND a.{COUNTS}"

# A turn that was copied along with a conversation was counted where it was said first. Looked up by the key, for it is not an
# EXISTS, which could be answered by reading all that was ever said.
_FIRST: Final = """COALESCE((
    SELECT m.origin_session IS NULL FROM messages m WHERE m.session_id = t.session_id AND m.seq = COALESCE(
        t.first_seq, (SELECT j.first_seq FROM turns j WHERE j.session_id = t.session_id AND j.id = t.joined_to))), true)"""


def of_turns(source: str, where: str, *, still_open: str, figures: tuple[str, ...] = OF_TURNS) -> str:
    """(at, name, label, value) of the turns `t` of a source."""
    values = ", ".join(
        f"({value.replace('{open}', still_open)})" for name in figures for value in _OF_TURN[name]
    )
    return f"""
    SELECT t.created_at AS at, f.name, CAST(f.label AS text) AS label, CAST(f.value AS bigint) AS value
    FROM {source} CROSS JOIN LATERAL (VALUES {values}) AS f(name, label, value)
    WHERE {where} AND {_FIRST} AND f.label IS NOT NULL AND f.value <> 0
    """


# What became of a lock, and for how long it was held.
HOW_LOCKS_END: Final = ("expired", "cleared", "renewed", "handed_over", "ended")
OF_LOCKS: Final = ("locks.held", *(f"{what}.{how}" for how in HOW_LOCKS_END for what in ("locks", "held_ms")))


_LAST_LINE: Final = f"""SELECT p.at, p.action, p.agent, p.until FROM audit_log p WHERE {{which}} AND p.{ABOUT_LOCKS} ORDER BY p.id DESC LIMIT 1"""


def _locks(source: str, lock: str, held: str, how: str, where: str) -> str:
    """Of locks `a`, each of which is the line that set it."""
    return f"""
    SELECT a.at, f.name, f.label, f.value
    FROM {source}
    CROSS JOIN LATERAL ({lock}) AS a
    CROSS JOIN LATERAL (SELECT COALESCE(a.agent, '') AS agent, {held} - a.at AS held, {how} AS how) AS fate
    CROSS JOIN LATERAL (VALUES
        ('locks.' || fate.how, CASE WHEN fate.how = 'held' THEN fate.agent ELSE fate.agent || '/' || {bound("fate.held")} END, 1),
        ('held_ms.' || fate.how, CASE WHEN fate.how <> 'held' THEN fate.agent END,
            CAST({_MS.format(span="fate.held")} AS bigint))) AS f(name, label, value)
    WHERE {where} AND a.action = 'lock_set' AND f.label IS NOT NULL AND f.value <> 0
    """


def of_locks(source: str, where: str) -> str:
    """Of the lines `n` of the audit: the lock before each, which it ended, or which its own time had ended before that."""
    how = """CASE WHEN n.action = 'lock_expired' OR a.until <= n.at THEN 'expired'
        WHEN n.action <> 'lock_set' THEN 'cleared' WHEN n.agent = a.agent THEN 'renewed' ELSE 'handed_over' END"""
    lock = _LAST_LINE.format(which="p.session_id = n.session_id AND p.id < n.id")
    return _locks(source, lock, "LEAST(n.at, a.until)", how, f"{where} AND n.{ABOUT_LOCKS}")


# The conversation's row says what the line that set its lock says, and is at hand. But where a merge left a lock as it was, the row says
# since when; and what was rewritten is counted there.
_STANDING: Final = f"""
        SELECT s.locked_at AS at, 'lock_set' AS action, s.active_agent AS agent,
            s.locked_at + make_interval(secs => s.session_ttl) AS until
        WHERE s.rewrites = 0
        UNION ALL SELECT * FROM ({_LAST_LINE.format(which="p.session_id = s.id AND s.rewrites > 0")}) AS line
    """


def of_last_locks(source: str, where: str, *, still_held: str) -> str:
    """Of the conversations `s`: the lock that each stands under, as of a `clock`."""
    how = f"CASE WHEN a.until <= clock.at THEN 'expired' ELSE {still_held} END"
    where = f"{where} AND s.locked_at IS NOT NULL"
    return _locks(f"{source} CROSS JOIN clock", _STANDING, "LEAST(a.until, clock.at)", how, where)


def of_held(source: str, where: str) -> str:
    """Of the conversations `s` whose lock is as the row has it, and not over: the same, by the hour, for there may be very many."""
    return f"""
    SELECT date_trunc('hour', s.locked_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS at, 'locks.held' AS name, s.active_agent AS label,
        count(*) AS value
    FROM {source} WHERE {where} AND s.locked_at IS NOT NULL AND s.rewrites = 0 GROUP BY 1, 3
    """


def of_cleanups(source: str, where: str) -> str:
    """Of the lines `a` of the audit: what a sweep ended."""
    return f"""
    SELECT a.at, 'cleanups' AS name, CASE a.action WHEN 'lock_expired' THEN 'locks' ELSE 'approvals' END AS label, 1 AS value
    FROM {source}
    WHERE {where} AND a.action IN ('lock_expired', 'approval_expired')
    """


def of_begun(source: str, where: str) -> str:
    return f"SELECT s.created_at AS at, 'sessions' AS name, 'begun' AS label, 1 AS value FROM {source} WHERE {where}"


# The rows of `said`, each an (at, name, label, value), go into the book behind everything that `after` names.
_COUNTED: Final = """
counted AS (
    INSERT INTO daily_stats AS d (day, hour, name, label, shard, value)
    SELECT CAST(u.at AS date), CAST(EXTRACT(HOUR FROM u.at) AS integer), u.name, u.label, pg_backend_pid() %% 8, sum(u.value)
    FROM (SELECT said.at AT TIME ZONE 'UTC' AS at, said.name, said.label, said.value FROM said) AS u %(after)s
    GROUP BY 1, 2, 3, 4
    ORDER BY 1, 2, 3, 4
    ON CONFLICT (day, hour, name, label, shard) DO UPDATE SET value = d.value + EXCLUDED.value
)
"""


def counted(*after: str) -> str:
    """`counted`, from `said`; it takes its locks when those have taken theirs, which return something."""
    return _COUNTED % {
        "after": "".join(f"CROSS JOIN (SELECT count(*) FROM {name}) AS {name}_done " for name in after)
    }


# Of the conversations `gone`, as of a `clock`, all that was not counted before: its rows are locked, so whoever counts them at this
# moment has counted them before, or finds them gone. Where they end as `how` says, and `settled` and `with_it` are done before.
COUNTED_OUT: Final = f"""
last_turns AS MATERIALIZED (
    SELECT {TURN} FROM gone g JOIN turns t ON t.session_id = g.id AND NOT t.counted
    ORDER BY t.session_id, t.id
    FOR UPDATE OF t
),
last_notes AS MATERIALIZED (
    SELECT a.session_id, a.id, a.at, a.action, a.agent FROM gone g JOIN audit_log a ON a.session_id = g.id AND NOT a.counted AND a.{COUNTS}
    ORDER BY a.session_id, a.id
    FOR UPDATE OF a
),
said AS MATERIALIZED (
    {of_turns("last_turns t", "true", still_open="'abandoned'")}
    UNION ALL {of_locks("last_notes n", "true")}
    UNION ALL {of_last_locks("gone s", "true", still_held="'ended'")}
    UNION ALL {of_cleanups("last_notes a", "true")}
    UNION ALL {of_begun("gone s", "NOT s.counted")}
    UNION ALL SELECT clock.at, 'sessions', CASE WHEN g.merged_into IS NULL THEN {{how}} ELSE 'merged' END, 1
    FROM gone g CROSS JOIN clock
    UNION ALL SELECT clock.at, 'cleanups', 'sessions', 1 FROM gone g CROSS JOIN clock WHERE {{how}} = 'expired'
),
{counted("settled", "with_it")}
"""
# Takes out of the book again what was not final in the conversations `gone` when they went, and was counted as of that. What was final
# stays in it, so its rows come back as counted ones. That they went, and came back, stays there too.
COUNTED_BACK: Final = f"""
said AS MATERIALIZED (
    SELECT back.at, back.name, back.label, -back.value AS value FROM (
        {of_turns("gone g JOIN turns t ON t.session_id = g.id", "t.ended_at IS NULL", still_open="'abandoned'")}
        UNION ALL {of_last_locks("gone s", "true", still_held="'ended'")}
    ) AS back
    UNION ALL SELECT now(), 'sessions', 'restored', 1 FROM gone
),
{counted()}
"""
