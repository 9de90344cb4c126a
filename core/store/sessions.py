"""Sessions: what is known of a conversation, without what was said in it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text

from core.ids import DeviceId, SessionId
from core.store.database import Database


@dataclass(frozen=True, slots=True)
class StoredSession:
    id: SessionId
    active_agent: str | None
    locked_at: datetime | None
    lock_expires_at: datetime | None
    session_ttl: int
    busy: bool
    state: dict[str, Any]
    metadata: dict[str, Any]
    usage: dict[str, Any]
    created_at: datetime
    last_active_at: datetime


# The device's conversation as it stands; a lock whose time is over is no lock.
_FIND: Final = text("""
SELECT s.id, s.session_ttl, s.state, s.metadata, s.usage, s.created_at, s.last_active_at,
    COALESCE(s.lease_expires_at > clock.at, false) AS busy,
    CASE WHEN k.until > clock.at THEN s.active_agent END AS active_agent,
    CASE WHEN k.until > clock.at THEN s.locked_at END AS locked_at,
    CASE WHEN k.until > clock.at THEN k.until END AS lock_expires_at
FROM connections c
JOIN conversation_states s ON s.id = c.session_id
CROSS JOIN LATERAL (SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at) AS clock
CROSS JOIN LATERAL (SELECT s.locked_at + make_interval(secs => s.session_ttl) AS until) AS k
WHERE c.device_id = :device_id
""")


def find(database: Database, device_id: DeviceId, *, now: datetime | None = None) -> StoredSession | None:
    row = database.row(_FIND, {"device_id": device_id, "now": now})
    return None if row is None else StoredSession(**row)


# The revision that the database's schema is at.
_REVISION: Final = text("SELECT version_num FROM alembic_version")


def schema_revision(database: Database) -> str | None:
    row = database.row(_REVISION, {})
    return None if row is None else row["version_num"]
