"""The operators' figures: what the rows say, and of those that are gone what `daily_stats` says of them. Only read here.

What can go wrong, and why it cannot: a conversation ends while somebody counts. Rows and book are read in one statement, so from
one snapshot, and it is in one of them. What each figure counts stands in docs/figures.md.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import TextClause, text

from core.store.alive import ALIVE
from core.store.daily import OF_TURNS, of_begun, of_cleanups, of_locks, of_turns
from core.store.database import Database
from core.store.fence import CLOCK
from core.values import dataclass

_SINCE: Final = "{} >= :since AND {} < :until"


def _within(column: str) -> str:
    return _SINCE.format(column, column)


_LOCKS: Final = of_locks("audit_log a", _within("a.at"), still_held="'held'")
_CLEANUPS: Final = of_cleanups("audit_log a", _within("a.at"))
_BEGUN: Final = of_begun("conversation_states s", _within("s.created_at"))


def _turns(*figures: str) -> str:
    return of_turns("turns t", _within("t.created_at"), still_open="t.status", figures=figures)


_LIVE: Final = {
    **{figure: _turns(figure) for figure in OF_TURNS},
    "locks": _LOCKS,
    "cleanups": _CLEANUPS,
    "sessions": _BEGUN,
}
FIGURES: Final = tuple(_LIVE)


def _summed(live: str, names: str) -> TextClause:
    """Rows that are there and rows that were, of one snapshot, by buckets of a step."""
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


_SERIES: Final = {
    figure: _summed(
        live,
        "d.name LIKE 'locks.%' OR d.name LIKE 'held_ms.%'" if figure == "locks" else f"d.name = '{figure}'",
    )
    for figure, live in _LIVE.items()
}
_ALL: Final = _summed(" UNION ALL ".join((_turns(*OF_TURNS), _LOCKS, _CLEANUPS, _BEGUN)), "true")


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
    """The conversations that are alive, as they stand: those that one agent holds, or that none does."""

    agent: str | None
    alive: int
    active: int
    busy: int
    oldest_lock_at: datetime | None


# Read from one snapshot. A lock whose time is over is none; active is what was used within so many seconds.
_STANDING: Final = text(f"""
WITH {CLOCK}
SELECT CASE WHEN held.is_live THEN s.active_agent END AS agent, count(*) AS alive,
    count(*) FILTER (WHERE s.last_active_at > clock.at - make_interval(secs => :active_s)) AS active,
    count(*) FILTER (WHERE s.lease_expires_at > clock.at) AS busy,
    min(s.locked_at) FILTER (WHERE held.is_live) AS oldest_lock_at
FROM conversation_states s CROSS JOIN clock
CROSS JOIN LATERAL (SELECT s.locked_at + make_interval(secs => s.session_ttl) > clock.at AS is_live) AS held
WHERE {ALIVE}
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1000
""")


def standing(database: Database, *, active_s: int, now: datetime | None = None) -> list[Standing]:
    return [Standing(**row) for row in database.rows(_STANDING, {"active_s": active_s, "now": now})]


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
