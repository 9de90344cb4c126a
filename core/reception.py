"""Reception: what comes from outside is accepted here, or refused, before anybody works on it.

Each try is a claim (or a look) and, if the conversation is busy, one write at the version that was read. If somebody
else was quicker, nothing was written and the next try reads anew; so a decision is never carried out on a state that it
was not made for, and no transaction is held between the two.
"""

from dataclasses import field, replace
from math import ceil
from time import perf_counter
from typing import Any
from uuid import uuid4

from core.about import learn_turn
from core.access import Role, Who
from core.budgets import Budgets, over
from core.conversation import Conversation, Memory
from core.deadline import Deadline
from core.entrance import demand, nothing_for, require
from core.errors import DeviceBarred, IdempotencyKeyReused, LatchkeyError, SessionBusy, TurnNotFound
from core.holding import Holding
from core.ids import SessionId, TurnId
from core.lease import Lease
from core.policies import OnBusy, admission
from core.rates import Left, Rates, exceeded, left
from core.run import KEPT, NEW, ROWS
from core.store import admissions, claims, takes, turns, visitors
from core.store.claims import Arrival, Claim, Outcome, Standing
from core.store.database import Database
from core.store.holds import Grant, Remembered
from core.store.rates import Charge
from core.store.turns import StoredTurn
from core.tries import again_and_again, past_dead_connections
from core.values import dataclass

Kept = tuple[Remembered, Conversation]

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
    # Of what its sender may send. None: as much as they like.
    left: Left | None = None


