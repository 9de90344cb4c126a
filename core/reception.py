"""Reception: what comes from outside is accepted here, or refused, before anybody works on it.

Each try is a claim (or a look) and, if the conversation is busy, one write at the version that was read. If somebody
else was quicker, nothing was written and the next try reads anew; so a decision is never carried out on a state that it
was not made for, and no transaction is held between the two.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import TypeVar
from uuid import UUID, uuid4

from core.budgets import Budgets, over
from core.conversation import Conversation, Memory
from core.deadline import Deadline
from core.errors import ApprovalNotFound, DatabaseConflict, IdempotencyKeyReused, SessionBusy, TurnNotFound
from core.holding import Holding
from core.ids import DeviceId, SessionId, TurnId
from core.lease import Lease
from core.policies import OnBusy, admission
from core.store import admissions, approvals, claims, turns
from core.store.approvals import PendingApproval
from core.store.claims import Arrival, Claim, Outcome, Standing
from core.store.database import ConnectionDied, Database
from core.store.holds import Grant, Remembered
from core.store.turns import StoredTurn

T = TypeVar("T")
Kept = tuple[Remembered, Conversation]

# How often a connection may die under one request.
_MOST_DEATHS = 3
_LONGEST_PAUSE_S = 0.05

_REPLACED = {
    "code": "turn_replaced",
    "detail": "A later message took the place of this one before it was begun.",
}
CANCELLED = {"code": "turn_cancelled", "detail": "The turn was cancelled."}


@dataclass(frozen=True, slots=True)
class Accepted:
    """The turn that answers the message; held, if it was begun at once."""

    turn_id: TurnId
    session_id: SessionId
    holding: Holding | None


@dataclass(frozen=True, slots=True)
class Reception:
    database: Database
    memory: Memory
    lease_ttl_s: float
    lease_margin_s: float
    session_ttl_s: int
    approval_ttl_s: int
    budgets: Budgets = field(default=Budgets())

    def accept(self, arrival: Arrival, deadline: Deadline) -> Accepted:
        kept = self.memory.of_device(arrival.device_id)
        accepted = _again_and_again(deadline, lambda: self._accept(arrival, kept, deadline))
        if kept is not None and accepted.holding is None:
            self.memory.put(*kept, arrival.device_id)
        return accepted

    def take(self, session_id: SessionId, deadline: Deadline) -> Holding | None:
        """The conversation's next turn, begun or gone on with. None: there is none, or somebody else has it."""
        kept = self.memory.of_session(session_id)
        holder = uuid4()

        def once() -> Holding | None:
            lease = Lease.from_now(self.lease_ttl_s, self.lease_margin_s)
            grant = claims.take(
                self.database.by(deadline),
                session_id,
                holder,
                lease_ttl_s=self.lease_ttl_s,
                known=kept[0] if kept else None,
            )
            return None if grant is None else self._holding(grant, lease, kept)

        holding = _past_dead_connections(once)
        if kept is not None and holding is None:
            self.memory.put(*kept)
        return holding

    def cancel(self, device_id: DeviceId, turn_id: TurnId, deadline: Deadline) -> StoredTurn:
        """Ends a turn that waits; asks one that has begun to stop. A turn that is over stays what it is."""

        def once() -> StoredTurn | None:
            stored = self.find(device_id, turn_id)
            if stored.ended_at is not None or admissions.stop(
                self.database.by(deadline), stored.session_id, stored.version, stored.id, error=CANCELLED
            ):
                return stored
            return None

        return _again_and_again(deadline, once)

    def decide(
        self, device_id: DeviceId, approval_id: UUID, *, yes: bool, deadline: Deadline
    ) -> PendingApproval:
        decision = "approved" if yes else "denied"
        tried: list[PendingApproval] = []

        def once() -> PendingApproval | None:
            found = approvals.pending(self.database.by(deadline), device_id)
            asked = next((approval for approval in found if approval.id == approval_id), None)
            if asked is None:
                # Decided already: by our own try, whose reply was lost, or by somebody else.
                if tried and self._is_decided(device_id, tried[-1], decision):
                    return tried[-1]
                raise ApprovalNotFound
            tried.append(asked)
            return asked if approvals.decide(self.database.by(deadline), asked, decision) else None

        return _again_and_again(deadline, once)

    def find(self, device_id: DeviceId, turn_id: TurnId) -> StoredTurn:
        stored = _past_dead_connections(lambda: turns.find(self.database, device_id, turn_id))
        if stored is None:
            raise TurnNotFound
        return stored

    # ---- one try

    def _is_decided(self, device_id: DeviceId, approval: PendingApproval, decision: str) -> bool:
        stored = self.find(device_id, approval.turn_id)
        return any((a["id"], a["status"]) == (str(approval.id), decision) for a in stored.approvals)

    def _accept(self, arrival: Arrival, kept: Kept | None, deadline: Deadline) -> Accepted | None:
        lease = Lease.from_now(self.lease_ttl_s, self.lease_margin_s)
        claim = claims.claim(
            self.database.by(deadline),
            arrival,
            lease_ttl_s=self.lease_ttl_s,
            session_ttl_s=self.session_ttl_s,
            known=kept[0] if kept else None,
            limits=self.budgets.at_the_door(),
        )
        if claim.grant is not None:
            holding = self._holding(claim.grant, lease, kept)
            return Accepted(claim.turn_id, claim.grant.hold.session_id, holding)
        if claim.outcome is Outcome.REUSED:
            raise IdempotencyKeyReused
        if claim.over_budget is not None and claim.outcome is Outcome.OVER:
            raise over(claim.over_budget)
        standing = claim.standing
        if standing is None or claim.outcome is Outcome.AGAIN:
            return None
        if claim.outcome is Outcome.BUSY and not self._admit(arrival, standing, deadline):
            return None
        return Accepted(_answering(claim, arrival, standing), standing.session_id, None)

    def _admit(self, arrival: Arrival, standing: Standing, deadline: Deadline) -> bool:
        decided = admission(OnBusy(arrival.on_busy), standing.turns)
        if decided is None:
            raise _busy(standing)
        return admissions.admit(
            self.database.by(deadline),
            standing.session_id,
            standing.version,
            arrival,
            decided,
            steers=any(turn.id == decided.joins and turn.begun for turn in standing.turns),
            replaced=_REPLACED,
        )

    def _holding(self, grant: Grant, lease: Lease, kept: Kept | None) -> Holding:
        if kept is not None and (kept[0].session_id, kept[0].rewrites) == (
            grant.hold.session_id,
            grant.rewrites,
        ):
            conversation = kept[1]
            conversation.add(*grant.history)
        else:
            conversation = Conversation(grant.history, grant.compaction)
        return Holding(
            self.database,
            grant,
            lease,
            conversation,
            approval_ttl_s=self.approval_ttl_s,
            charges=self.budgets.are_reserved,
        )


