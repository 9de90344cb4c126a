"""Endings: a conversation goes, with all that belongs to it, because somebody ends it or because nobody uses it.

What can go wrong, and why it cannot:

* *Somebody is at work on it.* Each of their writes is chained to an UPDATE of the session's row under their epoch. The row is
  gone, so they write nothing more.
* *Somebody uses it at the same moment.* It goes only at the version that was read along with all that is judged of it. Whoever
  was quicker has counted the version up, or extended the time that the row itself says, and then it stays; whoever comes later
  finds no row.
* *What a running turn had reserved.* Nobody will settle it, so it counts as spent, as after a crash. It is read from the turn's
  row under its lock: a statement that waited for the session's row has read the others as they were before.
* *Two wait for each other.* Rows are locked in the order in which holders do it: session, turn, then users' days before
  organisations'; and each kind by its key. What went is counted behind all of them: see daily.py.

Its application sessions, in every namespace, go with it. One that is created at the very moment stays, until its own time is
over.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import TextClause, text

from core.access import Role, Who, named
from core.errors import DatabaseConflict, RoleTooSmall
from core.ids import DeviceId, SessionId
from core.store.alive import ALIVE
from core.store.daily import COUNTED_OUT
from core.store.database import Database, Row
from core.store.fence import CLOCK
from core.store.visitors import ASKER, HELD_AS
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class EndedSession:
    session_id: SessionId
    # The last that the conversation had.
    lease_epoch: int
    version: int
    # The devices that were in it; of more than 20, some.
    device_ids: tuple[DeviceId, ...]
    # The application sessions that went with it: each one's namespace and epoch.
    beside: tuple[tuple[str, int], ...] = ()


# Takes the conversations `known` at the version that was read, and settles what their turns had reserved.
GONE: Final = """
gone AS (
    DELETE FROM conversation_states s USING known k
    WHERE s.id = k.id AND s.version = k.version
    RETURNING s.id, s.user_id, s.org_id, s.lease_epoch, s.version, s.created_at, s.merged_into, s.active_agent, s.locked_at,
        s.session_ttl, s.rewrites, s.counted
),
reserved AS MATERIALIZED (
    SELECT g.user_id, g.org_id, CAST(t.created_at AT TIME ZONE 'UTC' AS date) AS day, t.reserved_micros, t.reserved_tokens
    FROM gone g JOIN turns t ON t.session_id = g.id
    WHERE t.ended_at IS NULL
    ORDER BY t.session_id, t.id
    FOR UPDATE OF t
),
owed AS MATERIALIZED (
    SELECT o.scope, o.id, r.day, sum(r.reserved_micros) AS micros, sum(r.reserved_tokens) AS tokens
    FROM reserved r CROSS JOIN LATERAL (VALUES ('user', r.user_id), ('org', r.org_id)) AS o(scope, id)
    WHERE o.id IS NOT NULL AND (r.reserved_micros > 0 OR r.reserved_tokens > 0)
    GROUP BY 1, 2, 3
),
purses AS MATERIALIZED (
    SELECT p.scope, p.id, p.day, o.micros, o.tokens
    FROM owed o JOIN spending p ON p.scope = o.scope AND p.id = o.id AND p.day = o.day
    ORDER BY p.scope DESC, p.id, p.day
    FOR UPDATE OF p
),
settled AS (
    UPDATE spending p
    SET spent_micros = p.spent_micros + b.micros, reserved_micros = p.reserved_micros - b.micros,
        spent_tokens = p.spent_tokens + b.tokens, reserved_tokens = p.reserved_tokens - b.tokens
    FROM purses b WHERE p.scope = b.scope AND p.id = b.id AND p.day = b.day
    RETURNING p.id
)
"""
DEVICES: Final = (
    "ARRAY(SELECT d.device_id FROM connections d WHERE d.session_id = {id} ORDER BY 1 LIMIT 20) AS device_ids"
)
# Of whom it is said whether it went, and what with it.
TOLD: Final = f"""
SELECT k.id AS session_id, g.id IS NOT NULL AS is_gone, g.lease_epoch, g.version, {DEVICES.format(id="k.id")},
    (SELECT json_agg(json_build_array(w.namespace, w.epoch) ORDER BY w.namespace) FROM with_it w WHERE w.session_id = k.id)
        AS beside
FROM known k LEFT JOIN gone g ON g.id = k.id
"""

# And with them their application sessions.
WITH_IT: Final = """
with_it AS (
    DELETE FROM application_sessions p USING gone g WHERE p.session_id = g.id
    RETURNING p.session_id, p.namespace, p.epoch
)
"""

# Ends the conversation that the caller means, if it is their own, alive or not: all or nothing, at the version that was read
# with the role, with its application sessions. Of one that is somebody else's it says only what they are in it, if it is alive.
_END: Final = text(f"""
WITH {CLOCK}, {ASKER},
its AS MATERIALIZED (
    SELECT s.id, s.version, held.role AS held_as
    FROM asker a CROSS JOIN clock
    JOIN conversation_states s ON s.id = COALESCE(CAST(:session_id AS uuid), a.session_id) AND s.merged_into IS NULL
    CROSS JOIN LATERAL (SELECT {HELD_AS} AS role) AS held
    WHERE held.role = 'owner' OR held.role IS NOT NULL AND {ALIVE}
),
known AS MATERIALIZED (
    SELECT id, version FROM its WHERE held_as = 'owner'
),
{GONE},
{WITH_IT},
{COUNTED_OUT.format(how="'ended'")}
SELECT its.held_as, told.* FROM its LEFT JOIN ({TOLD}) AS told ON true
""")


def end(database: Database, who: Who, *, now: datetime | None = None) -> EndedSession | None:
    """None: there is none, so one that is sent twice ends one. A DatabaseConflict: somebody committed at the same moment."""
    row = database.row(_END, {**named(who), "now": now})
    if row is None or row["held_as"] == Role.OWNER:
        return ended_by(row)
    raise RoleTooSmall


# Ends what has this ID, a conversation or application sessions or both, alive or not: all or nothing, a conversation at the
# version that was read.
_END_SESSION: Final = text(f"""
WITH {CLOCK},
known AS MATERIALIZED (
    SELECT s.id, s.version FROM conversation_states s WHERE s.id = :session_id
),
{GONE},
with_it AS (
    DELETE FROM application_sessions p
    WHERE p.session_id = :session_id AND (EXISTS (SELECT FROM gone) OR NOT EXISTS (SELECT FROM known))
    RETURNING p.session_id, p.namespace, p.epoch
),
{COUNTED_OUT.format(how="'ended'")}
{TOLD}
""")


def end_session(
    database: Database, session_id: SessionId, *, now: datetime | None = None
) -> EndedSession | None:
    """None: there was no conversation. A DatabaseConflict: somebody committed at the same moment."""
    return ended_by(database.row(_END_SESSION, {"session_id": session_id, "now": now}))


def ending_with(more: str) -> TextClause:
    """The statement that ends what has this ID, with more that is done along with it: of `gone` and `with_it`."""
    return text(_END_SESSION.text.replace(TOLD, f", {more} {TOLD}"))


def ended_by(row: Row | None) -> EndedSession | None:
    if row is None:
        return None
    if not row["is_gone"]:
        raise DatabaseConflict
    return shown(row)


def shown(row: Row) -> EndedSession:
    devices: Sequence[DeviceId] = row["device_ids"]
    beside = tuple((namespace, epoch) for namespace, epoch in row["beside"] or ())
    return EndedSession(
        SessionId(row["session_id"]), row["lease_epoch"], row["version"], tuple(devices), beside
    )
