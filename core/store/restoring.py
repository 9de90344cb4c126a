"""Restoring: the rows of a backup go back as they were; and when nothing of them is left that may not be seen, the conversation lives again.

What can go wrong, and why it cannot:

* *It dies in the middle, or is done twice, or by two at once.* All rows go back in one transaction, with the conversation's own row first: of
  two one waits, and then finds it there. As long as its time is over it is there for nobody; that it lives again is one more statement.
* *A zombie of before writes to it.* Its epoch counts on from where it was, so nobody holds a grant of it; and whatever the cache was
  told about the end of it is about an earlier epoch.
* *The figures count it twice.* What is final in it is in the book, whoever counted it, so it comes back as counted. What was not, and
  was counted as of its going, is taken out of the book in the same transaction.
* *Somebody in it was erased meanwhile, or is being erased.* They are found, and blotted out before it lives again. Whose erasure begins
  after that finds the rows itself; whose had looked for them before has a receipt that is not ended, or is no more.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Table, TextClause, text

from core.deadline import Deadline
from core.errors import BackupUnreadable, NotRestored
from core.ids import SessionId, UserId
from core.store.alive import ALIVE
from core.store.backups import StoredRow, place_of, tables
from core.store.daily import COUNTED_BACK
from core.store.database import Database, translated
from core.store.fence import CLOCK
from core.store.tables import application_sessions, conversation_states

# Of the rows `r` that are put back, what is not put back as it was.
_INSTEAD: Final = {
    "conversation_states": {
        "lease_epoch": "r.lease_epoch + 1",
        "lease_expires_at": "NULL",
        "lease_holder": "NULL",
        "version": "r.version + 1",
        # What it had become a part of may be gone; now it is its owner's again.
        "merged_into": "NULL",
        "counted": "true",
    },
    # What they had been given and not used was counted as spent.
    "turns": {
        "reserved_micros": "0",
        "reserved_tokens": "0",
        "reservation": "NULL",
        "counted": "r.ended_at IS NOT NULL",
    },
    "audit_log": {"counted": "true"},
    "application_sessions": {
        "slot": "NULL",
        "epoch": "GREATEST(r.epoch + 1, CAST(EXTRACT(epoch FROM now()) * 1000000 AS bigint))",
    },
}
_ONLY: Final = {"members": "WHERE EXISTS (SELECT FROM users u WHERE u.id = r.user_id)"}
_ROWS_AT_ONCE: Final = 500

_OWNER: Final = text("SELECT id FROM users WHERE id = :user_id FOR KEY SHARE")
_ERASED: Final = text("SELECT 1 FROM erasures WHERE user_id = :user_id")
_COUNT_BACK: Final = text(f"""
WITH clock AS MATERIALIZED (SELECT CAST(:at AS timestamptz) AS at),
gone AS MATERIALIZED (SELECT s.id, s.active_agent, s.locked_at, s.session_ttl, s.rewrites FROM conversation_states s WHERE s.id = :session_id),
{COUNTED_BACK}
SELECT 1
""")
_NOTE: Final = text("""
INSERT INTO audit_log (session_id, at, actor, action) VALUES (:session_id, now(), 'operator', 'session_restored')
""")


def put_back(
    database: Database,
    session_id: SessionId,
    user_id: UserId,
    rows: Iterable[StoredRow],
    *,
    at: datetime,
    deadline: Deadline,
) -> bool:
    """False: it is there already. A NotRestored: its owner is not. `at`: as of when it was counted out."""
    with _transaction(database, deadline) as connection:
        if connection.execute(_OWNER, {"user_id": user_id}).first() is None:
            raise NotRestored
        if connection.execute(_ERASED, {"user_id": user_id}).first() is not None:
            raise NotRestored
        is_begun = False
        for table, some in _by_table(rows):
            if not is_begun and table is not conversation_states:
                raise BackupUnreadable
            is_begun = True
            put = connection.execute(_insert(table, some), {"rows": f"[{','.join(some)}]"})
            if table is conversation_states and not put.rowcount:
                return False
        connection.execute(_COUNT_BACK, {"session_id": session_id, "at": at})
        connection.execute(_NOTE, {"session_id": session_id})
    return True


@contextmanager
def _transaction(database: Database, deadline: Deadline) -> Iterator[Connection]:
    with translated(), database.connection(deadline) as connection:
        yield connection


def _by_table(rows: Iterable[StoredRow]) -> Iterator[tuple[Table, list[str]]]:
    """Of a table that there is no more nothing is put back."""
    known = {table.name: table for table in tables()}
    last, some = "", list[str]()
    for row in rows:
        if some and (row.table != last or len(some) >= _ROWS_AT_ONCE):
            if last in known:
                yield known[last], some
            some = []
        last = row.table
        some.append(row.json)
    if some and last in known:
        yield known[last], some


def _insert(table: Table, rows: list[str]) -> TextClause:
    """Of the columns that the backup has, and that there are; and those of ours that a backup of before did not have. What numbers
    itself is numbered anew, in the same order.
    """
    instead = _INSTEAD.get(table.name, {})
    there = json.loads(rows[0]).keys() | instead.keys()
    columns = [column.name for column in table.columns if column.name in there and column.identity is None]
    values = ", ".join(instead.get(name, f"r.{name}") for name in columns)
    # Names of ours alone: those of tables.py.
    return text(f"""
    INSERT INTO {table.name} ({", ".join(columns)})
    SELECT {values} FROM json_populate_recordset(CAST(NULL AS {table.name}), CAST(:rows AS json)) AS r
    {_ONLY.get(table.name, "")} ORDER BY r.{place_of(table)} ON CONFLICT DO NOTHING
    """)


# Who is named in a conversation and is no more, or is being erased.
_STRANGERS: Final = text("""
SELECT DISTINCT w.id FROM (
    SELECT sent_by FROM turns WHERE session_id = :session_id UNION ALL
    SELECT decided_by FROM approvals WHERE session_id = :session_id UNION ALL
    SELECT user_id FROM audit_log WHERE session_id = :session_id UNION ALL
    SELECT created_by FROM revisions WHERE session_id = :session_id UNION ALL
    SELECT created_by FROM share_links WHERE session_id = :session_id
) AS w(id)
WHERE w.id IS NOT NULL AND w.id <> :somebody
  AND (NOT EXISTS (SELECT FROM users u WHERE u.id = w.id) OR EXISTS (SELECT FROM erasures e WHERE e.user_id = w.id))
