"""Turns: finished, failed, let go of, found.

What can go wrong, and why it cannot:

* *A zombie writes.* Each write is chained to an UPDATE of the session's row that names the epoch; none matches an epoch
  that has passed, and then nothing at all is written.
* *The reply to a statement is lost.* A finish sent again finds the message number used up, a failure finds the lease let
  go of, and neither writes twice; `find` tells what is stored.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text

from core.content import dump
from core.ids import DeviceId, SessionId, TurnId
from core.store.claims import Grant
from core.store.database import Database


@dataclass(frozen=True, slots=True)
class Ended:
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class StoredTurn:
    id: TurnId
    session_id: SessionId
    seq: int
    status: str
    agent: str | None
    content: str | None
    usage: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: datetime
    ended_at: datetime | None
    session_epoch: int


# Stores the reply, settles the turn and frees the conversation, all or nothing, if the epoch and the message number are
# still the row's. Sent twice it writes once.
_FINISH: Final = text("""
WITH clock AS MATERIALIZED (
    SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at
),
held AS (
    UPDATE conversation_states
    SET message_seq = message_seq + 1, version = version + 1, lease_expires_at = NULL,
        usage = CAST(:session_usage AS jsonb)
    WHERE id = :session_id AND lease_epoch = :epoch AND message_seq = :message_seq
    RETURNING message_seq
),
reply AS (
    INSERT INTO messages
        (session_id, seq, turn_id, role, agent, content, prefix_digest, stop_reason, usage, created_at)
    SELECT :session_id, message_seq, :turn_id, 'assistant', :agent, :content, :prefix_digest, :stop_reason,
        CAST(:usage AS jsonb), at
    FROM held, clock
)
UPDATE turns
SET status = 'completed', agent = :agent, last_seq = held.message_seq, usage = CAST(:turn_usage AS jsonb), ended_at = at
FROM held, clock
WHERE session_id = :session_id AND id = :turn_id
RETURNING ended_at
""")


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's reply as it is stored."""

    agent: str
    content: str
    prefix_digest: str
    stop_reason: str
    usage: str


def finish(
    database: Database,
    grant: Grant,
    reply: Reply,
    *,
    turn_usage: dict[str, Any],
    session_usage: dict[str, Any],
    now: datetime | None = None,
) -> Ended | None:
    """None: the epoch or the number has passed; nothing was written."""
    row = database.row(
        _FINISH,
        {
            "session_id": grant.session_id,
            "turn_id": grant.turn_id,
            "epoch": grant.epoch,
            "message_seq": grant.message_seq,
            "agent": reply.agent,
            "content": reply.content,
            "prefix_digest": reply.prefix_digest,
            "stop_reason": reply.stop_reason,
            "usage": reply.usage,
            "turn_usage": dump(turn_usage),
            "session_usage": dump(session_usage),
            "now": now,
        },
    )
    return None if row is None else Ended(row["ended_at"])


# Closes the turn with its error and frees the conversation, if the epoch is still the row's and not yet let go of.
_FAIL: Final = text("""
WITH clock AS MATERIALIZED (
    SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at
),
held AS (
    UPDATE conversation_states
    SET version = version + 1, lease_expires_at = NULL
    WHERE id = :session_id AND lease_epoch = :epoch AND lease_expires_at IS NOT NULL
    RETURNING id
)
UPDATE turns SET status = 'failed', agent = :agent, error = CAST(:error AS jsonb), ended_at = at
FROM held, clock
WHERE session_id = held.id AND turns.id = :turn_id AND status = 'running'
RETURNING ended_at
""")


def fail(
    database: Database, grant: Grant, *, agent: str, error: dict[str, str], now: datetime | None = None
) -> Ended | None:
    """None: the epoch has passed, or the turn is over already; nothing was written."""
    row = database.row(
        _FAIL,
        {
            "session_id": grant.session_id,
            "turn_id": grant.turn_id,
            "epoch": grant.epoch,
            "agent": agent,
            "error": dump(error),
            "now": now,
        },
    )
    return None if row is None else Ended(row["ended_at"])


# Frees the conversation and changes nothing else, if the epoch is still the row's.
_RELEASE: Final = text("""
UPDATE conversation_states SET lease_expires_at = NULL, version = version + 1
WHERE id = :session_id AND lease_epoch = :epoch
RETURNING id
""")


def release(database: Database, grant: Grant) -> None:
    database.row(_RELEASE, {"session_id": grant.session_id, "epoch": grant.epoch})


# One turn of the device's own user, with its last reply; a turn of anybody else is not there.
_FIND: Final = text("""
SELECT t.id, t.session_id, t.seq, t.status, t.agent, t.usage, t.error, t.created_at, t.ended_at,
    s.lease_epoch AS session_epoch, m.content
FROM connections c
JOIN conversation_states s ON s.user_id = c.user_id
JOIN turns t ON t.session_id = s.id AND t.id = :turn_id
LEFT JOIN messages m ON m.session_id = t.session_id AND m.seq = t.last_seq AND m.role = 'assistant'
WHERE c.device_id = :device_id
""")


def find(database: Database, device_id: DeviceId, turn_id: TurnId) -> StoredTurn | None:
    row = database.row(_FIND, {"device_id": device_id, "turn_id": turn_id})
    return None if row is None else StoredTurn(**row)
