"""The day's book: what a thing counts as, and the counts of what is no longer there.

A figure of the past is made of rows that are still there and of `daily_stats`, into which each row is counted by the very statement
that takes it away. Both count by the fragments of this module, so a conversation that ends changes no figure of the past.

What can go wrong, and why it cannot:

* *A row is counted twice, or not at all.* It is counted where it goes, in one statement: it is there or it is counted, for whoever
  looks at one snapshot of both. It goes at the version of its conversation that it was read at, so what is counted is what goes.
* *Many count at once.* Each adds to the rows of its own connection's shard, so they seldom wait for each other.
* *Two wait for each other.* Counting comes last in its statement, behind every other lock that it takes, and by the order of the key.

A thing is counted in the hour (UTC) in which it began: a message was accepted, a lock was set. Durations are counted by upper
bounds that grow by a quarter of a doubling, so a percentile is never too low and at most a fifth too high (and a millisecond).
"""

from typing import Final

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

# By figure, what a turn `t` counts as: label and value. No label, or nothing: it does not count. {open} is what one counts as that
# has not ended: what it is, while it is there; else that its conversation went before it had ended.
_OF_TURN: Final = {
    "turns": ("CASE WHEN t.ended_at IS NULL THEN {open} ELSE t.status END, 1",),
    "errors": ("CASE WHEN t.status = 'failed' THEN COALESCE(left(t.error ->> 'code', 64), '') END, 1",),
    "latency": (
        f"CASE WHEN t.status IN ('completed', 'failed') THEN CAST({bound('t.ended_at - t.created_at')} AS text) END, 1",
    ),
    "tokens": tuple(f"'{label}', {_used(kind)}" for label, kind in _KINDS.items()),
    "cost": (f"{_AGENT}, {_used('cost_micros')}",),
    "unpriced": (f"CASE WHEN t.usage ->> 'cost_micros' IS NULL AND {_TOKENS} > 0 THEN {_AGENT} END, 1",),
}
OF_TURNS: Final = tuple(_OF_TURN)

# A turn that was copied along with a conversation was counted where it was said first. Looked up by the key, for it is not an
# EXISTS, which could be answered by reading all that was ever said.
_FIRST: Final = """COALESCE((
    SELECT m.origin_session IS NULL FROM messages m WHERE m.session_id = t.session_id AND m.seq = COALESCE(
        t.first_seq, (SELECT j.first_seq FROM turns j WHERE j.session_id = t.session_id AND j.id = t.joined_to))), true)"""


def of_turns(source: str, where: str, *, still_open: str, figures: tuple[str, ...] = OF_TURNS) -> str:
    """(at, name, label, value) of the turns `t` of a source."""
    values = ", ".join(
        f"('{name}', {value.replace('{open}', still_open)})" for name in figures for value in _OF_TURN[name]
    )
    return f"""
    SELECT t.created_at AS at, f.name, CAST(f.label AS text) AS label, CAST(f.value AS bigint) AS value
    FROM {source} CROSS JOIN LATERAL (VALUES {values}) AS f(name, label, value)
    WHERE {where} AND {_FIRST} AND f.label IS NOT NULL AND f.value <> 0
    """


# What became of a lock that was set by a line of the audit (as `a`), in (agent, how, held): ended by the next line about the lock,
# or by its own time, if that came first.
_FATE: Final = """
    CROSS JOIN clock
    LEFT JOIN LATERAL (
        SELECT n.at, n.action, n.agent FROM audit_log n
        WHERE n.session_id = a.session_id AND n.id > a.id AND n.action IN ('lock_set', 'lock_cleared', 'lock_expired')
        ORDER BY n.id LIMIT 1
    ) AS next ON true
    CROSS JOIN LATERAL (
        SELECT COALESCE(a.agent, '') AS agent, LEAST(next.at, a.until, clock.at) - a.at AS held,
            CASE WHEN next.action = 'lock_expired' OR a.until <= COALESCE(next.at, clock.at) THEN 'expired'
                WHEN next.at IS NULL THEN {still_held}
                WHEN next.action = 'lock_cleared' THEN 'cleared'
                WHEN next.agent = a.agent THEN 'renewed'
                ELSE 'handed_over' END AS how
    ) AS fate
"""


def of_locks(source: str, where: str, *, still_held: str) -> str:
    """Of the lines `a` of the audit: how many locks were held for how long, and for how many milliseconds in all."""
    return f"""
    SELECT a.at, f.name, f.label, f.value
    FROM {source} {_FATE.format(still_held=still_held)}
    CROSS JOIN LATERAL (VALUES
        ('locks.' || fate.how, CASE WHEN fate.how = 'held' THEN fate.agent ELSE fate.agent || '/' || {bound("fate.held")} END, 1),
        ('held_ms.' || fate.how, CASE WHEN fate.how <> 'held' THEN fate.agent END,
            CAST({_MS.format(span="fate.held")} AS bigint))) AS f(name, label, value)
    WHERE {where} AND a.action = 'lock_set' AND f.label IS NOT NULL AND f.value <> 0
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


# What goes with the conversations `gone`, as of a `clock`.
_WITH: Final = f"""
    {of_turns("gone g JOIN turns t ON t.session_id = g.id", "true", still_open="'abandoned'")}
    UNION ALL {of_locks("gone g JOIN audit_log a ON a.session_id = g.id", "true", still_held="'ended'")}
    UNION ALL {of_cleanups("gone g JOIN audit_log a ON a.session_id = g.id", "true")}
    UNION ALL {of_begun("gone s", "true")}
"""
# The same, where they end as `how` says, and `settled` and `with_it` are done before.
COUNTED_OUT: Final = f"""
said AS MATERIALIZED (
    {_WITH}
    UNION ALL SELECT clock.at, 'sessions', CASE WHEN g.merged_into IS NULL THEN {{how}} ELSE 'merged' END, 1
    FROM gone g CROSS JOIN clock
    UNION ALL SELECT clock.at, 'cleanups', 'sessions', 1 FROM gone g CROSS JOIN clock WHERE {{how}} = 'expired'
),
{counted("settled", "with_it")}
"""
# Takes out of the book again what went into it with conversations that are `gone` no more; that they went, and came back, stays there.
COUNTED_BACK: Final = f"""
said AS MATERIALIZED (
    SELECT back.at, back.name, back.label, -back.value AS value FROM ({_WITH}) AS back
    UNION ALL SELECT now(), 'sessions', 'restored', 1 FROM gone
),
{counted()}
"""
