"""Sessions: what is known of a conversation, without what was said in it."""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text

from core.access import Caller, Role, Who, named
from core.ids import DeviceId, SessionId
from core.store.alive import IS_SLACK, USED
from core.store.database import Database, Row
from core.store.visitors import VISIT
from core.values import dataclass


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
    # How many seconds it lives without anybody using it.
    idle_ttl: int
    lease_epoch: int
    version: int
    has_open_turn: bool
    # What whoever asks is in it.
    held_as: Role
    # Of its owner's devices that are in it at most 20, and first the one that asks: each as it must show itself.
    present: tuple[Caller, ...]
    # When all this was so, by the database's clock.
    read_at: datetime

    @property
    def expires_at(self) -> datetime:
        """When its own time is over, if nobody uses it."""
        return self.last_active_at + timedelta(seconds=self.idle_ttl)


# How far back the tools that were used lately are looked for, in messages.
_LATELY: Final = 200
_MOST_TOOLS: Final = 5
_MOST_DEVICES: Final = 20
_TOKENS: Final = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")

# The conversation that the caller means as it stands, if it is alive and there for them; a lock whose time is over is no lock. Where its turn stands is read
# off the rows that make it stand there, so it cannot be out of date.
_STANDING: Final = """
SELECT s.id, s.session_ttl, s.state, s.metadata, s.usage, s.created_at, s.last_active_at, s.message_seq,
    s.idle_ttl, s.lease_epoch, s.version, head.status IS NOT NULL AS has_open_turn, clock.at AS read_at, its.held_as,
    (SELECT json_agg(json_build_array(d.device_id, d.token_version, d.subject)) FROM (
        SELECT c.device_id, c.token_version, u.subject FROM connections c JOIN users u ON u.id = c.user_id
        WHERE c.session_id = s.id AND c.user_id = s.user_id AND c.revoked_at IS NULL
        ORDER BY c.device_id <> :device_id, c.device_id LIMIT :most_devices) AS d) AS present,
    CASE WHEN head.status IS NULL THEN 'idle' WHEN head.status <> 'running' THEN head.status
        WHEN EXISTS (SELECT FROM tool_calls o WHERE o.session_id = s.id AND o.message_seq = s.message_seq
            AND o.status IN ('asked', 'ready', 'started')) THEN 'tools' ELSE 'model' END AS active_step,
    ARRAY(SELECT o.name FROM tool_calls o WHERE o.session_id = s.id AND o.message_seq > s.message_seq - :lately
        ORDER BY o.message_seq DESC, o.id LIMIT 50) AS lately,
    COALESCE(s.lease_expires_at > clock.at, false) AS busy,
    CASE WHEN k.until > clock.at THEN s.active_agent END AS active_agent,
    CASE WHEN k.until > clock.at THEN s.locked_at END AS locked_at,
    CASE WHEN k.until > clock.at THEN k.until END AS lock_expires_at
FROM its CROSS JOIN clock JOIN conversation_states s ON s.id = its.id
CROSS JOIN LATERAL (SELECT s.locked_at + make_interval(secs => s.session_ttl) AS until) AS k
LEFT JOIN LATERAL (
    SELECT t.status FROM turns t WHERE t.session_id = s.id AND t.ended_at IS NULL ORDER BY t.seq LIMIT 1
) AS head ON true
"""

# Read from one snapshot.
_FIND: Final = text(f"{VISIT} {_STANDING}")

# The same, and extends its time if the slack has passed. Under the epoch, so that one that was ended meanwhile, or that
# another has begun anew, does not live on; whoever claimed it meanwhile has extended it already.
_LOOK: Final = text(f"""
{VISIT},
standing AS MATERIALIZED ({_STANDING}),
used AS (
    UPDATE conversation_states s SET last_active_at = {USED}
    FROM standing k, clock
    WHERE s.id = k.id AND s.lease_epoch = k.lease_epoch AND {IS_SLACK}
    RETURNING s.last_active_at
)
SELECT k.*, used.last_active_at AS used_at FROM standing k LEFT JOIN used ON true
""")


def find(database: Database, who: Who, *, now: datetime | None = None) -> StoredSession | None:
    return _stored(database.row(_FIND, _given(who, now)))


def look(database: Database, who: Who, *, now: datetime | None = None) -> StoredSession | None:
    """As whoever uses it does."""
    return _stored(database.row(_LOOK, _given(who, now)))


def _given(who: Who, now: datetime | None) -> dict[str, Any]:
    return {**named(who), "lately": _LATELY, "most_devices": _MOST_DEVICES, "now": now}


def _stored(row: Row | None) -> StoredSession | None:
    if row is None:
        return None
    fields = dict(row)
    fields["last_active_at"] = fields.pop("used_at", None) or fields["last_active_at"]
    fields["held_as"] = Role(fields["held_as"])
    fields["present"] = tuple(
        Caller(DeviceId(UUID(device)), *shown) for device, *shown in fields["present"] or ()
    )
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
