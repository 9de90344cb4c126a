"""A user's sessions: the conversations that somebody has a role in, and which of them a device is in.

What can go wrong, and why it cannot:

* *A conversation ends, or its people change, while a device enters it.* The device enters under the lock of the session's row,
  at the version that was read along with the role; and counts it up, so whoever puts people out at that moment looks again, and
  finds the device there.
* *Two move one device.* Each moves it from where it read the device to be, so one of them comes too late and looks again.
* *What is in the cache of the conversation that it leaves still names the device.* That conversation's version counts up too, and
  whoever moved the device marks the cache.
* *Two wait for each other.* Sessions are locked in the order of their IDs, and before connections.
* *A beginning is sent twice.* The conversation's ID comes from the key that the client sent, so the second finds the first.
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import text

from core.access import Caller, Role
from core.content import dump
from core.ids import SessionId, UserId
from core.store.alive import ALIVE, USED
from core.store.database import Database, Row
from core.store.fence import CLOCK
from core.store.visitors import ASKER, HELD_AS, VISIT
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Listed:
    """A conversation in a list, as whoever asks for the list holds it."""

    id: SessionId
    held_as: Role
    active_agent: str | None
    busy: bool
    metadata: dict[str, Any]
    created_at: datetime
    last_active_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of the list ends: those that were begun before this one come next."""

    created_at: datetime
    id: SessionId


_BEFORE: Final = "(CAST(:before AS timestamptz) IS NULL OR (s.created_at, s.id) < (CAST(:before AS timestamptz), CAST(:before_id AS uuid)))"
_NEWEST: Final = f"(s.org_id IS NULL OR s.org_id = a.org_id) AND {_BEFORE} AND {ALIVE} ORDER BY s.created_at DESC, s.id DESC LIMIT :limit"

# A page of the conversations that the caller's user owns or is a member of, the newest first, read from one snapshot. What is begun
# or ended meanwhile moves nothing else: a page goes on behind a conversation, not behind a number of them.
_PAGE: Final = text(f"""
WITH {CLOCK}, {ASKER},
listed AS MATERIALIZED (
    (SELECT s.id FROM asker a CROSS JOIN clock JOIN conversation_states s ON s.user_id = a.user_id WHERE {_NEWEST})
    UNION
    (SELECT s.id FROM asker a CROSS JOIN clock JOIN members b ON b.user_id = a.user_id
        JOIN conversation_states s ON s.id = b.session_id
        WHERE {_NEWEST})
)
SELECT s.id, held.role AS held_as, s.metadata, s.created_at, s.last_active_at,
    s.last_active_at + make_interval(secs => s.idle_ttl) AS expires_at,
    COALESCE(s.lease_expires_at > clock.at, false) AS busy,
    CASE WHEN s.locked_at + make_interval(secs => s.session_ttl) > clock.at THEN s.active_agent END AS active_agent
FROM listed l CROSS JOIN asker a CROSS JOIN clock
JOIN conversation_states s ON s.id = l.id
CROSS JOIN LATERAL (SELECT {HELD_AS} AS role) AS held
WHERE held.role IS NOT NULL
ORDER BY s.created_at DESC, s.id DESC LIMIT :limit
""")


def page(
    database: Database, caller: Caller, before: Place | None, limit: int, *, now: datetime | None = None
) -> list[Listed]:
    """A link opens one conversation, and makes it nobody's: those that are listed are one's own, and those of which one is a member."""
    given = {
        **caller.about(None).named(),
        "link": None,
        "before": before and before.created_at,
        "before_id": before and before.id,
        "limit": limit,
        "now": now,
    }
    return [Listed(**{**row, "held_as": Role(row["held_as"])}) for row in database.rows(_PAGE, given)]


