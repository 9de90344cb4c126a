"""Decisions: a person says yes or no to a call, or says what came of one.

Each try reads the approval and writes at the version that was read. If somebody else was quicker, nothing was written and
the next try reads what they decided; the same decision by the same person is no second one.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from core.access import Role, Who
from core.content import dump
from core.deadline import Deadline
from core.entrance import nothing_for
from core.errors import (
    ApprovalChanged,
    ApprovalDecided,
    ApprovalExpired,
    ApprovalNotFound,
    FieldProblem,
    InvalidRequest,
    RoleTooSmall,
    SessionBusy,
)
from core.ids import SessionId
from core.store import approvals, outcomes
from core.store.approvals import Found, Overdue, Verdict
from core.store.asked import Approval
from core.store.database import Database
from core.told import DENIED, EXPIRED, outcome, refusal
from core.tries import again_and_again
from core.values import dataclass

# How long a word of what came of a call waits for the turn in progress to end.
PATIENCE_S = 3.0
_LOOK_S = 0.2

_BUSY = (
    "The conversation is in the middle of a turn, and what came of an earlier call can be told only between two turns. "
    "Nothing was stored: send this again when the turn is over; if that turn waits for an approval, decide that one first."
)


@dataclass(frozen=True, slots=True)
class Decision:
    yes: bool
    # call or outcome. None: whichever it is; of an outcome, a yes is that it happened.
    kind: str | None = None
    # The digest of the arguments that the person was shown. None: it is not compared.
    shown: str | None = None
    note: str | None = None

    @property
    def status(self) -> str:
        return "approved" if self.yes else "denied"


@dataclass(frozen=True, slots=True)
class Decisions:
    database: Database
    # The conversation may have something to be gone on with.
    wake: Callable[[SessionId], None]
    budget_s: float

    def __call__(
        self,
        who: Who,
        approval_id: UUID,
        *,
        yes: bool,
        kind: str | None = None,
        shown: str | None = None,
        note: str | None = None,
        wait_s: float = PATIENCE_S,
    ) -> Approval:
        """A yes or a no to a call; or, of an outcome that nobody knows, that it happened or did not."""
        decision = Decision(yes, kind, shown, note)
        until, patience = Deadline.after(self.budget_s), Deadline.after(wait_s)
        while True:
            try:
                decided = again_and_again(until, lambda: self._try(who, approval_id, decision, until))
            except SessionBusy:
                if not patience.left_s():
                    raise
                time.sleep(min(_LOOK_S, patience.left_s()))
                continue
            self.wake(decided.session_id)
            return decided

    def _try(self, who: Who, approval_id: UUID, decision: Decision, until: Deadline) -> Approval | None:
        """None: somebody was quicker, or it is written and is read once more."""
        database = self.database.by(until)
        found = approvals.find(database, who, approval_id)
        if found is None:
            raise nothing_for(database, who, ApprovalNotFound)
        approval = found.approval
        _check(found, decision)
        if found.is_overdue:
            if not expire(database, approval.session_id, approval.version, [approval]):
                return None
            self.wake(approval.session_id)
        if approval.status == "expired":
            raise ApprovalExpired
        if approval.status != "pending":
            if (approval.status, found.decided_by) == (decision.status, found.user_id):
                return approval
            raise ApprovalDecided(_as_decided(approval))
        if approval.kind == "outcome":
            _settle(database, found, decision)
        else:
            _decide(database, found, decision)
        return None


def expire(
    database: Database,
    session_id: SessionId,
    version: int,
    overdue: Sequence[Overdue | Approval],
    *,
    now: datetime | None = None,
) -> int:
    """Nobody answered in time, which is a no: how many ended so."""
    verdicts = [
        Verdict(
            approval.id,
            dump(refusal(approval.tool_call_id, EXPIRED)) if approval.kind == "call" else None,
        )
        for approval in overdue
    ]
    return approvals.decide(database, session_id, version, verdicts, "expired", now=now)


def _check(found: Found, decision: Decision) -> None:
    approval = found.approval
    if not found.held_as.suffices_for(Role(approval.role)):
        raise RoleTooSmall(
            f"This is for {approval.role}s of the conversation, and you are its {found.held_as}."
        )
    if decision.kind not in (None, approval.kind):
        words = "approve, deny" if approval.kind == "call" else "happened, did_not_happen"
        raise InvalidRequest(errors=(FieldProblem("decision", f"must here be one of: {words}"),))
    if decision.shown not in (None, approval.input_digest):
        raise ApprovalChanged


def _decide(database: Database, found: Found, decision: Decision) -> None:
    approval = found.approval
    result = None if decision.yes else dump(refusal(approval.tool_call_id, DENIED, decision.note))
    approvals.decide(
        database,
        approval.session_id,
        approval.version,
        [Verdict(approval.id, result)],
        decision.status,
        by=found.user_id,
        note=decision.note,
    )


def _settle(database: Database, found: Found, decision: Decision) -> None:
    approval = found.approval
    if found.is_told and not found.is_quiet:
        raise SessionBusy(_BUSY)
    outcomes.settle(
        database,
        approval.session_id,
        approval.version,
        approval.id,
        happened=decision.yes,
        content=outcome(approval.tool, happened=decision.yes, note=decision.note),
        by=found.user_id,
        note=decision.note,
    )


def _as_decided(approval: Approval) -> str:
    how = {
        "approved": "A yes" if approval.kind == "call" else "That it happened",
        "denied": "A no" if approval.kind == "call" else "That it did not happen",
    }.get(approval.status)
    if how is None:
        return "It was withdrawn when its turn was stopped. Nothing was stored, and there is nothing more to decide."
    at = f" at {approval.decided_at.isoformat(timespec='seconds')}" if approval.decided_at else ""
    return f"{how} was on record already{at}. Nothing was stored, and it stays so."
