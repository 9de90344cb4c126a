"""Backups: all rows of a conversation as they are, to be put back as they were. An export is for its owner, and is told what they may
take along; a backup is for whoever runs the service, and leaves nothing out: people, roles, links, keys, whatever hangs on the
conversation, also in tables of a team's own.

What can go wrong, and why it cannot:

* *It changes while it is read.* Short ones are read in one statement, so from one snapshot, with their version. Of a long one the
  messages are read page by page, and it counts only if its version is then still the one that it was.
* *What is read is not what is put back.* Rows travel as Postgres writes them and reads them again, and nobody between looks into them.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Table, TextClause, text

from core.ids import SessionId, UserId
from core.store.alive import ALIVE
from core.store.database import Database
from core.store.expired import DUE
from core.store.fence import CLOCK
from core.store.places import Place
from core.store.revision import IDLE_END
from core.store.tables import (
    application_sessions,
    conversation_states,
    messages,
    metadata,
    partials,
)
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Due:
    """A conversation that is to be archived, or has nothing in it that is worth it."""

    session_id: SessionId
    user_id: UserId
    version: int
    # As far as messages go.
    size: int
    is_empty: bool
    place: Place
    # The database's time.
    at: datetime


# Conversations whose time is over, those first that ended first; but for those of people who are being erased, which go by that.
_DUE: Final = text(f"""
WITH {CLOCK}
SELECT s.id, s.user_id, s.version, {IDLE_END} AT TIME ZONE 'UTC' AS idle_end, clock.at,
    COALESCE((SELECT sum(octet_length(m.content)) FROM messages m WHERE m.session_id = s.id), 0) AS size,
    s.turn_seq = 0 AND NOT EXISTS (SELECT FROM application_sessions p WHERE p.session_id = s.id) AS is_empty
FROM conversation_states s CROSS JOIN clock
WHERE {DUE} AND NOT {ALIVE}
  AND ({IDLE_END}, s.id) <= (COALESCE(CAST(:upto_at AS timestamptz), 'infinity') AT TIME ZONE 'UTC', CAST(:upto_id AS uuid))
  AND NOT COALESCE((SELECT true FROM erasures e WHERE e.user_id = s.user_id), false)
  AND NOT COALESCE((SELECT true FROM application_sessions p WHERE p.session_id = s.id
    AND p.last_active_at + make_interval(secs => p.idle_ttl) > clock.at LIMIT 1), false)
ORDER BY {IDLE_END}, s.id LIMIT :limit
""")


def due(
    database: Database, limit: int, behind: Place, upto: Place | None = None, *, now: datetime | None = None
) -> list[Due]:
    given = {"upto_at": upto and upto.at, "upto_id": upto.id if upto else UUID(int=0)}
    rows = database.rows(_DUE, {"limit": limit, "now": now, **behind.named(), **given})
    return [
        Due(
            SessionId(row["id"]),
            UserId(row["user_id"]),
            row["version"],
            int(row["size"]),
            row["is_empty"],
            Place(row["idle_end"], row["id"]),
            row["at"],
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class StoredRow:
    table: str
    # As Postgres writes it.
    json: str


@cache
def tables() -> tuple[Table, ...]:
    """The conversation's own, and all that go with it. Not made at import, for a team's own are known only when its agents are there.
    What is being said at this moment is of no use later.
    """
    hanging = [
        table
        for table in metadata.sorted_tables
        if table is not partials
        and any(
            key.column.table is conversation_states
            and key.parent.name == "session_id"
            and key.ondelete == "CASCADE"
            for key in table.foreign_keys
        )
    ]
    return (conversation_states, *hanging, application_sessions)


def place_of(table: Table) -> str:
    """By which its rows are told one after the other."""
    return next((name for name in ("seq", "upto_seq", "position", "id") if name in table.c), "session_id")


@cache
def _rows(with_messages: bool) -> TextClause:
    """Of some conversations: the version that each was of, and its rows."""
    parts = [
        f"SELECT t.{'id' if table is conversation_states else 'session_id'} AS session_id, {nth} AS nth, "
        f"'{table.name}' AS name, CAST(row_to_json(t) AS text) AS json, "
        f"row_number() OVER (ORDER BY t.{place_of(table)}) AS place "
        f"FROM {table.name} t WHERE t.{'id' if table is conversation_states else 'session_id'} = ANY(CAST(:ids AS uuid[]))"
        for nth, table in enumerate(tables())
        if with_messages or table is not messages
    ]
    return text(f"""
SELECT r.session_id, s.version, r.name, r.json FROM ({" UNION ALL ".join(parts)}) AS r
JOIN conversation_states s ON s.id = r.session_id ORDER BY r.session_id, r.nth, r.place
""")


def rows(
    database: Database, sessions: Sequence[SessionId], *, with_messages: bool = True
) -> dict[SessionId, tuple[int, list[StoredRow]]]:
    """Of each that is there its version and its rows, its own first."""
    found: dict[SessionId, tuple[int, list[StoredRow]]] = {}
    for row in database.rows(_rows(with_messages), {"ids": [str(session) for session in sessions]}):
        of = found.setdefault(SessionId(row["session_id"]), (row["version"], []))
        of[1].append(StoredRow(row["name"], row["json"]))
    return found


# A page of a long conversation's messages, and the version that it is of.
_MESSAGES: Final = text("""
SELECT p.seq, p.json, s.version FROM (
    SELECT m.seq, CAST(row_to_json(m) AS text) AS json,
        sum(octet_length(m.content)) OVER (ORDER BY m.seq) - octet_length(m.content) AS before
    FROM messages m WHERE m.session_id = :session_id AND m.seq > :seq
    ORDER BY m.seq LIMIT :limit
) AS p CROSS JOIN (SELECT version FROM conversation_states WHERE id = :session_id) AS s
WHERE p.before < :most_bytes ORDER BY p.seq
""")
_AT_ONCE: Final = 500


def message_page(
    database: Database, session_id: SessionId, version: int, seq: int, most_bytes: int
) -> tuple[int, list[StoredRow]] | None:
    """Those behind a message, and the last one's number; no rows: that was all. None: it is not of this version any more."""
    given: dict[str, Any] = {
        "session_id": session_id,
        "seq": seq,
        "limit": _AT_ONCE,
        "most_bytes": most_bytes,
    }
    page = database.rows(_MESSAGES, given)
    if any(row["version"] != version for row in page):
        return None
    return (page[-1]["seq"] if page else seq), [StoredRow(messages.name, row["json"]) for row in page]


_VERSION: Final = text("SELECT version FROM conversation_states WHERE id = :session_id")


def version(database: Database, session_id: SessionId) -> int | None:
    row = database.row(_VERSION, {"session_id": session_id})
    return None if row is None else int(row["version"])


# Which of these people are no more, or are being erased.
_ERASED: Final = text("""
SELECT w.id FROM unnest(CAST(:ids AS uuid[])) AS w(id)
WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = w.id) OR EXISTS (SELECT FROM erasures e WHERE e.user_id = w.id)
""")


def erased(database: Database, people: Collection[UserId]) -> set[UserId]:
    return {UserId(row["id"]) for row in database.rows(_ERASED, {"ids": [str(id_) for id_ in people]})}
