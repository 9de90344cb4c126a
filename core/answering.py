"""Answering: what a client asks of turns, and which function works on them.

A turn outlives the request that brought it. So whoever asks is answered with the turn as it stands when their time is over;
the work is done by this function while it has the time, and else by those that it wakes, who have more.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import field, replace

from core import reports, stateless
from core.access import Who
from core.agents.roster import Roster
from core.asking import Asking
from core.content import Message
from core.conversation import Conversation
from core.deadline import Deadline
from core.decisions import Decisions
from core.errors import DatabaseUnavailable, SessionEnded, TurnNotFound
from core.holding import Holding
from core.ids import SessionId, TurnId
from core.partials import Partials
from core.rates import Left
from core.reception import Accepted, Reception
from core.shown import Turn, shown
from core.stint import Limits, Stint
from core.store.claims import Arrival
from core.store.turns import StoredTurn
from core.turn import Story
from core.values import dataclass
from core.wakeups import Wakeups

# How long a client may wait for an answer: the gateway gives up at 30 seconds.
LONGEST_WAIT_S = 25.0
_FIRST_LOOK_S = 0.05
_LONGEST_LOOK_S = 0.5


def _nobody_to_tell(session_id: SessionId, epoch: int) -> AbstractContextManager[None]:  # noqa: ARG001 - of its shape
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Begun:
    """A message that was taken, and the work on it, which gives its turn as it stands when the deadline is over."""

    turn_id: TurnId
    session_id: SessionId
    work: Callable[[Deadline], Turn]
    # Of what its sender may send. None: as much as they like.
    left: Left | None = None


@dataclass(slots=True)
class Turns:
    """Answers messages. Built once a process; what it remembers between two of them is a help and no more."""

    reception: Reception
    asking: Asking
    roster: Roster
    limits: Limits
    # Who goes on with what this function cannot end. None: nobody, so it must.
    wakeups: Wakeups | None = field(default=None)
    # Whether a message is answered, without being stored, while the database is away.
    stateless_without_database: bool = False
    # Around the work on a turn that was begun here: what is in the cache is of the past from then on.
    begun: Callable[[SessionId, int], AbstractContextManager[None]] = field(default=_nobody_to_tell)
    # What is being said, for those who read along.
    partials: Partials = field(default_factory=Partials)
    # How each stint with a turn went.
    tell: reports.Tell = field(default=reports.log)

    @property
    def story(self) -> Story:
        memory = self.reception.memory
        return Story(self.asking, self.roster, self.limits, memory, self._wake, self.partials, self.tell)

    # ---- what a client asks for

    def answer(self, arrival: Arrival, wait_s: float) -> Turn:
        """Takes the message, and gives its turn as it stands after so long at the most."""
        deadline = Deadline.after(wait_s)
        try:
            begun = self.begin(arrival, stays=self._stays(wait_s))
        except DatabaseUnavailable:
            if not self.stateless_without_database:
                raise
            return self.answer_alone(arrival)
        return begun.work(deadline)

    def begin(self, arrival: Arrival, *, stays: bool = True) -> Begun:
        """Takes the message. Nobody works on its turn before the work is begun with."""
        self.asking.model.warm()
        until = Deadline.after(self.limits.turn_budget_s)
        accepted = self.reception.accept(arrival, until)
        return Begun(
            accepted.turn_id,
            accepted.session_id,
            lambda deadline: self._work_on(arrival, accepted, deadline, until, stays=stays),
            accepted.left,
        )

    def _work_on(
        self, arrival: Arrival, accepted: Accepted, deadline: Deadline, until: Deadline, *, stays: bool
    ) -> Turn:
        if accepted.holding is not None:
            turn = self._begin(accepted.holding, arrival, until, stays=stays)
            if turn is not None:
                return replace(turn, left=accepted.left)
            # What was handed over is theirs who were woken for it, and is not snatched back from them.
            stays = stays and self.wakeups is None
        else:
            self._wake(accepted.session_id)
        stored = self._still(arrival.who, accepted.turn_id)
        turn = self._watch(arrival.who, stored, deadline, stays=stays, until=until)
        return replace(turn, left=accepted.left)

    def _begin(self, holding: Holding, arrival: Arrival, until: Deadline, *, stays: bool) -> Turn | None:
        stint = self._inline(until) if stays else Stint(Deadline.after(0), 0.0, True, False)
        with self.begun(holding.hold.session_id, holding.hold.epoch):
            return self.story.go_through(holding, stint, None if arrival.is_elsewhere else arrival.device_id)

    def answer_alone(self, arrival: Arrival) -> Turn:
        until = Deadline.after(self.limits.turn_budget_s)
        alone = Conversation([Message.from_client(1, arrival.content)])
        return stateless.answer(
            self.asking.model, self.asking.prompt(self.roster.manager, alone), arrival, until
        )

    def look(self, who: Who, turn_id: TurnId, wait_s: float) -> Turn:
        """The turn as it stands, as soon as it is over or after so long at the most."""
        deadline = Deadline.after(wait_s)
        stored = self.reception.find(who, turn_id)
        return self._watch(who, stored, deadline, stays=self.wakeups is None, until=deadline)

    def cancel(self, who: Who, turn_id: TurnId) -> Turn:
        """Ends the turn where nobody works on it; else it ends at its holder's next safe point."""
        until = Deadline.after(self.limits.turn_budget_s)
        self.reception.cancel(who, turn_id, until)
        stored = self._still(who, turn_id)
        self.partials.ring(stored.session_id)
        if stored.ended_at is None and stored.is_free:
            self._go_on(stored.session_id, self._inline(until), only=stored.id)
            stored = self._still(who, turn_id)
        self._wake(stored.session_id)
        return shown(stored)

    def see_to(self, session_id: SessionId, stopped: TurnId | None) -> None:
        """After others than its client had turns stop: whoever reads along looks now, and `stopped`, which nobody works on, ends."""
        self.partials.ring(session_id)
        if stopped is not None:
            self._go_on(session_id, self._inline(Deadline.after(self.limits.turn_budget_s)), only=stopped)
        self._wake(session_id)

    @property
    def decide(self) -> Decisions:
        """To be called with what a person decided."""
        return Decisions(self.reception.database, self._wake, self.limits.turn_budget_s)

    def work(self, session_id: SessionId, until: Deadline | None = None) -> None:
        """What a worker does: goes on with a conversation until nothing is left to do in it, or its own time is over. One that is
        given less time than the model may take asks it all the same: else it would hand over to the next like it, without end.
        """
        until = Deadline.after(self.limits.worker_budget_s).earlier(until or Deadline.never())
        room_s = min(self.asking.timeout_s, until.left_s() / 2)
        self._go_on(session_id, Stint(until, room_s, self.wakeups is not None, True))

    # ---- who works on it

    def _stays(self, wait_s: float) -> bool:
        """Whether this function works on the turn itself. One that must answer soon leaves it to those with more time."""
        return self.wakeups is None or wait_s >= min(self.limits.turn_budget_s, LONGEST_WAIT_S)

    def _inline(self, until: Deadline) -> Stint:
        others = self.wakeups is not None
        return Stint(until, 1.0 if others else 0.0, others, not others)

    def _beside(self, until: Deadline) -> Stint:
        """For one who came to look. If that is for less than a turn is given, the turn does not fail for want of time."""
        if self.wakeups is not None or until.left_s() > 0.8 * min(self.limits.turn_budget_s, LONGEST_WAIT_S):
            return self._inline(until)
        return Stint(until, 0.0, can_hand_over=True, is_last=False)

    def _go_on(self, session_id: SessionId, stint: Stint, *, only: TurnId | None = None) -> bool:
        """Turn after turn, oldest first. False: what could be done here is done, and trying again is for others."""
        while stint.until.left_s() > stint.room_to_ask_s:
            holding = self.reception.take(session_id, stint.until)
            if holding is None:
                return True
            self.story.go_through(holding, stint)
            if holding.hold.turn_id == only or not holding.has_ended:
                return False
        self._wake(session_id)
        return False

    def _still(self, who: Who, turn_id: TurnId) -> StoredTurn:
        """A turn that was there. If it is not any more, its conversation was ended."""
        try:
            return self.reception.find(who, turn_id)
        except TurnNotFound:
            raise SessionEnded from None

    def _watch(
        self, who: Who, stored: StoredTurn, deadline: Deadline, *, stays: bool, until: Deadline
    ) -> Turn:
        """`stays`: it may go on with the turn itself if nobody else does, and `until` then."""
        pause_s = _FIRST_LOOK_S
        while stored.ended_at is None and stored.status != "waiting" and (left_s := deadline.left_s()):
            did_what_it_could = False
            if stored.is_free and stays and left_s > 1:
                stays = self._go_on(stored.session_id, self._beside(until), only=stored.id)
                did_what_it_could = not stays
            if not did_what_it_could:
                time.sleep(min(pause_s, left_s))
                pause_s = min(2 * pause_s, _LONGEST_LOOK_S)
            stored = self._still(who, stored.id)
        return shown(stored)

    def _wake(self, session_id: SessionId) -> None:
        if self.wakeups is not None:
            self.wakeups.wake(session_id)