@dataclass(frozen=True, slots=True)
class Changed:
    """A conversation's row, as a change has left it: what the cache is told."""

    session_id: SessionId
    version: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A device in another conversation, and the one that it left, if that is still there."""

    entered: Changed
    left: Changed | None


# The device, as the caller's statement read it to be, under its row's lock; taken after those of the sessions.
_DEVICE: Final = """
device AS MATERIALIZED (
    SELECT c.device_id FROM asker a CROSS JOIN (SELECT count(*) FROM rooms) AS after_them
    JOIN connections c ON c.device_id = :device_id AND c.user_id = a.user_id
        AND c.session_id IS NOT DISTINCT FROM a.session_id AND c.revoked_at IS NULL
        AND (CAST(:token_version AS integer) IS NULL OR c.token_version = :token_version)
    FOR UPDATE OF c
)
"""
_LEFT: Final = """
left_behind AS (
    UPDATE conversation_states s SET version = s.version + 1
    FROM {moved} m, asker a WHERE s.id = a.session_id AND s.id <> m.session_id
    RETURNING s.id, s.version, s.lease_epoch
)
"""

# Moves the device into the conversation that the caller names and has a role in, if neither has changed since they were read. Of
# two at once the later one looks again.
_ENTER: Final = text(f"""
{VISIT},
rooms AS MATERIALIZED (
    SELECT s.id, s.version FROM conversation_states s
    WHERE s.id IN (SELECT id FROM its UNION SELECT session_id FROM asker) AND EXISTS (SELECT FROM its)
    ORDER BY s.id FOR UPDATE OF s
),
{_DEVICE},
moved AS (
    UPDATE connections c SET session_id = i.id
    FROM device d, its i, rooms r
    WHERE c.device_id = d.device_id AND r.id = i.id AND r.version = i.version
    RETURNING c.session_id
),
entered AS (
    UPDATE conversation_states s SET version = s.version + 1, last_active_at = {USED}
    FROM moved m, clock WHERE s.id = m.session_id
    RETURNING s.id, s.version, s.lease_epoch
),
{_LEFT.format(moved="moved")}
SELECT i.id, e.version, e.lease_epoch, l.id AS left_id, l.version AS left_version, l.lease_epoch AS left_epoch
FROM its i LEFT JOIN entered e ON true LEFT JOIN left_behind l ON true
""")


def enter(database: Database, caller: Caller, *, now: datetime | None = None) -> Moved | bool:
    """False: it is not there for them. True: it is, and somebody was quicker with the device or the conversation: again."""
    row = database.row(_ENTER, {**caller.named(), "now": now})
    if row is None:
        return False
    return row["version"] is None or _moved(row)


@dataclass(frozen=True, slots=True)
class Beginning:
    """A conversation that somebody wants, with the IDs that it and its user get if they are new."""

    caller: Caller
    session_id: SessionId
    user_id: UserId
    metadata: dict[str, Any]
    lock_ttl_s: int
    idle_ttl_s: int


# Begins an empty conversation for the device's user and puts the device into it, all or nothing; who is not known yet is met. Its epoch
# is 1 from the start: the first turn in it is of a later one, as what was read of it before may be in a cache.
_BEGIN: Final = text(f"""
WITH {CLOCK}, {ASKER},
rooms AS MATERIALIZED (
    SELECT s.id FROM conversation_states s
    WHERE s.id IN (SELECT session_id FROM asker) AND NOT EXISTS (SELECT FROM conversation_states k WHERE k.id = :new_id)
    FOR UPDATE OF s
),
{_DEVICE},
met AS (
    INSERT INTO connections (device_id, user_id, session_id, created_at)
    SELECT :device_id, :new_user_id, :new_id, at FROM asker a, clock
    WHERE a.user_id IS NULL
    ON CONFLICT (device_id) DO NOTHING
    RETURNING user_id
),
guest AS (
    INSERT INTO users (id, created_at) SELECT user_id, at FROM met, clock
),
opened AS (
    INSERT INTO conversation_states
        (id, user_id, org_id, session_ttl, idle_ttl, lease_epoch, version, metadata, created_at, last_active_at)
    SELECT :new_id, o.user_id, o.org_id, :lock_ttl_s, :idle_ttl_s, 1, 1, CAST(:metadata AS jsonb), at, at
    FROM (SELECT a.user_id, a.org_id FROM asker a, device UNION ALL SELECT user_id, NULL FROM met) AS o, clock
    ON CONFLICT (id) DO NOTHING
    RETURNING id AS session_id
),
moved AS (
    UPDATE connections c SET session_id = n.session_id FROM opened n, device d WHERE c.device_id = d.device_id
    RETURNING c.session_id
),
{_LEFT.format(moved="moved")}
SELECT n.session_id AS id, 1 AS version, 1 AS lease_epoch,
    l.id AS left_id, l.version AS left_version, l.lease_epoch AS left_epoch
FROM opened n LEFT JOIN left_behind l ON true
""")


def begin(database: Database, beginning: Beginning, *, now: datetime | None = None) -> Moved | None:
    """None: it was begun before, or somebody was quicker with the device, or the caller is barred."""
    row = database.row(
        _BEGIN,
        {
            **beginning.caller.named(),
            "new_id": beginning.session_id,
            "new_user_id": beginning.user_id,
            "metadata": dump(beginning.metadata),
            "lock_ttl_s": beginning.lock_ttl_s,
            "idle_ttl_s": beginning.idle_ttl_s,
            "now": now,
        },
    )
    return None if row is None else _moved(row)


# Whether a conversation was begun that is not there for the caller any more: its time is over, it became a part of another, or the
# device is another's. Read from one snapshot.
_IS_GONE: Final = text(f"""
{VISIT} SELECT true FROM conversation_states s WHERE s.id = :session_id AND NOT EXISTS (SELECT FROM its)
""")


def is_gone(database: Database, caller: Caller, *, now: datetime | None = None) -> bool:
    return database.row(_IS_GONE, {**caller.named(), "now": now}) is not None


# A device that is not known yet gets a user of its own; one that is keeps its own. Of two at once one makes it.
_MEET: Final = text(f"""
WITH {CLOCK}, {ASKER},
met AS (
    INSERT INTO connections (device_id, user_id, created_at)
    SELECT :device_id, :new_user_id, at FROM asker a, clock WHERE a.user_id IS NULL
    ON CONFLICT (device_id) DO NOTHING
    RETURNING user_id
),
guest AS (
    INSERT INTO users (id, created_at) SELECT user_id, at FROM met, clock
)
SELECT user_id FROM met
""")


def meet(database: Database, caller: Caller, user_id: UserId, *, now: datetime | None = None) -> None:
    database.row(_MEET, {**caller.named(), "new_user_id": user_id, "now": now})


def _moved(row: Row) -> Moved:
    left = row["left_id"] and Changed(SessionId(row["left_id"]), row["left_version"], row["left_epoch"])
    return Moved(Changed(SessionId(row["id"]), row["version"], row["lease_epoch"]), left or None)