def _answering(claim: Claim, arrival: Arrival, standing: Standing) -> TurnId:
    """The turn that answers: the one seen before, the one joined, or its own."""
    if claim.outcome is Outcome.SEEN:
        return claim.turn_id
    decided = admission(OnBusy(arrival.on_busy), standing.turns)
    return (decided and decided.joins) or arrival.turn_id


def _busy(standing: Standing) -> SessionBusy:
    free = (
        f" Should its function have died, it goes on in {ceil(standing.busy_for_s)} s."
        if standing.is_held
        else ""
    )
    return SessionBusy(
        "Another message of this conversation is being answered, and this one asked not to wait. Nothing was stored: "
        f"send it again in a moment.{free}"
    )


def _again_and_again(deadline: Deadline, attempt: Callable[[], T | None]) -> T:
    """Until an attempt gives something. The pauses are random, so that many who collide do not collide again."""
    for pause_s in _pauses(deadline):
        try:
            done = _past_dead_connections(attempt)
        except DatabaseConflict:
            done = None
        if done is not None:
            return done
        time.sleep(pause_s)
    raise DatabaseConflict


def _pauses(deadline: Deadline) -> Iterator[float]:
    longest_s = 0.001
    while deadline.left_s():
        yield random.uniform(0, longest_s)  # noqa: S311 - spreads out those who collide
        longest_s = min(2 * longest_s, _LONGEST_PAUSE_S)


def _past_dead_connections(attempt: Callable[[], T]) -> T:
    """Each of ours may be sent again: a function that was frozen wakes with a connection that is long dead."""
    for _ in range(_MOST_DEATHS - 1):
        try:
            return attempt()
        except ConnectionDied:
            continue
    return attempt()
