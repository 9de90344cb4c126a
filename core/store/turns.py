"""Turns: looked at, and found when nobody goes on with them."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import text

from core.access import Role, Who, named
from core.ids import SessionId, TurnId
from core.store.asked import APPROVAL, Approval
from core.store.database import Database
from core.store.places import BEGINNING, Place
from core.store.visitors import VISITS
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class StoredTurn:
    id: TurnId
    session_id: SessionId
    seq: int
    status: str
    agent: str | None
    content: str | None
    calls: list[dict[str, Any]]
    approvals: list[Approval]
    usage: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: datetime
    ended_at: datetime | None
    # Of the session's row; the version is for a write that depends on what was read here.
    epoch: int
    version: int
    # Nobody holds the conversation now.
    is_free: bool
    # What whoever asks is in the conversation.
    held_as: Role


# One turn of any conversation that is there for the caller, with its last reply and what it did. The turn that a message joined
# stands for it.
_FIND: Final = text(f"""
{VISITS}
SELECT t.id, t.session_id, t.seq, t.status, t.agent, t.usage, t.error, t.created_at, t.ended_at, s.lease_epoch AS epoch, s.version,
    COALESCE(s.lease_expires_at <= clock.at, true) AS is_free, theirs.held_as,
    (SELECT m.content FROM messages m WHERE m.session_id = t.session_id AND m.seq BETWEEN t.first_seq AND t.last_seq
        AND m.turn_id = t.id AND m.role = 'assistant' ORDER BY m.seq DESC LIMIT 1) AS content,
    COALESCE((SELECT json_agg(json_build_object('id', c.id, 'name', c.name, 'effect', c.effect, 'status', c.status)
        ORDER BY c.message_seq, c.id COLLATE "C") FROM tool_calls c WHERE c.session_id = t.session_id AND c.turn_id = t.id), '[]')
        AS calls,
    COALESCE((SELECT json_agg(row_to_json(shown) ORDER BY shown.created_at, shown.id) FROM (
        SELECT {APPROVAL}, s.lease_epoch AS epoch, s.version FROM approvals a
        JOIN tool_calls c ON c.session_id = a.session_id AND c.turn_id = a.turn_id AND c.id = a.tool_call_id
        JOIN messages m ON m.session_id = c.session_id AND m.seq = c.message_seq
        WHERE a.session_id = t.session_id AND a.turn_id = t.id) AS shown), '[]') AS approvals
FROM theirs CROSS JOIN clock
JOIN turns asked ON asked.session_id = theirs.id AND asked.id = :turn_id
JOIN conversation_states s ON s.id = theirs.id
JOIN turns t ON t.session_id = s.id AND t.id = COALESCE(asked.joined_to, asked.id)
""")


def find(database: Database, who: Who, turn_id: TurnId, *, now: datetime | None = None) -> StoredTurn | None:
    row = database.row(_FIND, {**named(who), "turn_id": turn_id, "now": now})
    if row is None:
        return None
    asked = [Approval.of(approval) for approval in row["approvals"]]
    return StoredTurn(**{**row, "approvals": asked, "held_as": Role(row["held_as"])})


@dataclass(frozen=True, slots=True)
class StrandedSession:
    session_id: SessionId
    # The last grant that there was.
    epoch: int
    since: datetime

    @property
    def place(self) -> Place:
        return Place(self.since, self.session_id)


STRANDED: Final = """
FROM turns t JOIN conversation_states s ON s.id = t.session_id
WHERE t.ended_at IS NULL AND t.status IN ('queued', 'running')
  AND COALESCE(s.lease_expires_at <= COALESCE(CAST(:now AS timestamptz), now()), true)
  AND NOT EXISTS (
    SELECT FROM turns w WHERE w.session_id = t.session_id AND w.ended_at IS NULL AND w.status = 'waiting' AND w.seq < t.seq)
"""

# Conversations whose next turn could go on and that nobody holds, oldest turn first.
_STRANDED: Final = text(f"""
SELECT t.session_id, s.lease_epoch AS epoch, min(t.created_at) AS since
{STRANDED}
GROUP BY t.session_id, s.lease_epoch
HAVING (min(t.created_at), t.session_id) > (CAST(:after_at AS timestamptz), CAST(:after_id AS uuid))
ORDER BY since, t.session_id LIMIT :limit
""")


def stranded(
    database: Database, limit: int, *, after: Place = BEGINNING, now: datetime | None = None
) -> list[StrandedSession]:
    rows = database.rows(_STRANDED, {"limit": limit, "now": now, **after.named()})
    return [StrandedSession(**row) for row in rows]


# Forgets idempotency keys of ended turns past the retry horizon, oldest first; several at once take different ones.
_FORGET: Final = text("""
WITH old AS (
    SELECT session_id, id FROM turns
    WHERE idempotency_key IS NOT NULL AND ended_at IS NOT NULL
      AND created_at < COALESCE(CAST(:now AS timestamptz), now()) - make_interval(secs => :key_ttl_s)
    ORDER BY created_at LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
UPDATE turns t SET idempotency_key = NULL FROM old WHERE t.session_id = old.session_id AND t.id = old.id
RETURNING t.id
""")


def forget_keys(database: Database, *, key_ttl_s: int, limit: int, now: datetime | None = None) -> int:
    return len(database.rows(_FORGET, {"key_ttl_s": key_ttl_s, "limit": limit, "now": now}))
