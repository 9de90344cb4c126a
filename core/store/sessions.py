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
    # Where its turn stands, the tools that it used lately (the newest first), its last message's number, its tokens.
    state: dict[str, Any]
    metadata: dict[str, Any]
    usage: dict[str, Any]
    created_at: datetime
    last_active_at: datetime


# How far back the tools that were used lately are looked for, in messages.
_LATELY: Final = 200
_MOST_TOOLS: Final = 5
_TOKENS: Final = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")

# The device's conversation as it stands; a lock whose time is over is no lock. Where its turn stands is read off the rows
# that make it stand there, so it cannot be out of date.
_FIND: Final = text("""
SELECT s.id, s.session_ttl, s.state, s.metadata, s.usage, s.created_at, s.last_active_at, s.message_seq,
    CASE WHEN head.status IS NULL THEN 'idle' WHEN head.status <> 'running' THEN head.status
        WHEN EXISTS (SELECT FROM tool_calls o WHERE o.session_id = s.id AND o.message_seq = s.message_seq
            AND o.status IN ('asked', 'ready', 'started')) THEN 'tools' ELSE 'model' END AS active_step,
    ARRAY(SELECT o.name FROM tool_calls o WHERE o.session_id = s.id AND o.message_seq > s.message_seq - :lately
        ORDER BY o.message_seq DESC, o.id LIMIT 50) AS lately,
    COALESCE(s.lease_expires_at > clock.at, false) AS busy,
    CASE WHEN k.until > clock.at THEN s.active_agent END AS active_agent,
    CASE WHEN k.until > clock.at THEN s.locked_at END AS locked_at,
    CASE WHEN k.until > clock.at THEN k.until END AS lock_expires_at
FROM connections c
JOIN conversation_states s ON s.id = c.session_id
CROSS JOIN LATERAL (SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at) AS clock
CROSS JOIN LATERAL (SELECT s.locked_at + make_interval(secs => s.session_ttl) AS until) AS k
LEFT JOIN LATERAL (
    SELECT t.status FROM turns t WHERE t.session_id = s.id AND t.ended_at IS NULL ORDER BY t.seq LIMIT 1
) AS head ON true
WHERE c.device_id = :device_id
""")


def find(database: Database, device_id: DeviceId, *, now: datetime | None = None) -> StoredSession | None:
    row = database.row(_FIND, {"device_id": device_id, "lately": _LATELY, "now": now})
    if row is None:
        return None
    fields = dict(row)
    lately, step, seq = fields.pop("lately"), fields.pop("active_step"), fields.pop("message_seq")
    orchestration = {
        "active_step": step,
        "recent_tools": list(dict.fromkeys(lately))[:_MOST_TOOLS],
        "sequence": seq,
        "tokens_used": sum(row["usage"].get(kind) or 0 for kind in _TOKENS),
    }
    return StoredSession(**{**fields, "state": {**row["state"], **orchestration}})


# The revision that the database's schema is at.
_REVISION: Final = text("SELECT version_num FROM alembic_version")


def schema_revision(database: Database) -> str | None:
    row = database.row(_REVISION, {})
    return None if row is None else row["version_num"]
