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

`core/answering.py` is the door to it: it has the message accepted, brings the turn here, and answers the client.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import field

from core import folding, reports, toolwork
from core.agents.agent import Agent
from core.agents.roster import Roster
from core.asking import Asking, StopAsked
from core.content import says_something
from core.conversation import PAUSES, Memory, Next
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
from core.ids import DeviceId, SessionId
from core.inward import Desk, fall_back
from core.model.reply import ModelReply
from core.partials import Partials
from core.reception import CANCELLED
from core.shown import Turn
from core.stint import Limits, Stint
from core.store.ends import Closing, Ended
from core.values import dataclass

_log = logging.getLogger(__name__)

# A reply that ended in one of these ways can be stored and shown as it is.
_WHOLE = ("end_turn", "stop_sequence", "max_tokens", "model_context_window_exceeded", "tool_use", *PAUSES)
_STOPPED = {
    "cancel": CANCELLED,
    "interrupt": {"code": "turn_interrupted", "detail": "A later message interrupted this turn."},
    "rollback": {"code": "turn_rolled_back", "detail": "A later message took this turn back."},
}
# Failures that more time may mend.
_FOR_WANT_OF_TIME = (ModelTimeout, ModelOverloaded, ModelUnavailable)


@dataclass(frozen=True, slots=True)
class Story:
    """A turn that is held, from wherever it stands."""

    asking: Asking
    roster: Roster
    limits: Limits
    # What this process remembers between two turns: a help and no more.
    memory: Memory
    # Somebody with more time may go on with the conversation.
    wake: Callable[[SessionId], None]
    # Who reads along hears of it.
    partials: Partials = field(default_factory=Partials)
    # Who runs the service is told how it went.
    tell: reports.Tell = field(default=reports.log)

    def go_through(self, holding: Holding, stint: Stint, device_id: DeviceId | None = None) -> Turn | None:
        """The turn, if it ended here. None: it waits, was handed over, or is another's now."""
        try:
            fall_back(holding, self.roster)
            turn = self._steps(holding, stint)
        except HoldLost:
            _log.warning("turn %s: epoch %d writes nothing more", holding.hold.turn_id, holding.hold.epoch)
            holding.became = "lost"
            return None
        except DatabaseUnavailable:
            raise
        except BaseException:
            holding.give_up()
            raise
        finally:
            self.partials.ended(holding.hold)
            self.tell(reports.report_of(holding))
        if holding.is_current:
            self.memory.put(holding.remembered(), holding.conversation, device_id)
        return turn

    def _steps(self, holding: Holding, stint: Stint) -> Turn | None:
        """The last stored message is the program counter: a new turn and a crashed one go through here alike. Who has the
        conversation goes on, so one that it was handed over to does at once.
        """
        while True:
            turn: Turn | None
            agent = self._agent(holding)
            holding.worked_by = agent.key
            try:
                over, turn = self._step(holding, agent, stint)
            except StopAsked:
                continue
            except ModelFailed as failure:
                over, turn = self._failed(holding, agent, stint, failure)
            self.partials.moved(holding.hold.session_id)
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
        with self.partials.speech(holding.hold, agent.key, lambda: holding.is_followed) as speech:
            reply = self.asking.reply(holding, prompt, stint.until, speech)
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
        self.wake(holding.hold.session_id)
        return True

    def _ended(
        self, holding: Holding, agent: Agent, status: str, ended: Ended, error: dict[str, str] | None = None
    ) -> Turn | None:
        if ended.more:
            self.wake(holding.hold.session_id)
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
            epoch=holding.hold.epoch,
            version=ended.version,
        )


def _goes_on(reply: ModelReply) -> bool:
    return reply.stop_reason in PAUSES or any(block.get("type") == "tool_use" for block in reply.content)
