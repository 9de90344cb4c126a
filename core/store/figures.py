"""The operators' figures: what the book says, and the few things that are not in it yet. Only read here.

What can go wrong, and why it cannot: a thing is counted, or its conversation ends, while somebody reads. Rows and book are read in one
statement, so from one snapshot, and it is in one of them. What each figure counts stands in docs/figures.md.

All that is read here is found by indexes on what is not counted yet, what is open, and what is held: of what is over and counted no row is
looked at, however many there are.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import TextClause, text

from core.store.daily import (
    OF_LOCKS,
    OF_TURNS,
    STAGES,
    of_begun,
    of_cleanups,
    of_held,
    of_last_locks,
    of_locks,
    of_turns,
)
from core.store.database import Database
from core.store.fence import CLOCK
from core.store.revision import COUNTS, LOCK_END
from core.values import dataclass

# Bound as they are, so that whoever plans the statement knows them.
_NOW: Final = "COALESCE(CAST(:now AS timestamptz), now())"
_WITHIN: Final = "NOT {0}.counted AND {0}.{1} >= :since AND {0}.{1} < :until"
# A line tells of a lock that was set before it; and a lock is over after it was set. But a line has the time at which its statement began,
# which may have waited for the one that set the lock: no longer than statements take.
_DECIDED: Final = f"NOT n.counted AND n.{COUNTS} AND n.at >= CAST(:since AS timestamptz) - interval '1 minute' AND a.at >= :since AND a.at < :until"
_HELD: Final = f"{LOCK_END} > {_NOW} AT TIME ZONE 'UTC' AND s.locked_at >= :since AND s.locked_at < :until"
# That are over, or that the row does not tell of as it should be told.
_OTHERS: Final = f"""{LOCK_END} >= CAST(:since AS timestamptz) AT TIME ZONE 'UTC'
    AND (s.rewrites > 0 OR {LOCK_END} <= {_NOW} AT TIME ZONE 'UTC') AND a.at >= :since AND a.at < :until"""

_LOCKS: Final = f"""{of_locks("audit_log n", _DECIDED)}
    UNION ALL {of_held("conversation_states s", _HELD)}
    UNION ALL {of_last_locks("conversation_states s", _OTHERS, still_held="'held'")}"""
_CLEANUPS: Final = of_cleanups("audit_log a", f"{_WITHIN.format('a', 'at')} AND a.{COUNTS}")
_BEGUN: Final = of_begun("conversation_states s", _WITHIN.format("s", "created_at"))


def _turns(*figures: str) -> str:
    return of_turns("turns t", _WITHIN.format("t", "created_at"), still_open="t.status", figures=figures)


_LIVE: Final = {
    **{figure: _turns(figure) for figure in OF_TURNS},
    "locks": _LOCKS,
    "cleanups": _CLEANUPS,
    "sessions": _BEGUN,
}
FIGURES: Final = tuple(_LIVE)
# The names that a figure has in the book, where that is not its own.
_NAMES: Final = {"locks": OF_LOCKS, "stages": tuple(f"stage.{stage}" for stage in STAGES)}


def _summed(live: str, names: str) -> TextClause:
    """What is in the book, and what is not, of one snapshot, by buckets of a step."""
    return text(f"""
    WITH {CLOCK},
    said AS (
        SELECT at AT TIME ZONE 'UTC' AS at, name, label, value FROM ({live}) AS live
        UNION ALL
        SELECT d.day + make_interval(hours => d.hour), d.name, d.label, d.value FROM daily_stats d
        WHERE d.day BETWEEN CAST(CAST(:since AS timestamptz) AT TIME ZONE 'UTC' AS date)
            AND CAST(CAST(:until AS timestamptz) AT TIME ZONE 'UTC' AS date)
          AND d.day + make_interval(hours => d.hour) >= CAST(:since AS timestamptz) AT TIME ZONE 'UTC'
          AND d.day + make_interval(hours => d.hour) < CAST(:until AS timestamptz) AT TIME ZONE 'UTC'
          AND ({names})
    )
    SELECT date_trunc(:step, at) AT TIME ZONE 'UTC' AS at, name, label, CAST(sum(value) AS bigint) AS value
    FROM said GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    """)


def _named(figure: str) -> str:
    names = ", ".join(f"'{name}'" for name in _NAMES.get(figure, (figure,)))
    return f"d.name IN ({names})"


_SERIES: Final = {figure: _summed(live, _named(figure)) for figure, live in _LIVE.items()}
_ALL: Final = _summed(" UNION ALL ".join((_turns(*OF_TURNS), _CLEANUPS, _BEGUN)), "true")


@dataclass(frozen=True, slots=True)
class Count:
    at: datetime
    name: str
    label: str
    value: int


def series(
    database: Database,
    figure: str,
    since: datetime,
    until: datetime,
    step: str,
    *,
    now: datetime | None = None,
) -> list[Count]:
    """Of one figure; `since` and `until` are whole hours or days, as the step is."""
    return _counts(database, _SERIES[figure], since, until, step, now)


def everything(
    database: Database, since: datetime, until: datetime, step: str, *, now: datetime | None = None
) -> list[Count]:
    return _counts(database, _ALL, since, until, step, now)


def _counts(
    database: Database,
    statement: TextClause,
    since: datetime,
    until: datetime,
    step: str,
    now: datetime | None,
) -> list[Count]:
    given = {"since": since, "until": until, "step": step, "now": now}
    return [Count(**row) for row in database.rows(statement, given)]


@dataclass(frozen=True, slots=True)
class Standing:
    """What goes on now in the conversations that one agent holds, or that none does."""

    agent: str | None
    active: int
    busy: int
    locked: int
    oldest_lock_at: datetime | None


# So many locks are looked at, those first whose time is over first.
MOST_LOCKS: Final = 100_000

# Read from one snapshot: by the index of turns that are not counted yet, as young ones are; of those that run; and of when locks are over.
# One that became a part of another is nobody's.
_STANDING: Final = text(f"""
WITH {CLOCK},
seen AS (
    SELECT u.session_id, bool_or(u.is_active) AS is_active, bool_or(u.runs) AS runs FROM (
        SELECT t.session_id, true AS is_active, false AS runs FROM turns t
        WHERE NOT t.counted AND t.created_at > {_NOW} - make_interval(secs => :active_s)
        UNION ALL
        SELECT t.session_id, false, true FROM turns t WHERE t.status = 'running'
    ) AS u GROUP BY 1
),
held AS (
    SELECT s.active_agent AS agent, s.locked_at FROM conversation_states s
    WHERE s.locked_at IS NOT NULL AND s.merged_into IS NULL AND {LOCK_END} > {_NOW} AT TIME ZONE 'UTC'
    ORDER BY {LOCK_END} LIMIT {MOST_LOCKS}
),
told AS (
    SELECT CASE WHEN s.locked_at + make_interval(secs => s.session_ttl) > clock.at THEN s.active_agent END AS agent,
        CAST(u.is_active AS integer) AS active, CAST(u.runs AND s.lease_expires_at > clock.at AS integer) AS busy, 0 AS locked,
        CAST(NULL AS timestamptz) AS locked_at
    FROM seen u JOIN conversation_states s ON s.id = u.session_id AND s.merged_into IS NULL CROSS JOIN clock
    UNION ALL
    SELECT h.agent, 0, 0, 1, h.locked_at FROM held h
)
SELECT agent, sum(active) AS active, COALESCE(sum(busy), 0) AS busy, sum(locked) AS locked, min(locked_at) AS oldest_lock_at
FROM told GROUP BY 1 ORDER BY 4 DESC, 2 DESC, 1 LIMIT 1000
""")


def standing(database: Database, *, active_s: int, now: datetime | None = None) -> list[Standing]:
    """Active: of which a message was accepted within so many seconds. By most locks first, and then by most that are active."""
    return [Standing(**row) for row in database.rows(_STANDING, {"active_s": active_s, "now": now})]


# How many conversations there are, alive or not cleaned up yet: those that were begun or came back, without those that went.
_KEPT: Final = text("""
SELECT CAST(COALESCE((
    SELECT sum(CASE WHEN d.label IN ('begun', 'restored') THEN d.value ELSE -d.value END) FROM daily_stats d WHERE d.name = 'sessions'
), 0) + (SELECT count(*) FROM conversation_states s WHERE NOT s.counted) AS bigint) AS kept
""")


def kept(database: Database) -> int:
    """Of one snapshot of rows and book."""
    row = database.row(_KEPT, {})
    assert row is not None, "a count is one row"
    return int(row["kept"])


@dataclass(frozen=True, slots=True)
class Waiting:
    """What has not ended, and when that was so."""

    at: datetime
    queued: int
    running: int
    waiting: int
    # Since when the longest of those that nobody has begun waits.
    oldest_queued_at: datetime | None
    approvals: int
    outcomes: int


# Read from one snapshot; by the indexes of what is open.
_WAITING: Final = text(f"""
WITH {CLOCK}
SELECT clock.at, o.*, a.* FROM clock, (
    SELECT count(*) FILTER (WHERE status = 'queued') AS queued, count(*) FILTER (WHERE status = 'running') AS running,
        count(*) FILTER (WHERE status = 'waiting') AS waiting,
        min(created_at) FILTER (WHERE status = 'queued') AS oldest_queued_at
    FROM turns WHERE ended_at IS NULL) AS o,
(
    SELECT count(*) FILTER (WHERE kind = 'call') AS approvals, count(*) FILTER (WHERE kind = 'outcome') AS outcomes
    FROM approvals, clock WHERE status = 'pending' AND expires_at > clock.at) AS a
""")


def waiting(database: Database, *, now: datetime | None = None) -> Waiting:
    row = database.row(_WAITING, {"now": now})
    assert row is not None, "counts are one row"
    return Waiting(**row)
