"""Operators: what they do to a conversation that is not theirs, by the statements of those whose it is (locks, admissions, endings), on
nobody's behalf.

What can go wrong, and why it cannot:

* *The conversation moves on while an operator decides.* Each of their writes names the version that was read, as the owner's do; so
  it is made on what they decided on, or read anew.
* *An operator keeps a conversation alive by touching it.* Their writes do not extend its time, but for the end of a turn, which does
  whoever ends it.
* *Nobody knows who it was.* The line in the audit is a part of the write: actor `operator`, and the person, where it is one.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text

from core.content import dump
from core.ids import SessionId, TurnId
from core.store.admissions import STOP
from core.store.approvals import WITHDRAWN, WITHDRAWN_BY
from core.store.daily import COUNTED_OUT
from core.store.database import Database
from core.store.endings import GONE, TOLD, WITH_IT, EndedSession, ended_by
from core.store.fence import CLOCK
from core.store.locks import StoredLock, changed, clearing
from core.values import dataclass

# Who they are for the identity provider leads to a user. NULL: they showed the operators' token, or are no user here.
PERSON: Final = "(SELECT u.id FROM users u WHERE u.subject = CAST(:operator AS text))"

# In place of a caller's VISIT (see visitors.py): `clock` and `its`. One that became a part of another is left as it is, for whoever takes
# that back.
OPERATES: Final = f"""WITH {CLOCK},
its AS MATERIALIZED (
    SELECT s.id, s.user_id AS owner_id, s.org_id, s.version, s.lease_epoch, {PERSON} AS user_id, 'owner' AS held_as
    FROM conversation_states s WHERE s.id = :session_id AND s.merged_into IS NULL
)
"""


@dataclass(frozen=True, slots=True)
class OpenTurn:
    id: TurnId
    status: str
    is_begun: bool
    stop: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What of a conversation has not ended, and who has it."""

    version: int
    epoch: int
    merged_into: SessionId | None
    # Until when a function holds it. None: nobody does.
    held_until: datetime | None
    # The turn that was asked for, or that it joined. None: there is no such turn.
    meant: TurnId | None
    # In their order.
    turns: Sequence[OpenTurn]


# Read from one snapshot; by the index of what is open.
_STANDING: Final = text(f"""
WITH {CLOCK}
SELECT s.version, s.lease_epoch AS epoch, s.merged_into,
    CASE WHEN s.lease_expires_at > clock.at THEN s.lease_expires_at END AS held_until,
    (SELECT COALESCE(m.joined_to, m.id) FROM turns m WHERE m.session_id = s.id AND m.id = :turn_id) AS meant,
    COALESCE((SELECT json_agg(row_to_json(o) ORDER BY o.seq) FROM (
        SELECT t.id, t.seq, t.status, t.first_seq IS NOT NULL AS is_begun, t.stop
        FROM turns t WHERE t.session_id = s.id AND t.ended_at IS NULL) AS o), '[]') AS turns
FROM conversation_states s CROSS JOIN clock WHERE s.id = :session_id
""")


def standing(
    database: Database, session_id: SessionId, turn_id: TurnId | None = None, *, now: datetime | None = None
) -> Standing | None:
    """None: there is no such conversation."""
    row = database.row(_STANDING, {"session_id": session_id, "turn_id": turn_id, "now": now})
    if row is None:
        return None
    turns = [
        OpenTurn(TurnId(UUID(turn["id"])), turn["status"], turn["is_begun"], turn["stop"])
        for turn in row["turns"]
    ]
    return Standing(**{**row, "turns": turns})


_CLEAR_LOCK: Final = clearing(OPERATES, "")


def clear_lock(
    database: Database, session_id: SessionId, operator: str | None, *, now: datetime | None = None
) -> tuple[StoredLock, bool] | None:
    """Also: whether there was one. None: there is no such conversation. A DatabaseConflict: somebody committed at the same moment."""
    given = {
        "session_id": session_id,
        "operator": operator,
        "actor": "operator",
        "reason": None,
        "as_of": None,
        "now": now,
    }
    row = database.row(_CLEAR_LOCK, given)
    cleared = changed(row)
    return None if row is None or cleared is None else (cleared, row["was_held"])


# With a line in the audit for each turn.
_STOP: Final = text(
    STOP
    % {
        "withdrawn": WITHDRAWN,
        "withdrawn_by": WITHDRAWN_BY.format(actor="operator"),
        "noted": f""",
noted AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action, turn_id)
    SELECT o.session_id, at, 'operator', {PERSON}, 'turn_cancelled', o.id FROM stopped o, clock ORDER BY o.seq
)""",
    }
)


def stop(
    database: Database,
    session_id: SessionId,
    version: int,
    turn_ids: Sequence[TurnId],
    operator: str | None,
    *,
    error: dict[str, str],
    now: datetime | None = None,
) -> bool:
    """False: somebody committed since that version, or all of them are over."""
    given = {
        "session_id": session_id,
        "version": version,
        "turn_ids": list(turn_ids),
        "operator": operator,
        "error": dump(error),
        "now": now,
    }
    return database.row(_STOP, given) is not None


# Ends whichever there is, at the version that was read, with its application sessions: all or nothing. One that became a part of another
# stays for whoever takes that back.
_END: Final = text(f"""
WITH {CLOCK},
known AS MATERIALIZED (
    SELECT s.id, s.version FROM conversation_states s WHERE s.id = :session_id AND s.merged_into IS NULL
),
{GONE},
{WITH_IT},
{COUNTED_OUT.format(how="'ended'")}
{TOLD}
""")


def end(database: Database, session_id: SessionId, *, now: datetime | None = None) -> EndedSession | None:
    """None: there is none. A DatabaseConflict: somebody committed at the same moment."""
    return ended_by(database.row(_END, {"session_id": session_id, "now": now}))


# Notes that somebody was woken for it, if it is there still. Sent twice it notes it twice.
_NOTE_WOKEN: Final = text(f"""
INSERT INTO audit_log (session_id, at, actor, user_id, action, turn_id)
SELECT s.id, COALESCE(CAST(:now AS timestamptz), now()), 'operator', {PERSON}, 'session_woken', :turn_id
FROM conversation_states s WHERE s.id = :session_id
RETURNING id
""")


def note_woken(
    database: Database,
    session_id: SessionId,
    turn_id: TurnId,
    operator: str | None,
    *,
    now: datetime | None = None,
) -> None:
    given = {"session_id": session_id, "turn_id": turn_id, "operator": operator, "now": now}
    database.row(_NOTE_WOKEN, given)
