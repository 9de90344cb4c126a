"""Todos: an agent's own list for a conversation. It is written along with the results of the call that set it."""

from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.access import Who, named
from core.store.database import Database
from core.store.visitors import VISIT
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Todo:
    position: int
    content: str
    status: str
    updated_at: datetime


# The list of the conversation that the caller means, in its order, read from one snapshot.
_LIST: Final = text(f"""
{VISIT}
SELECT t.position, t.content, t.status, t.updated_at
FROM its JOIN todos t ON t.session_id = its.id
ORDER BY t.position
""")


def of(database: Database, who: Who, *, now: datetime | None = None) -> list[Todo]:
    return [Todo(**row) for row in database.rows(_LIST, {**named(who), "now": now})]