""")


def strangers(database: Database, session_id: SessionId, somebody: object) -> list[UserId]:
    rows = database.rows(_STRANGERS, {"session_id": session_id, "somebody": somebody})
    return [UserId(row["id"]) for row in rows]


# What is beside it of people who were erased, or are being erased: those of a team's own are in no table here, so it goes by receipts.
_STRANGERS_OWN: Final = text(f"""
DELETE FROM {application_sessions.name} p USING erasures e
WHERE p.session_id = :session_id AND e.user_digest = encode(sha256(convert_to(CAST(p.user_id AS text), 'UTF8')), 'hex')
RETURNING p.namespace
""")


def forget_strangers_own(database: Database, session_id: SessionId) -> int:
    return len(database.rows(_STRANGERS_OWN, {"session_id": session_id}))


# It lives again from now on, with those of its application sessions that lived when it was used last. Sent twice it changes nothing more.
_REVIVE: Final = text(f"""
WITH {CLOCK},
over AS MATERIALIZED (
    SELECT s.id, s.last_active_at FROM conversation_states s CROSS JOIN clock WHERE s.id = :session_id AND NOT {ALIVE}
    FOR UPDATE OF s
),
beside AS (
    UPDATE {application_sessions.name} p SET last_active_at = at
    FROM over, clock WHERE p.session_id = over.id AND p.last_active_at + make_interval(secs => p.idle_ttl) > over.last_active_at
)
UPDATE conversation_states s SET last_active_at = at, version = s.version + 1 FROM over, clock WHERE s.id = over.id
RETURNING s.id
""")


def revive(database: Database, session_id: SessionId, *, now: datetime | None = None) -> bool:
    """False: it is alive already, or not there."""
    given: dict[str, Any] = {"session_id": session_id, "now": now}
    return database.row(_REVIVE, given) is not None


_THERE: Final = text("SELECT user_id FROM conversation_states WHERE id = :session_id")


def owner(database: Database, session_id: SessionId) -> UserId | None:
    """Of one that is there, alive or not."""
    row = database.row(_THERE, {"session_id": session_id})
    return None if row is None else UserId(row["user_id"])
