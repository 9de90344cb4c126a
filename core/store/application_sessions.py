"""Application sessions: what a team keeps of a session beside the conversation, one row each.

What can go wrong, and why it cannot: two that read the same row both want to write it. A write names the (epoch, version)
that was read and is refused over any other; and as it looks at the row under its lock, what it gives back then is what stands
there, not what stood there before it waited. A user's sessions take places, which a unique index holds, so that of two that
take the last place one is refused. A row whose time is over is not there, for anybody, whether or not it was cleaned up.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text

from core.store.alive import ALIVE
from core.store.database import Database, Row
from core.store.fence import CLOCK
from core.store.revision import IDLE_END
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class StoredRow:
    session_id: UUID
    user_id: UUID | None
    epoch: int
    version: int
    body: str
    idle_ttl: int
    created_at: datetime
    last_active_at: datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    session_id: UUID
    user_id: UUID | None
    body: str
    idle_ttl: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one that was wanted. Neither a row nor full: somebody else made it meanwhile, so look again."""

    row: StoredRow | None
    is_full: bool
    is_new: bool


@dataclass(frozen=True, slots=True)
class Deleted:
    session_id: UUID
    epoch: int
    # It belongs to a conversation, and is still there.
    is_linked: bool


# Whether the row `a` is there at the time of a `clock`: within its own time, or with a conversation of its ID that is alive,
# which is looked up only past its own time. Every statement here asks this, and none asks anything else.
_LIVE: Final = f"""(a.last_active_at + make_interval(secs => a.idle_ttl) > clock.at
    OR COALESCE((SELECT true FROM conversation_states s WHERE s.id = a.session_id AND {ALIVE}), false))"""
# Whether its time is to be extended by being used: not each time, for that column is in an index, and a row that is written
# without it stays in its place.
_DUE: Final = "a.last_active_at + make_interval(secs => LEAST(a.idle_ttl / 10.0, 60)) <= at"

_THIS: Final = "a.session_id = :session_id AND a.namespace = :namespace"
_ROW: Final = "session_id, user_id, epoch, version, body, idle_ttl, created_at, last_active_at"
_ROW_A: Final = ", ".join(f"a.{column}" for column in _ROW.split(", "))

# Makes those that are not there and returns those that are, as they are. Places are taken at random, so that many at once
# seldom want the same one; who does is refused by the index and tries again. Rows whose time is over make way, and whoever has
# such a row's ID gets a larger epoch than it had. What another makes at the same moment is not seen: neither row nor full.
_CREATE: Final = text(f"""
WITH {CLOCK},
given AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:session_ids AS uuid[]), CAST(:user_ids AS uuid[]), CAST(:bodies AS text[]),
        CAST(:ttls AS integer[])) WITH ORDINALITY AS g(session_id, user_id, body, idle_ttl, nth)
),
standing AS MATERIALIZED (
    SELECT {_ROW_A} FROM given g JOIN application_sessions a ON a.session_id = g.session_id AND a.namespace = :namespace, clock
    WHERE {_LIVE}
),
wanted AS MATERIALIZED (
    SELECT g.*, row_number() OVER (PARTITION BY g.user_id ORDER BY g.nth) AS rank FROM given g
    WHERE g.session_id NOT IN (SELECT session_id FROM standing)
),
taken AS MATERIALIZED (
    SELECT a.user_id, a.slot FROM application_sessions a, clock
    WHERE a.user_id IN (SELECT user_id FROM wanted) AND a.namespace = :namespace AND {_LIVE}
),
places AS MATERIALIZED (
    SELECT u.user_id, p.slot, row_number() OVER (PARTITION BY u.user_id ORDER BY random()) AS rank,
        :most_per_user - (SELECT count(*) FROM taken t WHERE t.user_id = u.user_id) AS free
    FROM (SELECT DISTINCT user_id FROM wanted WHERE user_id IS NOT NULL) AS u
    CROSS JOIN generate_series(1, :most_per_user) AS p(slot)
    WHERE (u.user_id, p.slot) NOT IN (SELECT user_id, slot FROM taken WHERE slot IS NOT NULL)
),
placed AS MATERIALIZED (
    SELECT w.*, p.slot FROM wanted w LEFT JOIN places p ON p.user_id = w.user_id AND p.rank = w.rank AND p.rank <= p.free
    WHERE w.user_id IS NULL OR p.slot IS NOT NULL
),
evicted AS (
    DELETE FROM application_sessions a USING placed p, clock
    WHERE a.namespace = :namespace AND NOT {_LIVE}
      AND (a.session_id = p.session_id OR (a.user_id = p.user_id AND a.slot = p.slot))
    RETURNING a.session_id, a.epoch
),
made AS (
    INSERT INTO application_sessions (session_id, namespace, user_id, slot, epoch, version, body, idle_ttl, created_at, last_active_at)
    SELECT p.session_id, :namespace, p.user_id, p.slot,
        GREATEST(CAST(EXTRACT(epoch FROM at) * 1000000 AS bigint),
            1 + (SELECT COALESCE(max(e.epoch), 0) FROM evicted e WHERE e.session_id = p.session_id)),
        1, p.body, p.idle_ttl, at, at
    FROM placed p, clock
    ON CONFLICT (session_id, namespace) DO NOTHING
    RETURNING {_ROW}
)
SELECT f.*, f.session_id IS NULL AND g.nth NOT IN (SELECT nth FROM placed) AS is_full
FROM given g
LEFT JOIN (SELECT *, true AS is_new FROM made UNION ALL SELECT *, false FROM standing) AS f ON f.session_id = g.session_id
ORDER BY g.nth
""")


