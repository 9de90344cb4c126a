"""Outcomes: of `once` calls whose function stopped in the middle. Nobody can know what came of them but a person.

What can go wrong, and why it cannot: a call is marked as unknown and its question asked in one statement, so none is
without the other. The answer reaches the model as a message between two turns: it is written at the version at which
nobody was seen to work on the conversation, so it never comes between a call and its result.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text

from core.ids import SessionId, UserId
from core.store.alive import USED
from core.store.approvals import QUIET
from core.store.database import Database

# Asks what came of each call of `unknown`.
ASKED: Final = """
asked AS (
    INSERT INTO approvals
        (session_id, id, turn_id, tool_call_id, kind, role, input_digest, status, created_at, expires_at)
    SELECT u.session_id, gen_random_uuid(), u.turn_id, u.id, 'outcome', u.approver, u.input_digest, 'pending', at,
        at + make_interval(secs => :outcome_ttl_s)
    FROM unknown u, clock
)
"""
UNKNOWN: Final = "c.session_id, c.turn_id, c.id, c.approver, c.input_digest, c.status"

# Says what came of a call, and tells the model if it is still told of the call, all or nothing: if nobody committed since
# the given version, nobody works on the conversation, the question is still open and its time is not over.
_SETTLE: Final = text(f"""
WITH clock AS MATERIALIZED (SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at),
due AS (
    SELECT a.id, a.turn_id, a.tool_call_id, c.name, CASE WHEN m.left_out THEN 0 ELSE 1 END AS n
    FROM approvals a
    JOIN tool_calls c ON c.session_id = a.session_id AND c.turn_id = a.turn_id AND c.id = a.tool_call_id
    JOIN messages m ON m.session_id = c.session_id AND m.seq = c.message_seq
    CROSS JOIN clock
    WHERE a.session_id = :session_id AND a.id = :id AND a.kind = 'outcome' AND a.status = 'pending'
      AND a.expires_at > at
),
met AS (
    UPDATE conversation_states s SET version = version + 1, message_seq = message_seq + n, last_active_at = {USED}
    FROM due, clock
    WHERE s.id = :session_id AND s.version = :version AND (n = 0 OR {QUIET})
    RETURNING s.id, s.message_seq
),
told AS (
    INSERT INTO messages (session_id, seq, turn_id, role, content, created_at)
    SELECT met.id, met.message_seq, due.turn_id, 'user', :content, at FROM met, due, clock WHERE n = 1
),
call AS (
    UPDATE tool_calls c SET status = CASE WHEN :happened THEN 'done' ELSE 'failed' END, settled_at = at
    FROM met, due, clock WHERE c.session_id = met.id AND c.turn_id = due.turn_id AND c.id = due.tool_call_id
),
audited AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action, reason, turn_id)
    SELECT met.id, at, 'user', CAST(:decided_by AS uuid), 'outcome_settled',
        concat_ws(': ', due.name || CASE WHEN :happened THEN ' happened' ELSE ' did not happen' END, CAST(:note AS text)),
        due.turn_id
    FROM met, due, clock
)
UPDATE approvals a
SET status = CASE WHEN :happened THEN 'approved' ELSE 'denied' END, decided_at = at, decided_by = CAST(:decided_by AS uuid),
    note = CAST(:note AS text)
FROM met, due, clock
WHERE a.session_id = met.id AND a.id = due.id
RETURNING a.id
""")


def settle(
    database: Database,
    session_id: SessionId,
    version: int,
    approval_id: UUID,
    *,
    happened: bool,
    content: str,
    by: UserId | None,
    note: str | None = None,
    now: datetime | None = None,
) -> bool:
    """False: somebody committed since that version, or works on it, or it is decided, or its time is over."""
    given: dict[str, Any] = {
        "session_id": session_id,
        "version": version,
        "id": approval_id,
        "happened": happened,
        "content": content,
        "decided_by": by,
        "note": note,
        "now": now,
    }
    return database.row(_SETTLE, given) is not None
