"""Approvals: what a person is asked. May this call run; or what came of it, where no function can know.

What can go wrong, and why it cannot:

* *A yes, a no, a stop and the end of its time come at once.* Each is a write at the version of the session's row that it was
  decided on, so one of them is first, and the others find it decided.
* *It is decided before its turn waits for it*, while other calls of the same message still run. The decision counts the
  session's `signal_seq` up, so the turn that is about to wait looks first, and then waits for nothing.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text

from core.access import Role, Who, named
from core.content import dump
from core.ids import SessionId, UserId
from core.store.alive import USED
from core.store.asked import APPROVAL, Approval
from core.store.database import Database
from core.store.fence import CLOCK
from core.store.places import BEGINNING, Place
from core.store.visitors import RANKS, VISITS
from core.values import dataclass

# Ends the statements that withdraw questions: from `withdrawn`, which returns each.
WITHDRAWN_BY: Final = """
audited AS (
    INSERT INTO audit_log (session_id, at, actor, action, reason, turn_id)
    SELECT w.session_id, w.decided_at, '{actor}', 'approval_withdrawn', c.name, w.turn_id
    FROM withdrawn w JOIN tool_calls c ON c.session_id = w.session_id AND c.turn_id = w.turn_id AND c.id = w.tool_call_id
)
"""
WITHDRAWN: Final = "RETURNING a.session_id, a.turn_id, a.tool_call_id, a.decided_at"

# Nobody works on the conversation, and no turn of it stands in the middle: what is said now comes between two turns.
QUIET: Final = """(COALESCE(s.lease_expires_at <= clock.at, true) AND NOT EXISTS (
    SELECT FROM turns t WHERE t.session_id = s.id AND t.ended_at IS NULL AND t.first_seq IS NOT NULL))"""

# What waits for a decision that the caller may make, read from one snapshot; the newest conversation first.
_PENDING: Final = text(f"""
{VISITS}
SELECT {APPROVAL}, s.lease_epoch AS epoch, s.version
FROM theirs
JOIN conversation_states s ON s.id = theirs.id
JOIN approvals a ON a.session_id = s.id
JOIN tool_calls c ON c.session_id = a.session_id AND c.turn_id = a.turn_id AND c.id = a.tool_call_id
JOIN messages m ON m.session_id = c.session_id AND m.seq = c.message_seq
CROSS JOIN clock
WHERE a.status = 'pending' AND a.expires_at > clock.at
  AND array_position({RANKS}, theirs.held_as::text) >= array_position({RANKS}, a.role::text)
ORDER BY s.last_active_at DESC, s.id, a.created_at, a.id LIMIT :limit
""")


def pending(database: Database, who: Who, limit: int = 100, *, now: datetime | None = None) -> list[Approval]:
    given = {**named(who), "limit": limit, "now": now}
    return [Approval.of(row) for row in database.rows(_PENDING, given)]


@dataclass(frozen=True, slots=True)
class Found:
    """An approval as one user finds it."""

    approval: Approval
    # Still pending on record, though its time is over: no sweep has seen it yet.
    is_overdue: bool
    decided_by: UserId | None
    # None: they came by a link, from a device that nobody knows yet.
    user_id: UserId | None
    held_as: Role
    # The model is still told of the call, and can be told more of it now.
    is_told: bool
    is_quiet: bool


# One approval of any conversation that is there for the caller.
_FIND: Final = text(f"""
{VISITS}
SELECT {APPROVAL}, s.lease_epoch AS epoch, s.version, a.status = 'pending' AND a.expires_at <= clock.at AS is_overdue, a.decided_by,
    theirs.user_id, theirs.held_as, NOT m.left_out AS is_told, {QUIET} AS is_quiet
FROM theirs
JOIN conversation_states s ON s.id = theirs.id
JOIN approvals a ON a.session_id = s.id AND a.id = :id
JOIN tool_calls c ON c.session_id = a.session_id AND c.turn_id = a.turn_id AND c.id = a.tool_call_id
JOIN messages m ON m.session_id = c.session_id AND m.seq = c.message_seq
CROSS JOIN clock
""")


def find(database: Database, who: Who, approval_id: UUID, *, now: datetime | None = None) -> Found | None:
    row = database.row(_FIND, {**named(who), "id": approval_id, "now": now})
    if row is None:
        return None
    return Found(
        Approval.of(row),
        row["is_overdue"],
        row["decided_by"],
        row["user_id"],
        Role(row["held_as"]),
        row["is_told"],
        row["is_quiet"],
    )


@dataclass(frozen=True, slots=True)
class Overdue:
    id: UUID
    tool_call_id: str
    kind: str
    session_id: SessionId
    version: int
    expires_at: datetime

    @property
    def place(self) -> Place:
        return Place(self.expires_at, self.id)


# Approvals whose time is over, of any conversation, oldest first.
_OVERDUE: Final = text("""
SELECT a.id, a.tool_call_id, a.kind, a.session_id, s.version, a.expires_at
FROM approvals a JOIN conversation_states s ON s.id = a.session_id
WHERE a.status = 'pending' AND a.expires_at <= COALESCE(CAST(:now AS timestamptz), now())
  AND a.expires_at >= CAST(:after_at AS timestamptz)
  AND (a.expires_at, a.id) > (CAST(:after_at AS timestamptz), CAST(:after_id AS uuid))
