"""Look-ups: which conversations an operator may mean who has only a part of an ID, or a user's."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text

from core.ids import SessionId, UserId
from core.store.alive import ALIVE
from core.store.database import Database
from core.store.fence import CLOCK
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    session_id: SessionId
    # "session", or "user".
    found_by: str
    user_id: UserId
    # Who holds it now. None: nobody does.
    active_agent: str | None
    is_alive: bool
    created_at: datetime
    last_active_at: datetime


# By the primary key, as a range, and by a user's conversations, the newest first: an index each, read from one snapshot.
_FIND: Final = text(f"""
WITH {CLOCK},
meant AS MATERIALIZED (
    (SELECT 'session' AS found_by, c.* FROM conversation_states c WHERE c.id BETWEEN :low AND :high ORDER BY c.id LIMIT :limit)
    UNION ALL
    (SELECT 'user', c.* FROM conversation_states c WHERE c.user_id = :user_id ORDER BY c.created_at DESC LIMIT :limit)
)
SELECT s.id AS session_id, s.found_by, s.user_id,
    CASE WHEN s.locked_at + make_interval(secs => s.session_ttl) > clock.at THEN s.active_agent END AS active_agent,
    {ALIVE} AS is_alive, s.created_at, s.last_active_at
FROM meant s CROSS JOIN clock
ORDER BY s.found_by, s.created_at DESC, s.id LIMIT :limit
""")


def find(
    database: Database, beginning: str, limit: int, *, now: datetime | None = None
) -> tuple[list[Found], bool]:
    """By hexadecimal digits that an ID begins with; all 32 may be a user's. Also: whether there are more."""
    if len(beginning) > 32:
        return [], False
    given = {
        "low": UUID(beginning.ljust(32, "0")),
        "high": UUID(beginning.ljust(32, "f")),
        "user_id": UUID(beginning) if len(beginning) == 32 else None,
        "limit": limit + 1,
        "now": now,
    }
    found = [Found(**row) for row in database.rows(_FIND, given)]
    return found[:limit], len(found) > limit
