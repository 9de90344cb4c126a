"""Approvals: what a person is asked before a tool runs.

What can go wrong, and why it cannot: a yes, a no, a stop and the end of its time may come at once. Each is a write at the
version of the session's row that it was decided on, so one of them is first, and the others find it decided.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text

from core.ids import DeviceId, SessionId, TurnId
from core.store.database import Database


@dataclass(frozen=True, slots=True)
class PendingApproval:
    id: UUID
    session_id: SessionId
    turn_id: TurnId
    tool_call_id: str
    tool: str
    input_digest: str
    expires_at: datetime
    version: int


_PENDING: Final = text("""
SELECT a.id, a.session_id, a.turn_id, a.tool_call_id, c.name AS tool, a.input_digest, a.expires_at, s.version
FROM connections d
JOIN conversation_states s ON s.id = d.session_id
JOIN approvals a ON a.session_id = s.id AND a.status = 'pending'
JOIN tool_calls c ON c.session_id = a.session_id AND c.turn_id = a.turn_id AND c.id = a.tool_call_id
WHERE d.device_id = :device_id
ORDER BY a.created_at, a.id
""")


def pending(database: Database, device_id: DeviceId) -> list[PendingApproval]:
    """What the device's conversation waits for, read from one snapshot."""
    return [PendingApproval(**row) for row in database.rows(_PENDING, {"device_id": device_id})]


# Approvals whose time is over, of any conversation, oldest first.
_OVERDUE: Final = text("""
SELECT a.id, a.session_id, a.turn_id, a.tool_call_id, c.name AS tool, a.input_digest, a.expires_at, s.version
FROM approvals a
JOIN conversation_states s ON s.id = a.session_id
JOIN tool_calls c ON c.session_id = a.session_id AND c.turn_id = a.turn_id AND c.id = a.tool_call_id
WHERE a.status = 'pending' AND a.expires_at <= COALESCE(CAST(:now AS timestamptz), now())
ORDER BY a.expires_at LIMIT :limit
""")


def overdue(database: Database, limit: int, *, now: datetime | None = None) -> list[PendingApproval]:
    return [PendingApproval(**row) for row in database.rows(_OVERDUE, {"limit": limit, "now": now})]


# Decides one approval and makes its call ready, or denies it; the turn is queued again when nothing else is pending. All
# or nothing, if nobody committed since the given version, the approval is still pending, and its time fits the decision.
_DECIDE: Final = text("""
WITH clock AS MATERIALIZED (
    SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at
),
due AS (
    SELECT a.session_id, a.id, a.turn_id, a.tool_call_id FROM approvals a, clock
    WHERE a.session_id = :session_id AND a.id = :id AND a.status = 'pending'
      AND (a.expires_at <= at) = (:decision = 'expired')
),
met AS (
    UPDATE conversation_states s SET version = version + 1
    FROM due WHERE s.id = due.session_id AND s.version = :version
    RETURNING s.id
),
call AS (
    UPDATE tool_calls c SET status = CASE WHEN :decision = 'approved' THEN 'ready' ELSE 'denied' END
    FROM met, due WHERE c.session_id = met.id AND c.turn_id = due.turn_id AND c.id = due.tool_call_id AND c.status = 'asked'
),
turn AS (
    UPDATE turns t SET status = 'queued'
    FROM met, due
    WHERE t.session_id = met.id AND t.id = due.turn_id AND t.status = 'waiting' AND NOT EXISTS (
        SELECT FROM approvals a
        WHERE a.session_id = met.id AND a.turn_id = t.id AND a.status = 'pending' AND a.id <> due.id)
)
UPDATE approvals a SET status = :decision, decided_at = at
FROM met, due, clock
WHERE a.session_id = met.id AND a.id = due.id
RETURNING a.id
""")


def decide(
    database: Database, approval: PendingApproval, decision: str, *, now: datetime | None = None
) -> bool:
    """False: somebody committed since it was read, or it is decided, or its time is over; nothing was written."""
    given = {
        "session_id": approval.session_id,
        "id": approval.id,
        "version": approval.version,
        "decision": decision,
        "now": now,
    }
    return database.row(_DECIDE, given) is not None
