"""Compactions: texts that stand for the beginning of a conversation when the model is told of it."""

from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.content import Compaction
from core.ids import SessionId
from core.store.database import Database
from core.store.fence import CLOCK, FENCE, write
from core.store.holds import Hold
from core.store.spending import GIVEN_BACK, SETTLED
from core.store.used import Used

# Lays a compaction over the messages up to its number and counts `rewrites` up, all or nothing, under the epoch, and only
# over the rewrites that it was made of: so sent twice it writes once. One that was left out at the same number is replaced.
_ADD: Final = text(f"""
WITH {CLOCK},
held AS (
    UPDATE conversation_states
    SET version = version + 1, rewrites = rewrites + 1, usage = CAST(:session_usage AS jsonb),
        lease_expires_at = at + make_interval(secs => :lease_ttl_s)
    FROM clock
    WHERE {FENCE} AND rewrites = :rewrites
    RETURNING rewrites, user_id, org_id
),
{SETTLED}
compacted AS (
    INSERT INTO compactions (session_id, upto_seq, content, agent, usage, created_at)
    SELECT :session_id, :upto_seq, :content, :agent, CAST(:usage AS jsonb), at FROM held, clock
    ON CONFLICT (session_id, upto_seq) DO UPDATE
    SET content = EXCLUDED.content, agent = EXCLUDED.agent, usage = EXCLUDED.usage, created_at = EXCLUDED.created_at,
        left_out = false
),
turn AS (
    UPDATE turns SET usage = CAST(:turn_usage AS jsonb), {GIVEN_BACK} FROM held WHERE session_id = :session_id AND id = :turn_id
)
SELECT rewrites FROM held
""")


def add(
    database: Database,
    hold: Hold,
    compaction: Compaction,
    *,
    rewrites: int,
    agent: str,
    usage: str,
    used: Used,
    lease_ttl_s: float,
    now: datetime | None = None,
) -> bool:
    """False: the epoch or the rewrites have passed; nothing was written."""
    given = {
        "upto_seq": compaction.upto_seq,
        "content": compaction.content,
        "rewrites": rewrites,
        "agent": agent,
        "usage": usage,
        **used.named(),
        "lease_ttl_s": lease_ttl_s,
    }
    return write(database, _ADD, hold, given, now) is not None


# The agent's own list, in its order.
_TODOS: Final = text("""
SELECT content, status FROM todos WHERE session_id = :session_id ORDER BY position
""")


def todos(database: Database, session_id: SessionId) -> list[tuple[str, str]]:
    """What is to be done, and how it stands."""
    rows = database.rows(_TODOS, {"session_id": session_id})
    return [(row["content"], row["status"]) for row in rows]