ORDER BY a.expires_at, a.id LIMIT :limit
""")


def overdue(
    database: Database, limit: int, *, after: Place = BEGINNING, now: datetime | None = None
) -> list[Overdue]:
    rows = database.rows(_OVERDUE, {"limit": limit, "now": now, **after.named()})
    return [Overdue(**row) for row in rows]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is decided of one approval, and what its call is answered with if it may not run."""

    id: UUID
    result: str | None = None


# Decides approvals of one conversation alike, which extends its time unless it is time that decides, makes their calls ready or denies them; a turn is queued again when nothing
# else of it is pending. All or nothing, if nobody committed since the given version; of those that are still pending and
# whose time fits the decision.
_DECIDE: Final = text(f"""
WITH {CLOCK},
due AS (
    SELECT a.id, a.turn_id, a.tool_call_id, a.kind, v.result, c.name
    FROM jsonb_to_recordset(CAST(:verdicts AS jsonb)) AS v(id uuid, result text)
    JOIN approvals a ON a.session_id = :session_id AND a.id = v.id
    JOIN tool_calls c ON c.session_id = a.session_id AND c.turn_id = a.turn_id AND c.id = a.tool_call_id
    CROSS JOIN clock
    WHERE a.status = 'pending' AND (a.kind = 'call' OR :decision = 'expired')
      AND (a.expires_at <= at) = (:decision = 'expired')
),
met AS (
    UPDATE conversation_states s
    SET version = version + 1,
        last_active_at = CASE WHEN :decision = 'expired' THEN s.last_active_at ELSE {USED} END,
        signal_seq = signal_seq + CASE WHEN EXISTS (SELECT FROM due WHERE kind = 'call') THEN 1 ELSE 0 END
    FROM clock
    WHERE s.id = :session_id AND s.version = :version AND EXISTS (SELECT FROM due)
    RETURNING s.id
),
call AS (
    UPDATE tool_calls c
    SET status = CASE WHEN :decision = 'approved' THEN 'ready' ELSE 'denied' END, result = due.result
    FROM met, due WHERE c.session_id = met.id AND c.turn_id = due.turn_id AND c.id = due.tool_call_id AND c.status = 'asked'
),
turn AS (
    UPDATE turns t SET status = 'queued'
    FROM met
    WHERE t.session_id = met.id AND t.status = 'waiting'
      AND t.id IN (SELECT due.turn_id FROM due WHERE due.kind = 'call')
      AND NOT EXISTS (
        SELECT FROM approvals a
        WHERE a.session_id = met.id AND a.turn_id = t.id AND a.status = 'pending' AND a.kind = 'call'
          AND a.id NOT IN (SELECT due.id FROM due))
),
audited AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action, reason, turn_id)
    SELECT met.id, at, :actor, CAST(:decided_by AS uuid), 'approval_' || :decision, concat_ws(': ', due.name, CAST(:note AS text)), due.turn_id
    FROM met, due, clock
),
decided AS (
    UPDATE approvals a
    SET status = :decision, decided_at = at, decided_by = CAST(:decided_by AS uuid), note = CAST(:note AS text)
    FROM met, due, clock
    WHERE a.session_id = met.id AND a.id = due.id
    RETURNING a.id
)
SELECT count(*) AS decided FROM decided
""")


def decide(
    database: Database,
    session_id: SessionId,
    version: int,
    verdicts: Sequence[Verdict],
    decision: str,
    *,
    by: UserId | None = None,
    note: str | None = None,
    now: datetime | None = None,
) -> int:
    """How many were decided. 0: somebody committed since that version, or they are decided, or their time is over.
    `by`: which person, where that is known; that it `expired` is what time decides.
    """
    given: dict[str, Any] = {
        "session_id": session_id,
        "version": version,
        "verdicts": dump([{"id": str(verdict.id), "result": verdict.result} for verdict in verdicts]),
        "decision": decision,
        "actor": "system" if decision == "expired" else "user",
        "decided_by": by,
        "note": note,
        "now": now,
    }
    row = database.row(_DECIDE, given)
    return 0 if row is None else int(row["decided"])
