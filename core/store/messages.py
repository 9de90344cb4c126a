"""Messages: what was said, in order."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.ids import DeviceId, TurnId
from core.store.database import Database


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as a client reads it."""

    seq: int
    turn_id: TurnId
    role: str
    agent: str | None
    content: str
    created_at: datetime


# A page of the device's conversation, oldest first, read from one snapshot.
_PAGE_AFTER: Final = text("""
SELECT m.seq, m.turn_id, m.role, m.agent, m.content, m.created_at
FROM connections c JOIN messages m ON m.session_id = c.session_id
WHERE c.device_id = :device_id AND m.seq > :seq
ORDER BY m.seq LIMIT :limit
""")

_PAGE_BEFORE: Final = text("""
SELECT m.seq, m.turn_id, m.role, m.agent, m.content, m.created_at
FROM connections c JOIN messages m ON m.session_id = c.session_id
WHERE c.device_id = :device_id AND m.seq < :seq
ORDER BY m.seq DESC LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class Page:
    items: tuple[StoredMessage, ...]
    more: bool


def page_after(database: Database, device_id: DeviceId, seq: int, limit: int) -> Page:
    rows = database.rows(_PAGE_AFTER, {"device_id": device_id, "seq": seq, "limit": limit + 1})
    return Page(tuple(StoredMessage(**row) for row in rows[:limit]), len(rows) > limit)


def page_before(database: Database, device_id: DeviceId, seq: int, limit: int) -> Page:
    rows = database.rows(_PAGE_BEFORE, {"device_id": device_id, "seq": seq, "limit": limit + 1})
    return Page(tuple(StoredMessage(**row) for row in reversed(rows[:limit])), len(rows) > limit)