def create(
    database: Database,
    namespace: str,
    wanted: Sequence[Wanted],
    most_per_user: int,
    *,
    now: datetime | None = None,
) -> list[Outcome]:
    rows = database.rows(
        _CREATE,
        {
            "namespace": namespace,
            "session_ids": [one.session_id for one in wanted],
            "user_ids": [one.user_id for one in wanted],
            "bodies": [one.body for one in wanted],
            "ttls": [one.idle_ttl for one in wanted],
            "most_per_user": most_per_user,
            "now": now,
        },
    )
    return [_outcome(row) for row in rows]


# The row, and extends its time if a share of that has passed. Of several at once one writes; a reader that waited for a writer
# gets what stood there when it began.
_LOAD: Final = text(f"""
WITH {CLOCK},
extended AS (
    UPDATE application_sessions a SET last_active_at = at FROM clock
    WHERE :extend AND {_THIS} AND {_LIVE} AND {_DUE}
    RETURNING {_ROW_A}
)
SELECT * FROM extended
UNION ALL
SELECT {_ROW_A} FROM application_sessions a, clock WHERE {_THIS} AND {_LIVE} AND NOT EXISTS (SELECT FROM extended)
""")


def load(
    database: Database, namespace: str, session_id: UUID, *, extend: bool, now: datetime | None = None
) -> StoredRow | None:
    row = database.row(
        _LOAD, {"namespace": namespace, "session_id": session_id, "extend": extend, "now": now}
    )
    return None if row is None else _stored(row)


# Writes over what was read, and over nothing else. The row is locked before it is looked at: of several at once one writes,
# and each of the others is given what that one left.
_SWAP: Final = text(f"""
WITH {CLOCK},
standing AS MATERIALIZED (
    SELECT a.* FROM application_sessions a WHERE {_THIS} FOR NO KEY UPDATE
),
met AS (
    UPDATE application_sessions a SET body = :body, version = a.version + 1,
        last_active_at = CASE WHEN {_DUE} THEN at ELSE a.last_active_at END
    FROM clock, standing s
    WHERE {_THIS} AND s.epoch = :epoch AND s.version = :version AND a.epoch = :epoch AND a.version = :version AND {_LIVE}
    RETURNING {_ROW_A}
)
SELECT true AS done, met.* FROM met
UNION ALL
SELECT false, {_ROW_A} FROM standing a, clock WHERE {_LIVE} AND NOT EXISTS (SELECT FROM met)
""")


def swap(
    database: Database,
    namespace: str,
    session_id: UUID,
    epoch: int,
    version: int,
    body: str,
    *,
    now: datetime | None = None,
) -> tuple[bool, StoredRow | None]:
    """Whether it was written, and what stands there now; None: nothing."""
    given = {"namespace": namespace, "session_id": session_id, "epoch": epoch, "version": version}
    row = database.row(_SWAP, {**given, "body": body, "now": now})
    return (False, None) if row is None else (row["done"], _stored(row))


# Deletes them, in the order of their IDs, so that two that delete the same ones do not wait for each other in a ring. Those that
# belong to a conversation stay: they end with it, which is a statement of its own.
_DELETE: Final = text(f"""
WITH {CLOCK},
met AS MATERIALIZED (
    SELECT a.session_id, a.epoch, {_LIVE} AS lived,
        COALESCE((SELECT true FROM conversation_states s WHERE s.id = a.session_id), false) AS is_linked
    FROM application_sessions a, clock
    WHERE a.session_id = ANY(CAST(:session_ids AS uuid[])) AND a.namespace = :namespace
    ORDER BY a.session_id FOR UPDATE OF a
),
deleted AS (
    DELETE FROM application_sessions a USING met
    WHERE a.session_id = met.session_id AND a.namespace = :namespace AND NOT met.is_linked
)
SELECT session_id, epoch, is_linked FROM met WHERE lived
""")


