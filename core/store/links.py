"""Links: ways into one conversation for whoever has their secret, of which only the digest is kept.

What can go wrong, and why it cannot: a link is taken back while somebody is in by it. Who reads by it looks it up in the statement
that reads. Who writes by it writes at the version that was read when they came in, and taking it back counts that up.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text

from core.access import Role, Who, named
from core.store.database import Database
from core.store.fence import CLOCK
from core.store.user_sessions import Changed
from core.store.visitors import VISIT, Visit
from core.values import dataclass

MOST: Final = 100


@dataclass(frozen=True, slots=True)
class Link:
    id: UUID
    role: Role
    created_at: datetime
    expires_at: datetime


# Those that are good now, of the conversation that the caller means, the newest first; of one snapshot, with what the caller is in it.
_LIST: Final = text(f"""
{VISIT}
SELECT i.held_as, l.id, l.role, l.created_at, l.expires_at
FROM its i CROSS JOIN clock
LEFT JOIN share_links l ON l.session_id = i.id AND l.revoked_at IS NULL AND l.expires_at > clock.at
ORDER BY l.created_at DESC, l.id
""")


def listed(database: Database, who: Who, *, now: datetime | None = None) -> tuple[Role, list[Link]] | None:
    """None: it is not there for them."""
    rows = database.rows(_LIST, {**named(who), "now": now})
    if not rows:
        return None
    links = [
        Link(row["id"], Role(row["role"]), row["created_at"], row["expires_at"]) for row in rows if row["id"]
    ]
    return Role(rows[0]["held_as"]), links


# Makes a link at the version that was read, and notes it; those whose time is over or that were taken back make room for it. Sent
# twice it makes one.
_MAKE: Final = text(f"""
WITH {CLOCK},
swept AS (
    DELETE FROM share_links l USING clock WHERE l.session_id = :session_id AND (l.revoked_at IS NOT NULL OR l.expires_at <= at)
),
room AS MATERIALIZED (
    SELECT FROM clock WHERE (SELECT count(*) FROM share_links l
        WHERE l.session_id = :session_id AND l.revoked_at IS NULL AND l.expires_at > at) < {MOST}
),
met AS (
    UPDATE conversation_states s SET version = s.version + 1
    FROM room WHERE s.id = :session_id AND s.version = :version
    RETURNING s.id, s.version, s.lease_epoch
),
made AS (
    INSERT INTO share_links (session_id, id, digest, role, created_by, created_at, expires_at)
    SELECT met.id, :id, :digest, :role, :by, at, at + make_interval(secs => :ttl_s) FROM met, clock
    ON CONFLICT (session_id, id) DO NOTHING
    RETURNING created_at, expires_at
),
noted AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action, until, reason)
    SELECT met.id, at, 'user', :by, 'link_made', made.expires_at, CAST(:role AS text) FROM met, made, clock
)
SELECT EXISTS (SELECT FROM room) AS has_room, met.version, met.lease_epoch, at AS created_at,
    at + make_interval(secs => :ttl_s) AS expires_at
FROM clock LEFT JOIN met ON true
""")


def make(
    database: Database, visit: Visit, link_id: UUID, digest: str, role: Role, ttl_s: int
) -> tuple[Changed, Link] | bool:
    """False: there are as many as there may be. True: somebody committed since; nothing was written."""
    row = database.row(
        _MAKE,
        {
            "session_id": visit.session_id,
            "version": visit.version,
            "by": visit.user_id,
            "id": link_id,
            "digest": digest,
            "role": role,
            "ttl_s": ttl_s,
            "now": None,
        },
    )
    if row is None or not row["has_room"]:
        return False
    if row["version"] is None:
        return True
    changed = Changed(visit.session_id, row["version"], row["lease_epoch"])
    return changed, Link(link_id, role, row["created_at"], row["expires_at"])


# Takes a link back, and notes it, at the version that was read. One that was taken back stays so.
_REVOKE: Final = text(f"""
WITH {CLOCK},
link AS MATERIALIZED (SELECT l.id, l.revoked_at FROM share_links l WHERE l.session_id = :session_id AND l.id = :id),
met AS (
    UPDATE conversation_states s SET version = s.version + 1
    FROM link WHERE s.id = :session_id AND s.version = :version AND link.revoked_at IS NULL
    RETURNING s.id, s.version, s.lease_epoch
),
revoked AS (
    UPDATE share_links l SET revoked_at = at FROM met, clock WHERE l.session_id = met.id AND l.id = :id
),
noted AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action)
    SELECT met.id, at, 'user', :by, 'link_revoked' FROM met, clock
)
SELECT link.revoked_at IS NOT NULL AS is_revoked, met.version, met.lease_epoch FROM link LEFT JOIN met ON true
""")


@dataclass(frozen=True, slots=True)
class Revoked:
    # None: it was taken back before.
    changed: Changed | None


def revoke(database: Database, visit: Visit, link_id: UUID) -> Revoked | bool:
    """False: there is none of this ID. True: somebody committed since; nothing was written."""
    given = {"session_id": visit.session_id, "version": visit.version, "by": visit.user_id, "id": link_id}
    row = database.row(_REVOKE, {**given, "now": None})
    if row is None:
        return False
    if row["is_revoked"]:
        return Revoked(None)
    if row["version"] is None:
        return True
    return Revoked(Changed(visit.session_id, row["version"], row["lease_epoch"]))
