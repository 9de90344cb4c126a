"""Counting: what is final goes into the book of figures, a little at a time, long before it goes itself.

What can go wrong, and why it cannot:

* *It is counted twice.* The statement that counts a row flags it, under the row's lock, and passes over rows that others have in hand. Whoever
  takes a conversation away locks what is not counted of it, and counts what is still not counted then; see `daily`.
* *It changes after that.* Only what is final is counted: a turn that has ended, a line of the audit, that a conversation was begun.
* *It is killed, or its reply is lost.* One statement counts and flags, or does neither. Sent again it counts others.
* *Somebody who talks waits for it.* A conversation is not touched while it is held; whoever comes to hold it waits for one small batch
  at the most. Nothing that they have read is of the past then: a flag is no new version.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.store.daily import (
    NOTES_DUE,
    SESSIONS_DUE,
    TURN,
    TURNS_DUE,
    counted,
    of_begun,
    of_cleanups,
    of_locks,
    of_turns,
)
from core.store.database import Database
from core.store.fence import CLOCK

# Turns that have ended, those first that were accepted first. Several at once take different ones.
_TURNS: Final = text(f"""
WITH {CLOCK},
due AS MATERIALIZED (
    SELECT t.session_id, t.id {TURNS_DUE} ORDER BY t.created_at LIMIT :limit
    FOR NO KEY UPDATE OF t SKIP LOCKED
),
met AS (
    UPDATE turns t SET counted = true FROM due WHERE t.session_id = due.session_id AND t.id = due.id
    RETURNING {TURN}
),
said AS MATERIALIZED ({of_turns("met t", "true", still_open="t.status")}),
{counted("met")}
SELECT count(*) AS count FROM met
""")

# That conversations were begun, the oldest first. Several at once take different ones.
_SESSIONS: Final = text(f"""
WITH {CLOCK},
due AS MATERIALIZED (
    SELECT s.id {SESSIONS_DUE} ORDER BY s.created_at LIMIT :limit
    FOR NO KEY UPDATE OF s SKIP LOCKED
),
met AS (
    UPDATE conversation_states s SET counted = true FROM due WHERE s.id = due.id RETURNING s.id, s.created_at
),
said AS MATERIALIZED ({of_begun("met s", "true")}),
{counted("met")}
SELECT count(*) AS count FROM met
""")

# Lines of the audit: what each says of the lock before it, and what a sweep ended. Several at once take different ones: a line's words on
# the lock before it are its own, whoever counts that line.
_NOTES: Final = text(f"""
WITH {CLOCK},
due AS MATERIALIZED (
    SELECT a.session_id, a.id {NOTES_DUE} ORDER BY a.at LIMIT :limit
    FOR NO KEY UPDATE OF a SKIP LOCKED
),
met AS (
    UPDATE audit_log a SET counted = true FROM due WHERE a.session_id = due.session_id AND a.id = due.id
    RETURNING a.session_id, a.id, a.at, a.action, a.agent
),
said AS MATERIALIZED (
    {of_locks("met n", "true")}
    UNION ALL {of_cleanups("met a", "true")}
),
{counted("met")}
SELECT count(*) AS count FROM met
""")

_OF: Final = {"counted_turns": _TURNS, "counted_sessions": _SESSIONS, "counted_locks": _NOTES}
KINDS: Final = tuple(_OF)


def count(database: Database, kind: str, limit: int, *, now: datetime | None = None) -> int:
    """Some of a kind. Fewer than the limit: there are no more that nobody else has in hand."""
    row = database.row(_OF[kind], {"limit": limit, "now": now})
    assert row is not None, "a count is one row"
    return int(row["count"])