def delete(
    database: Database, namespace: str, session_ids: Sequence[UUID], *, now: datetime | None = None
) -> list[Deleted]:
    """Those that were there."""
    given = {"namespace": namespace, "session_ids": list(session_ids), "now": now}
    return [Deleted(**row) for row in database.rows(_DELETE, given)]


# Sets how long it lives, from now on. A change like any other: whoever read the row before it is refused.
_EXPIRE: Final = text(f"""
WITH {CLOCK}
UPDATE application_sessions a SET idle_ttl = :ttl_s, last_active_at = at, version = a.version + 1 FROM clock
WHERE {_THIS} AND {_LIVE}
RETURNING {_ROW_A}
""")


def expire(
    database: Database, namespace: str, session_id: UUID, ttl_s: int, *, now: datetime | None = None
) -> StoredRow | None:
    given = {"namespace": namespace, "session_id": session_id, "ttl_s": ttl_s, "now": now}
    row = database.row(_EXPIRE, given)
    return None if row is None else _stored(row)


# How long it still lives, if nobody uses it; nothing is extended by this.
_LEFT: Final = text(f"""
WITH {CLOCK}
SELECT CAST(GREATEST(0, a.idle_ttl + EXTRACT(epoch FROM a.last_active_at - clock.at), (
        SELECT s.idle_ttl + EXTRACT(epoch FROM s.last_active_at - clock.at) FROM conversation_states s
        WHERE s.id = a.session_id)) AS double precision) AS left_s
FROM application_sessions a, clock WHERE {_THIS} AND {_LIVE}
""")


def left_s(
    database: Database, namespace: str, session_id: UUID, *, now: datetime | None = None
) -> float | None:
    row = database.row(_LEFT, {"namespace": namespace, "session_id": session_id, "now": now})
    return None if row is None else row["left_s"]


# The user's sessions that are there at one moment, the oldest first.
_OF_USER: Final = text(f"""
WITH {CLOCK}
SELECT a.session_id FROM application_sessions a, clock
WHERE a.user_id = :user_id AND a.namespace = :namespace AND {_LIVE}
ORDER BY a.epoch, a.session_id
""")


def of_user(database: Database, namespace: str, user_id: UUID, *, now: datetime | None = None) -> list[UUID]:
    given = {"namespace": namespace, "user_id": user_id, "now": now}
    return [row["session_id"] for row in database.rows(_OF_USER, given)]


# Deletes rows whose time is over, those first that ran out first. Several at once take different ones, and one that is being
# extended is left alone.
_CLEAN_UP: Final = text(f"""
WITH {CLOCK},
due AS MATERIALIZED (
    SELECT a.session_id FROM application_sessions a, clock
    WHERE {IDLE_END} <= at AT TIME ZONE 'UTC' AND NOT {_LIVE} AND a.namespace = :namespace
      AND (CAST(:user_id AS uuid) IS NULL OR a.user_id = :user_id)
    ORDER BY {IDLE_END} LIMIT :limit
    FOR UPDATE OF a SKIP LOCKED
)
DELETE FROM application_sessions a USING due WHERE a.session_id = due.session_id AND a.namespace = :namespace
RETURNING a.session_id
""")


def clean_up(
    database: Database, namespace: str, user_id: UUID | None, limit: int, *, now: datetime | None = None
) -> int:
    given = {"namespace": namespace, "user_id": user_id, "limit": limit, "now": now}
    return len(database.rows(_CLEAN_UP, given))


# About how many there are, and what they take on disk, as the last vacuum saw them. Reads no row.
_EXTENT: Final = text("""
SELECT CAST(NULLIF(c.reltuples, -1) AS bigint) AS sessions, pg_total_relation_size(c.oid) AS size_bytes
FROM pg_class c WHERE c.oid = CAST('application_sessions' AS regclass)
""")


def extent(database: Database) -> tuple[int | None, int]:
    row: Row | None = database.row(_EXTENT, {})
    return (None, 0) if row is None else (row["sessions"], row["size_bytes"])


def _outcome(row: Row) -> Outcome:
    stored = None if row["session_id"] is None else _stored(row)
    return Outcome(stored, row["is_full"], bool(row["is_new"]))


def _stored(row: Row) -> StoredRow:
    fields: dict[str, Any] = {name: row[name] for name in StoredRow.__slots__}
    return StoredRow(**fields)
