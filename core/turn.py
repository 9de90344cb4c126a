"""The story of one turn. Read this file first.

A function that has never seen the device, and may be frozen or killed at any moment, answers one message:

    accept    one statement: who is it, is the message new, is the conversation free; its history
    choose    the agent that holds the conversation, else the manager
    resume    the last stored message says what is next
    ask       the model, holding nothing: no transaction, no connection, only a lease that a heartbeat renews
    settle    the tool calls that it asked for, each on record before it runs
    commit    each step, under the epoch, before anybody is shown it
    finish    one statement: reply, usage, status and release, all or nothing
    reply     what was stored, never what was not

What can go wrong at each step, and why it does not matter: before the message is accepted nothing is written. After it
the message is stored, so whoever comes next finds it and goes on from the last step that was committed: a worker that
was woken, a sweep, or a retry with the same key. They all come in by the same door as a new turn does. What a function
did after its lease was taken by another is not written, because its epoch has passed.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from core import folding, stateless, toolwork
from core.agents.agent import Agent
from core.agents.roster import Roster
from core.asking import Asking, StopAsked
from core.content import Message, says_something
from core.conversation import PAUSES, Conversation, Next
from core.deadline import Deadline
from core.decisions import Decisions
from core.errors import (
    DatabaseUnavailable,
    ImageRejected,
    ModelFailed,
    ModelOverloaded,
    ModelRefused,
    ModelRejectedRequest,
    ModelSaidNothing,
    ModelStoppedUnexpectedly,
    ModelTimeout,
    ModelUnavailable,
    PromptTooLong,
    TurnCrashed,
    TurnTooLong,
)
from core.holding import Holding, HoldLost, Said
from core.ids import DeviceId, SessionId, TurnId
from core.inward import Desk, fall_back
from core.model.reply import ModelReply
from core.reception import CANCELLED, Reception
from core.shown import Turn, shown
from core.stint import Limits, Stint
from core.store.claims import Arrival
from core.store.ends import Closing, Ended
from core.wakeups import Wakeups

_log = logging.getLogger(__name__)

# A reply that ended in one of these ways can be stored and shown as it is.
_WHOLE = ("end_turn", "stop_sequence", "max_tokens", "model_context_window_exceeded", "tool_use", *PAUSES)
_STOPPED = {
    "cancel": CANCELLED,
    "interrupt": {"code": "turn_interrupted", "detail": "A later message interrupted this turn."},
    "rollback": {"code": "turn_rolled_back", "detail": "A later message took this turn back."},
}
# How long a client may wait for an answer: the gateway gives up at 30 seconds.
LONGEST_WAIT_S = 25.0
# Failures that more time may mend.
_FOR_WANT_OF_TIME = (ModelTimeout, ModelOverloaded, ModelUnavailable)
_FIRST_LOOK_S = 0.05
_LONGEST_LOOK_S = 0.5


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

    # ---- what a client asks for

    def answer(self, arrival: Arrival, wait_s: float) -> Turn:
        """Takes the message, and gives its turn as it stands after so long at the most."""
        self.asking.model.warm()
        deadline = Deadline.after(wait_s)
        until = Deadline.after(self.limits.turn_budget_s)
        try:
            accepted = self.reception.accept(arrival, until)
        except DatabaseUnavailable:
            if not self.stateless_without_database:
                raise
            return self._answer_alone(arrival, until)
        holding, stays = accepted.holding, self._stays(wait_s)
        if holding is not None:
            stint = self._inline(until) if stays else Stint(Deadline.after(0), 0.0, True, False)
            turn = self._go_through(holding, stint, arrival.device_id)
            if turn is not None:
                return turn
            # What was handed over is theirs who were woken for it, and is not snatched back from them.
            stays = stays and self.wakeups is None
        else:
            self._wake(accepted.session_id)
        return self._watch(arrival.device_id, accepted.turn_id, deadline, stays=stays, until=until)

    def _answer_alone(self, arrival: Arrival, until: Deadline) -> Turn:
        alone = Conversation([Message.from_client(1, arrival.content)])
        return stateless.answer(
            self.asking.model, self.asking.prompt(self.roster.manager, alone), arrival, until
        )

    def look(self, device_id: DeviceId, turn_id: TurnId, wait_s: float) -> Turn:
        """The turn as it stands, as soon as it is over or after so long at the most."""
        deadline = Deadline.after(wait_s)
        return self._watch(device_id, turn_id, deadline, stays=self.wakeups is None, until=deadline)

    def cancel(self, device_id: DeviceId, turn_id: TurnId) -> Turn:
        """Ends the turn where nobody works on it; else it ends at its holder's next safe point."""
        until = Deadline.after(self.limits.turn_budget_s)
        self.reception.cancel(device_id, turn_id, until)
        stored = self.reception.find(device_id, turn_id)
        if stored.ended_at is None and stored.is_free:
            self._go_on(stored.session_id, self._inline(until), only=stored.id)
            stored = self.reception.find(device_id, turn_id)
        self._wake(stored.session_id)
        return shown(stored)

    @property
    def decide(self) -> Decisions:
        """To be called with what a person decided."""
        return Decisions(self.reception.database, self._wake, self.limits.turn_budget_s)

    def work(self, session_id: SessionId) -> None:
        """What a worker does: goes on with a conversation until nothing is left to do in it, or its own time is over."""
        until = Deadline.after(self.limits.worker_budget_s)
        self._go_on(session_id, Stint(until, self.asking.timeout_s, self.wakeups is not None, True))

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
            self._go_through(holding, stint)
            if holding.hold.turn_id == only or not holding.has_ended:
                return False
        self._wake(session_id)
        return False

    def _watch(
        self, device_id: DeviceId, turn_id: TurnId, deadline: Deadline, *, stays: bool, until: Deadline
    ) -> Turn:
        """`stays`: it may go on with the turn itself if nobody else does, and `until` then."""
        pause_s = _FIRST_LOOK_S
        while True:
            stored = self.reception.find(device_id, turn_id)
            left_s = deadline.left_s()
            if stored.ended_at is not None or stored.status == "waiting" or not left_s:
                return shown(stored)
            if stored.is_free and stays and left_s > 1:
                stays = self._go_on(stored.session_id, self._beside(until), only=stored.id)
                if not stays:
                    continue
            time.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, _LONGEST_LOOK_S)

    def _wake(self, session_id: SessionId) -> None:
        if self.wakeups is not None:
            self.wakeups.wake(session_id)

    # ---- the turn, from wherever it stands

    def _go_through(self, holding: Holding, stint: Stint, device_id: DeviceId | None = None) -> Turn | None:
        """The turn, if it ended here. None: it waits, was handed over, or is another's now."""
        try:
            fall_back(holding, self.roster)
            turn = self._steps(holding, stint)
        except HoldLost:
            _log.warning("turn %s: epoch %d writes nothing more", holding.hold.turn_id, holding.hold.epoch)
            return None
        except DatabaseUnavailable:
            raise
        except BaseException:
            holding.give_up()
            raise
        if holding.is_current:
            self.reception.memory.put(holding.remembered(), holding.conversation, device_id)
        return turn

    def _steps(self, holding: Holding, stint: Stint) -> Turn | None:
        """The last stored message is the program counter: a new turn and a crashed one go through here alike. Who has the
        conversation goes on, so one that it was handed over to does at once.
        """
        while True:
            turn: Turn | None
            agent = self._agent(holding)
            try:
                over, turn = self._step(holding, agent, stint)
            except StopAsked:
                continue
            except ModelFailed as failure:
                over, turn = self._failed(holding, agent, stint, failure)
            if over:
                return turn

    def _agent(self, holding: Holding) -> Agent:
        """Who asked for calls sees them through, though its time may be over by then: a person's yes can take an hour."""
        asked = self.roster.agents.get(holding.said_by or "")
        if asked is not None and holding.conversation.next() is Next.SETTLE:
            return asked
        return self.roster.owner(holding.active_agent)

    def _step(self, holding: Holding, agent: Agent, stint: Stint) -> tuple[bool, Turn | None]:
        if holding.stop is not None:
            return self._stop(holding, agent, holding.stop)
        if holding.grant.crashes >= self.limits.most_crashes:
            raise TurnCrashed
        longest = agent.longest_turn or self.limits.longest_turn
        if holding.hold.message_seq - holding.grant.first_seq >= longest:
            raise TurnTooLong
        follows = holding.conversation.next()
        if follows is Next.SETTLE:
            return self._settle(holding, agent, stint)
        if holding.input is not None and holding.conversation.last.stop_reason not in PAUSES:
            holding.absorb()
            return False, None
        if follows is Next.OVER:
            return self._close(holding, agent, Closing("completed", agent.key))
        if stint.can_hand_over and stint.until.left_s() <= stint.room_to_ask_s:
            return self._hand_over(holding), None
        if folding.is_due(holding, self.limits.window):
            return self._fold(holding, agent, stint)
        return self._ask(holding, agent, stint)

    def _fold(self, holding: Holding, agent: Agent, stint: Stint) -> tuple[bool, Turn | None]:
        """Makes the conversation shorter by a piece. If that fails, the turn goes on with it as it is."""
        if stint.can_hand_over and stint.until.left_s() < folding.ROOM_S:
            return self._hand_over(holding), None
        limit = folding.limit(stint)
        prompt = self.asking.prompt(agent, holding.conversation)
        folding.fold(
            holding, agent, prompt, self.limits.window, lambda asked: self.asking.reply(holding, asked, limit)
        )
        return False, None

    def _ask(self, holding: Holding, agent: Agent, stint: Stint) -> tuple[bool, Turn | None]:
        prompt = self.asking.prompt(agent, holding.conversation)
        reply = self.asking.reply(holding, prompt, stint.until)
        holding.tally.spend(reply.spent)
        said = Said(reply, agent.key, prompt.prefix_digest)
        if reply.stop_reason == "model_context_window_exceeded" and folding.make_room(
            holding, self.limits.window
        ):
            return False, None
        if reply.stop_reason == "refusal":
            raise ModelRefused
        if reply.stop_reason not in _WHOLE:
            raise ModelStoppedUnexpectedly(
                f"The model stopped with {reply.stop_reason!r}, which {agent.key} cannot take up."
            )
        if not any(map(says_something, reply.content)):
            if not holding.conversation.said_in(holding.grant.first_seq):
                raise ModelSaidNothing
            return self._close(holding, agent, Closing("completed", agent.key))
        if _goes_on(reply):
            holding.append_reply(said, toolwork.asked_for(agent, reply))
            return False, None
        ended = holding.finish(said)
        if ended is None:
            # Something arrived in the last moment: the reply is a step, and the turn goes on from there.
            holding.append_reply(said, ())
            return False, None
        return True, self._ended(holding, agent, "completed", ended)

    def _settle(self, holding: Holding, agent: Agent, stint: Stint) -> tuple[bool, Turn | None]:
        if stint.can_hand_over and stint.until.left_s() < toolwork.longest_s(holding, agent):
            return self._hand_over(holding, not_run=list(holding.fresh)), None
        desk = Desk(self.roster, self.limits.lock_ttl_s, self.limits.most_handovers)
        if toolwork.settle(holding, agent, desk, stint.until):
            return False, None
        # A wake-up for one that really waits finds nothing to do.
        return self._hand_over(holding, waits=True), None

    # ---- how it ends other than by a reply

    def _stop(self, holding: Holding, agent: Agent, stop: str) -> tuple[bool, Turn | None]:
        error = _STOPPED[stop]
        if stop == "rollback":
            closing = Closing(
                "cancelled",
                agent.key,
                error,
                left_out_from=holding.grant.first_seq,
                not_run=tuple(holding.fresh),
            )
            return self._close(holding, agent, closing)
        return self._break_off(holding, agent, "cancelled", error)

    def _failed(
        self, holding: Holding, agent: Agent, stint: Stint, failure: ModelFailed
    ) -> tuple[bool, Turn | None]:
        holding.tally.spend(failure.spent)
        if isinstance(failure, PromptTooLong) and folding.make_room(holding, self.limits.window):
            return False, None
        if isinstance(failure, _FOR_WANT_OF_TIME) and not stint.is_last:
            return self._hand_over(holding), None
        refused = (
            holding.conversation.new_images_from() if isinstance(failure, ModelRejectedRequest) else None
        )
        if refused is not None:
            # It would be refused with every message after it.
            failure = ImageRejected()
        error = {"code": failure.code, "detail": failure.detail}
        return self._break_off(holding, agent, "failed", error, left_out_from=refused)

    def _break_off(
        self,
        holding: Holding,
        agent: Agent,
        status: str,
        error: dict[str, str],
        *,
        left_out_from: int | None = None,
    ) -> tuple[bool, Turn | None]:
        """What was done stays, and the history is one that the next message can follow."""
        conversation = holding.conversation
        if conversation.next() is Next.SETTLE:
            toolwork.drop(holding)
        paused = conversation.last.stop_reason in PAUSES
        if holding.input is not None and not paused:
            holding.absorb()
        left_out_from = conversation.last.seq if paused else left_out_from
        return self._close(holding, agent, Closing(status, agent.key, error, left_out_from))

    def _close(self, holding: Holding, agent: Agent, closing: Closing) -> tuple[bool, Turn | None]:
        ended = holding.close(closing)
        if ended is None:
            return False, None
        return True, self._ended(holding, agent, closing.status, ended, closing.error)

    def _hand_over(self, holding: Holding, *, waits: bool = False, not_run: Sequence[str] = ()) -> bool:
        if not holding.hand_over(waits=waits, not_run=not_run):
            return False
        self._wake(holding.hold.session_id)
        return True

    def _ended(
        self, holding: Holding, agent: Agent, status: str, ended: Ended, error: dict[str, str] | None = None
    ) -> Turn | None:
        if ended.more:
            self._wake(holding.hold.session_id)
        grant = holding.grant
        if not holding.saw_all or holding.calls:
            # Others worked on it before, or it was taken back in the middle: what its calls came to is in their rows.
            return None
        return Turn(
            id=holding.hold.turn_id,
            session_id=holding.hold.session_id,
            seq=grant.turn_seq,
            status=status,
            agent=agent.key,
            content=holding.conversation.said_in(grant.first_seq),
            tool_calls=holding.log,
            approvals=[],
            usage=holding.tally.turn,
            error=error,
            created_at=grant.turn_created_at,
            ended_at=ended.ended_at,
        )


def _goes_on(reply: ModelReply) -> bool:
    return reply.stop_reason in PAUSES or any(block.get("type") == "tool_use" for block in reply.content)