@dataclass(frozen=True, slots=True)
class Reception:
    database: Database
    memory: Memory
    lease_ttl_s: float
    lease_margin_s: float
    # How long an agent keeps a conversation, and how long one lives that nobody uses.
    lock_ttl_s: int
    idle_ttl_s: int
    approval_ttl_s: int
    outcome_ttl_s: int
    budgets: Budgets = field(default=Budgets())
    rates: Rates = field(default=Rates())
    # Of application sessions, for tools.
    storage: Any = None

    def accept(self, arrival: Arrival, deadline: Deadline) -> Accepted:
        begun = perf_counter()
        kept = self._remembered(arrival)
        accepted = again_and_again(deadline, lambda: self._accept(arrival, kept, deadline))
        if kept is not None and accepted.holding is None:
            self.memory.put(*kept, None if arrival.is_elsewhere else arrival.device_id)
        if accepted.holding is None:
            learn_turn(accepted.session_id, accepted.turn_id)
        else:
            _told(accepted.holding, begun)
        return accepted

    def _remembered(self, arrival: Arrival) -> Kept | None:
        if arrival.caller is not None and arrival.caller.session_id is not None:
            return self.memory.of_session(arrival.caller.session_id)
        return self.memory.of_device(arrival.device_id)

    def take(self, session_id: SessionId, deadline: Deadline) -> Holding | None:
        """The conversation's next turn, begun or gone on with. None: there is none, or somebody else has it."""
        begun = perf_counter()
        kept = self.memory.of_session(session_id)
        holder = uuid4()

        def once() -> Holding | None:
            lease = Lease.from_now(self.lease_ttl_s, self.lease_margin_s)
            grant = takes.take(
                self.database.by(deadline),
                session_id,
                holder,
                lease_ttl_s=self.lease_ttl_s,
                known=kept[0] if kept else None,
            )
            return None if grant is None else self._holding(grant, lease, kept)

        holding = past_dead_connections(once)
        if kept is not None and holding is None:
            self.memory.put(*kept)
        return None if holding is None else _told(holding, begun)

    def cancel(self, who: Who, turn_id: TurnId, deadline: Deadline) -> StoredTurn:
        """Ends a turn that waits; asks one that has begun to stop. A turn that is over stays what it is."""

        def once() -> StoredTurn | None:
            stored = self.find(who, turn_id)
            demand(stored.held_as, Role.EDITOR)
            if stored.ended_at is not None or admissions.stop(
                self.database.by(deadline), stored.session_id, stored.version, stored.id, error=CANCELLED
            ):
                return stored
            return None

        return again_and_again(deadline, once)

    def find(self, who: Who, turn_id: TurnId) -> StoredTurn:
        stored = past_dead_connections(lambda: turns.find(self.database, who, turn_id))
        if stored is None:
            raise nothing_for(self.database, who, TurnNotFound)
        return stored

    # ---- one try

    def _accept(self, arrival: Arrival, kept: Kept | None, deadline: Deadline) -> Accepted | None:
        lease = Lease.from_now(self.lease_ttl_s, self.lease_margin_s)
        charge = self.rates.charge(arrival.address_class)
        claim = claims.claim(
            self.database.by(deadline),
            arrival,
            lease_ttl_s=self.lease_ttl_s,
            lock_ttl_s=self.lock_ttl_s,
            idle_ttl_s=self.idle_ttl_s,
            known=kept[0] if kept else None,
            limits=self.budgets.at_the_door(),
            charge=charge,
        )
        try:
            accepted = self._as_claimed(claim, arrival, lease, kept, charge, deadline)
        except LatchkeyError as error:
            error.left = _left(claim, charge, charged=False)
            raise
        if accepted is None:
            return None
        return replace(accepted, left=_left(claim, charge, charged=claim.outcome is not Outcome.SEEN))

    def _as_claimed(
        self,
        claim: Claim,
        arrival: Arrival,
        lease: Lease,
        kept: Kept | None,
        charge: Charge | None,
        deadline: Deadline,
    ) -> Accepted | None:
        if claim.grant is not None:
            holding = self._holding(claim.grant, lease, kept)
            return Accepted(claim.turn_id, claim.grant.hold.session_id, holding)
        if claim.outcome is Outcome.REUSED:
            raise IdempotencyKeyReused
        if claim.over_budget is not None:
            raise over(claim.over_budget)
        if claim.outcome is Outcome.RATED and charge is not None and claim.ahead is not None:
            raise exceeded(charge, claim.ahead)
        standing = claim.standing
        if standing is None:
            self._refuse(arrival)
            return None
        if claim.outcome is Outcome.AGAIN:
            return None
        if claim.outcome is Outcome.BUSY and not self._admit(arrival, standing, charge, deadline):
            return None
        return Accepted(_answering(claim, arrival, standing), standing.session_id, None)

    def _refuse(self, arrival: Arrival) -> None:
        """Nothing was found for whoever sent it, so nothing was written. If they may speak there, somebody was at it at the same
        moment, or they came by a link and are not known yet.
        """
        who = arrival.who
        visit = visitors.find(self.database, who)
        if visit is None:
            missing = nothing_for(self.database, who)
            if arrival.is_elsewhere or isinstance(missing, DeviceBarred):
                raise missing
            return
        require(visit, Role.EDITOR)
        if visit.user_id is None:
            visitors.meet(self.database, arrival.device_id, arrival.user_id)

    def _admit(self, arrival: Arrival, standing: Standing, charge: Charge | None, deadline: Deadline) -> bool:
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
            charge=charge,
        )

    def _holding(self, grant: Grant, lease: Lease, kept: Kept | None) -> Holding:
        if kept is not None and (kept[0].session_id, kept[0].rewrites) == (
            grant.hold.session_id,
            grant.rewrites,
        ):
            conversation, history = kept[1], KEPT
            conversation.add(*grant.history)
        else:
            conversation = Conversation(grant.history, grant.compaction)
            history = ROWS if len(conversation) > 1 else NEW
        return Holding(
            self.database,
            grant,
            lease,
            conversation,
            approval_ttl_s=self.approval_ttl_s,
            charges=self.budgets.are_reserved,
            outcome_ttl_s=self.outcome_ttl_s,
            storage=self.storage,
            history=history,
        )


def _told(holding: Holding, begun: float) -> Holding:
    holding.watch.claimed(begun)
    learn_turn(holding.hold.session_id, holding.hold.turn_id, holding.hold.epoch)
    return holding


def _answering(claim: Claim, arrival: Arrival, standing: Standing) -> TurnId:
    """The turn that answers: the one seen before, the one joined, or its own."""
    if claim.outcome is Outcome.SEEN:
        return claim.turn_id
    decided = admission(OnBusy(arrival.on_busy), standing.turns)
    return (decided and decided.joins) or arrival.turn_id


def _left(claim: Claim, charge: Charge | None, *, charged: bool) -> Left | None:
    return None if charge is None or claim.ahead is None else left(charge, claim.ahead, charged=charged)


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
