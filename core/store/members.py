"""Members: who was let into a conversation beside its owner, and as what.

What can go wrong, and why it cannot:

* *Somebody is put out while they are at it.* Whoever changes its people counts the version of the session's row up, at the version
  that was read along with their own role. Whatever was read before that is written at a version that has passed.
* *A device enters at the very moment in which its user is put out.* It counts the version up as well (see `user_sessions`), so one
  of the two comes too late and looks again.
* *Two add the last one that may be added.* They are counted in the statement that adds, and only one of them finds the version.
* *The user is erased at that moment.* Their row is locked against that, before theirs among the members is made.
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import text

from core.access import Role, Who, named
from core.ids import DeviceId, UserId
from core.store.database import Database, Row
from core.store.fence import CLOCK
from core.store.user_sessions import Changed
from core.store.visitors import RANKS, VISIT, Visit
from core.values import dataclass

MOST: Final = 100


@dataclass(frozen=True, slots=True)
class Member:
    user_id: UserId
    role: Role
    # The owner's role is not given, so it cannot be taken.
    is_owner: bool
    since: datetime


# The owner and the members, in the order in which they came, of the conversation that the caller means; of one snapshot.
_LIST: Final = text(f"""
{VISIT}
SELECT i.owner_id AS user_id, 'owner' AS role, true AS is_owner, s.created_at AS since
FROM its i JOIN conversation_states s ON s.id = i.id
UNION ALL
SELECT b.user_id, b.role, false, b.created_at FROM its i JOIN members b ON b.session_id = i.id AND b.user_id <> i.owner_id
ORDER BY is_owner DESC, since, user_id
""")


def listed(database: Database, who: Who, *, now: datetime | None = None) -> list[Member]:
    """None at all: it is not there for them."""
    rows = database.rows(_LIST, {**named(who), "now": now})
    return [Member(**{**row, "role": Role(row["role"])}) for row in rows]


_MET: Final = """
met AS (
    UPDATE conversation_states s SET version = s.version + 1
    FROM {of} WHERE s.id = :session_id AND s.version = :version
    RETURNING s.id, s.version, s.lease_epoch
)
"""
_NOTED: Final = """
noted AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action, reason)
    SELECT met.id, at, 'user', :by, {action}, {reason} FROM met, clock
)
"""

# A person who may be let in: there is such a user, who is not the owner, and of the conversation's organisation if it has one.
_PERSON: Final = """
person AS MATERIALIZED (
    SELECT u.id, b.role AS held_as FROM conversation_states s
    JOIN users u ON u.id = :member_id AND u.id <> s.user_id AND (s.org_id IS NULL OR u.org_id = s.org_id)
    LEFT JOIN members b ON b.session_id = s.id AND b.user_id = u.id
    WHERE s.id = :session_id
    FOR KEY SHARE OF u
)
"""
# There is room for them, or they are in it.
_ROOM: Final = f"""
room AS MATERIALIZED (
    SELECT p.id, p.held_as FROM person p
    WHERE p.held_as IS NOT NULL OR (SELECT count(*) FROM members b WHERE b.session_id = :session_id) < {MOST}
)
"""

# Lets a user in, or changes what they are, and notes it, at the version that was read. Sent twice it writes the same.
_PUT: Final = text(f"""
WITH {CLOCK}, {_PERSON}, {_ROOM}, {_MET.format(of="room")},
kept AS (
    INSERT INTO members (session_id, user_id, role, created_at)
    SELECT met.id, room.id, :role, at FROM met, room, clock
    ON CONFLICT (session_id, user_id) DO UPDATE SET role = EXCLUDED.role
),
{_NOTED.format(action="CASE WHEN (SELECT held_as FROM room) IS NULL THEN 'member_added' ELSE 'member_changed' END", reason="CAST(:role AS text)")}
SELECT p.id IS NOT NULL AS is_person, r.id IS NOT NULL AS has_room, met.version, met.lease_epoch
FROM clock LEFT JOIN person p ON true LEFT JOIN room r ON true LEFT JOIN met ON true
""")


@dataclass(frozen=True, slots=True)
class Admitted:
    is_person: bool
    has_room: bool
    # None: somebody committed since; nothing was written.
    changed: Changed | None


def put(database: Database, visit: Visit, member_id: UserId, role: Role) -> Admitted:
    return _admitted(visit, database.row(_PUT, {**_given(visit, member_id), "role": role}))


# Lets whoever has a link's secret in for good, as what the link says and never as less than they are, and notes it, at the version that
# was read: a link that is revoked meanwhile has counted it up.
_JOIN: Final = text(f"""
WITH {CLOCK}, {_PERSON}, {_ROOM},
way AS MATERIALIZED (
    SELECT l.role FROM share_links l, room, clock
    WHERE l.session_id = :session_id AND l.digest = :link AND l.revoked_at IS NULL AND l.expires_at > at
),
{_MET.format(of="way")},
kept AS (
    INSERT INTO members (session_id, user_id, role, created_at)
    SELECT met.id, room.id, way.role, at FROM met, room, way, clock
    ON CONFLICT (session_id, user_id) DO UPDATE SET role = CASE
        WHEN array_position({RANKS}, members.role::text) < array_position({RANKS}, EXCLUDED.role::text) THEN EXCLUDED.role
        ELSE members.role END
),
{_NOTED.format(action="'member_joined'", reason="(SELECT role FROM way)")}
SELECT p.id IS NOT NULL AS is_person, r.id IS NOT NULL AS has_room, met.version, met.lease_epoch
FROM clock LEFT JOIN person p ON true LEFT JOIN room r ON true LEFT JOIN met ON true
""")


def join(database: Database, visit: Visit, member_id: UserId, link: str) -> Admitted:
    return _admitted(visit, database.row(_JOIN, {**_given(visit, member_id), "link": link}))


@dataclass(frozen=True, slots=True)
class PutOut:
    changed: Changed
    # Theirs that were in the conversation.
    device_ids: tuple[DeviceId, ...]


# Puts a member out, with the devices of theirs that are in the conversation, and notes it, at the version that was read. Nothing is
# written on their behalf after.
_PUT_OUT: Final = text(f"""
WITH {CLOCK},
member AS MATERIALIZED (SELECT b.user_id FROM members b WHERE b.session_id = :session_id AND b.user_id = :member_id),
{_MET.format(of="member")},
gone AS (
    DELETE FROM members b USING met WHERE b.session_id = met.id AND b.user_id = :member_id
),
left_behind AS (
    UPDATE connections c SET session_id = NULL FROM met WHERE c.session_id = met.id AND c.user_id = :member_id
    RETURNING c.device_id
),
{_NOTED.format(action="'member_removed'", reason="NULL")}
SELECT EXISTS (SELECT FROM member) AS is_member, met.version, met.lease_epoch, ARRAY(SELECT device_id FROM left_behind) AS device_ids
FROM clock LEFT JOIN met ON true
""")


def put_out(database: Database, visit: Visit, member_id: UserId) -> PutOut | bool:
    """False: they are none. True: somebody committed since; nothing was written."""
    row = database.row(_PUT_OUT, _given(visit, member_id))
    if row is None or not row["is_member"]:
        return False
    if row["version"] is None:
        return True
    devices = tuple(DeviceId(id_) for id_ in row["device_ids"])
    return PutOut(Changed(visit.session_id, row["version"], row["lease_epoch"]), devices)


def _given(visit: Visit, member_id: UserId) -> dict[str, Any]:
    return {
        "session_id": visit.session_id,
        "version": visit.version,
        "by": visit.user_id,
        "member_id": member_id,
        "now": None,
    }


def _admitted(visit: Visit, row: Row | None) -> Admitted:
    if row is None:
        return Admitted(False, False, None)
    version = row["version"]
    changed = None if version is None else Changed(visit.session_id, version, row["lease_epoch"])
    return Admitted(row["is_person"], row["has_room"], changed)
