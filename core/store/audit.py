"""The audit: who changed what of a conversation, why, and until when. Written along with each change, and only read here."""

from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.access import Who, named
from core.ids import TurnId, UserId
from core.store.database import Database
from core.store.visitors import EDITS, VISIT
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Note:
    id: int
    at: datetime
    # "user", "system", "agent:<key>", or what a caller of the library says of itself.
    actor: str
    # Which person, where it was one.
    user_id: UserId | None
    action: str
    agent: str | None
    until: datetime | None
    reason: str | None
    turn_id: TurnId | None


# A page of the notes on the conversation that the caller means, if they are at least an editor, oldest first, read from one
# snapshot.
_PAGE: Final = text(f"""
{VISIT}
SELECT a.id, a.at, a.actor, a.user_id, a.action, a.agent, a.until, a.reason, a.turn_id
FROM its JOIN audit_log a ON a.session_id = its.id
WHERE {EDITS} AND a.id > :after
ORDER BY a.id LIMIT :limit
""")


def page(
    database: Database, who: Who, after: int, limit: int, *, now: datetime | None = None
) -> tuple[list[Note], bool]:
    """The notes, and whether there are more."""
    rows = database.rows(_PAGE, {**named(who), "after": after, "limit": limit + 1, "now": now})
    return [Note(**row) for row in rows[:limit]], len(rows) > limit
