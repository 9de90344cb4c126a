"""Messages: what was said, in order."""

from datetime import datetime
from typing import Final

from sqlalchemy import TextClause, text

from core.access import Who, named
from core.ids import SessionId, TurnId
from core.store.database import Database
from core.store.visitors import VISIT
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as a client reads it."""

    seq: int
    turn_id: TurnId
    role: str
    agent: str | None
    content: str
    created_at: datetime
    # It is no longer part of what the model is told.
    left_out: bool
    # Where it was said first, if that was in another conversation.
    origin_session: SessionId | None
    origin_seq: int | None


# What a page may have of content, and always at least one message: a function's answer may have 6 MB, and a few messages
# with photographs are more than that.
_MOST_BYTES: Final = 4_500_000

_FIELDS: Final = "seq, turn_id, role, agent, content, created_at, left_out, origin_session, origin_seq"

# A page of the conversation that the caller means, oldest first, read from one snapshot. `found`: how many there would be, and
# one more if there is one, if size did not count.
_PAGE: Final = f"""
{VISIT},
page AS (
    SELECT {", ".join(f"m.{field}" for field in _FIELDS.split(", "))},
        row_number() OVER (ORDER BY m.seq %(order)s) AS place, sum(octet_length(m.content)) OVER (ORDER BY m.seq %(order)s) AS bytes
    FROM its JOIN messages m ON m.session_id = its.id
    WHERE m.seq %(side)s :seq
    ORDER BY m.seq %(order)s LIMIT :limit + 1
)
SELECT {_FIELDS}, (SELECT count(*) FROM page) AS found
FROM page WHERE place <= :limit AND (place = 1 OR bytes <= :most_bytes)
ORDER BY seq
"""
_PAGE_AFTER: Final = text(_PAGE % {"order": "", "side": ">"})
_PAGE_BEFORE: Final = text(_PAGE % {"order": "DESC", "side": "<"})


@dataclass(frozen=True, slots=True)
class Page:
    items: tuple[StoredMessage, ...]
    more: bool


def page_after(database: Database, who: Who, seq: int, limit: int, *, now: datetime | None = None) -> Page:
    return _page(database, _PAGE_AFTER, who, seq, limit, now)


def page_before(database: Database, who: Who, seq: int, limit: int, *, now: datetime | None = None) -> Page:
    return _page(database, _PAGE_BEFORE, who, seq, limit, now)


def _page(
    database: Database,
    statement: TextClause,
    who: Who,
    seq: int,
    limit: int,
    now: datetime | None,
) -> Page:
    given = {**named(who), "seq": seq, "limit": limit, "most_bytes": _MOST_BYTES, "now": now}
    rows = [dict(row) for row in database.rows(statement, given)]
    found = [row.pop("found") for row in rows]
    return Page(tuple(StoredMessage(**row) for row in rows), bool(found) and found[0] > len(rows))
