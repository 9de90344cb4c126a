"""Telling: what has been told of a turn, and how it stands, to the events that tell the difference.

A function and nothing else. What can go wrong, and why it cannot: the same look is taken twice, by two processes, after any cut; each
event carries the position that it leads to, so whoever goes on from there is told what comes next and nothing twice. What was told
of a message that is being said may come to be false, as the model is asked again after a crash, or a stop drops half a reply:
then what stands in its place does not begin with it, and the reader is told to discard it before anything else. So what was told,
put together, is at every moment the beginning of what stands, and in the end all that is stored.

Text that is being said may for a moment be shorter than what was told: an older partial, or the beginning of another try. Nothing is
told then; it grows past it, or the message is stored, or the turn ends without it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from core.ids import SessionId, TurnId
from core.position import ASKED, ENDED, OUTCOME_ASKED, STARTED, Digest, Position
from core.store.asked import Approval
from core.store.following import FollowedCall
from core.values import dataclass

# Of one event: so that an answer of limited size can be filled piece by piece.
_LONGEST_TEXT: Final = 8_000
_HAS_STARTED: Final = ("started", "done", "failed", "unknown")
_HAS_ENDED: Final = ("done", "failed", "unknown", "denied", "dropped")


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    about: dict[str, Any] | Approval | None
    # What its reader has been told with it.
    position: Position


@dataclass(frozen=True, slots=True)
class Message:
    """What an agent said, or is saying."""

    seq: int
    agent: str
    # The places of its text blocks, and their texts.
    blocks: tuple[tuple[int, str], ...]
    is_stored: bool
    calls: tuple[FollowedCall, ...] = ()
    approvals: tuple[Approval, ...] = ()

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.blocks)


@dataclass(frozen=True, slots=True)
class Standing:
    turn_id: TurnId
    session_id: SessionId
    seq: int
    status: str
    has_begun: bool
    has_ended: bool
    # Up to which message of the conversation the turn is stored.
    last_seq: int
    # From the one that is being told on.
    messages: tuple[Message, ...]
    # There is more than these.
    is_cut: bool = False

    def has_lost(self, seq: int) -> bool:
        """No agent's message has this number, and none will."""
        return all(message.seq != seq for message in self.messages) and (
            self.has_ended or self.last_seq >= seq
        )


def tell(position: Position, standing: Standing) -> tuple[list[Event], Position]:
    """The events in order, and where their reader stands then."""
    if position.has_ended:
        return [], position
    telling = _Telling(position)
    telling.go_on(standing)
    return telling.events, telling.position


class _Telling:
    def __init__(self, position: Position) -> None:
        self.position = position
        self.events: list[Event] = []

    def go_on(self, standing: Standing) -> None:
        if standing.has_begun and not self.position.has_started:
            about = {
                "turn_id": str(standing.turn_id),
                "session_id": str(standing.session_id),
                "seq": standing.seq,
            }
            self._say("turn_started", about, has_started=True)
        if self.position.told and standing.has_lost(self.position.seq):
            self._discard()
        for message in standing.messages:
            self._tell(message)
        if standing.is_cut:
            return
        if standing.has_ended:
            self._say("turn_ended", None, has_ended=True)
        elif standing.status == "waiting" and not self.position.waits:
            self._say("turn_waiting", {"turn_id": str(standing.turn_id)}, waits=True)

    def _tell(self, message: Message) -> None:
        if message.seq < self.position.seq:
            return
        if message.seq > self.position.seq:
            self.position = self.position.at(message.seq)
        text = message.text
        if not message.is_stored and len(text) < self.position.told:
            return
        if not self.position.fits(text) or (self.position.told and message.agent != self.position.agent):
            self._discard()
        if len(text) == self.position.told and not message.calls:
            return
        if message.agent != self.position.agent:
            about = {"agent": message.agent, "previous": self.position.agent or None}
            self._say("agent_changed", about, agent=message.agent)
        digest = Digest(text[: self.position.told])
        for block, part, upto in _parts(message.blocks, self.position.told):
            about_text: dict[str, Any] = {"message_seq": message.seq, "block": block, "text": part}
            digest.add(part)
            self._say("text_delta", about_text, told=upto, digest=str(digest))
        for number, call in enumerate(message.calls):
            self._tell_call(number, call, [a for a in message.approvals if a.tool_call_id == call.id])

    def _tell_call(self, number: int, call: FollowedCall, approvals: Sequence[Approval]) -> None:
        about = {"id": call.id, "name": call.name, "effect": call.effect, "status": call.status}
        for approval in approvals:
            if approval.kind == "call":
                self._say_once(number, ASKED, "approval_asked", approval)
        if call.status in _HAS_STARTED:
            self._say_once(number, STARTED, "tool_started", {**about, "status": "started"})
        if call.status in _HAS_ENDED:
            self._say_once(number, ENDED, "tool_ended", about)
        for approval in approvals:
            if approval.kind == "outcome":
                self._say_once(number, OUTCOME_ASKED, "approval_asked", approval)

    def _say_once(self, number: int, bit: int, name: str, about: dict[str, Any] | Approval) -> None:
        calls = self.position.calls + (0,) * (number + 1 - len(self.position.calls))
        if not calls[number] & bit:
            told = (*calls[:number], calls[number] | bit, *calls[number + 1 :])
            self._say(name, about, calls=told)

    def _discard(self) -> None:
        self._say("text_discarded", {"message_seq": self.position.seq}, told=0, digest="")

    def _say(self, name: str, about: dict[str, Any] | Approval | None, **told: Any) -> None:
        self.position = replace(self.position, **{"waits": False, **told})
        self.events.append(Event(name, about, self.position))


def _parts(blocks: tuple[tuple[int, str], ...], told: int) -> Iterator[tuple[int, str, int]]:
    """What was not told yet, piece by piece: the block, the text, and how far into the whole that reaches."""
    begin = 0
    for block, text in blocks:
        for at in range(max(0, told - begin), len(text), _LONGEST_TEXT):
            part = text[at : at + _LONGEST_TEXT]
            yield block, part, begin + at + len(part)
        begin += len(text)
