"""Messages: what was said, in order."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import TextClause, text

from core.ids import DeviceId, TurnId
from core.store.alive import ALIVE
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


# What a page may have of content, and always at least one message: a function's answer may have 6 MB, and a few messages
# with photographs are more than that.
_MOST_BYTES: Final = 4_500_000

# The device's conversation, if it is alive.
_ITS: Final = f"""connections c
    CROSS JOIN (SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at) AS clock
    JOIN conversation_states s ON s.id = c.session_id AND {ALIVE}"""

# A page of the device's conversation, oldest first, read from one snapshot. `found`: how many there would be, and one
# more if there is one, if size did not count.
_PAGE_AFTER: Final = text(f"""
WITH page AS (
    SELECT m.seq, m.turn_id, m.role, m.agent, m.content, m.created_at,
        row_number() OVER (ORDER BY m.seq) AS place, sum(octet_length(m.content)) OVER (ORDER BY m.seq) AS bytes
    FROM {_ITS} JOIN messages m ON m.session_id = s.id
    WHERE c.device_id = :device_id AND m.seq > :seq
    ORDER BY m.seq LIMIT :limit + 1
)
SELECT seq, turn_id, role, agent, content, created_at, (SELECT count(*) FROM page) AS found
FROM page WHERE place <= :limit AND (place = 1 OR bytes <= :most_bytes)
ORDER BY seq
""")

_PAGE_BEFORE: Final = text(f"""
WITH page AS (
    SELECT m.seq, m.turn_id, m.role, m.agent, m.content, m.created_at,
        row_number() OVER (ORDER BY m.seq DESC) AS place, sum(octet_length(m.content)) OVER (ORDER BY m.seq DESC) AS bytes
    FROM {_ITS} JOIN messages m ON m.session_id = s.id
    WHERE c.device_id = :device_id AND m.seq < :seq
    ORDER BY m.seq DESC LIMIT :limit + 1
)
SELECT seq, turn_id, role, agent, content, created_at, (SELECT count(*) FROM page) AS found
FROM page WHERE place <= :limit AND (place = 1 OR bytes <= :most_bytes)
ORDER BY seq
""")


@dataclass(frozen=True, slots=True)
class Page:
    items: tuple[StoredMessage, ...]
    more: bool


def page_after(
    database: Database, device_id: DeviceId, seq: int, limit: int, *, now: datetime | None = None
) -> Page:
    return _page(database, _PAGE_AFTER, device_id, seq, limit, now)


def page_before(
    database: Database, device_id: DeviceId, seq: int, limit: int, *, now: datetime | None = None
) -> Page:
    return _page(database, _PAGE_BEFORE, device_id, seq, limit, now)


def _page(
    database: Database,
    statement: TextClause,
    device_id: DeviceId,
    seq: int,
    limit: int,
    now: datetime | None,
) -> Page:
    given = {"device_id": device_id, "seq": seq, "limit": limit, "most_bytes": _MOST_BYTES, "now": now}
    rows = [dict(row) for row in database.rows(statement, given)]
    found = [row.pop("found") for row in rows]
    return Page(tuple(StoredMessage(**row) for row in rows), bool(found) and found[0] > len(rows))
