"""Streams: a turn told as server-sent events, as it goes on.

What can go wrong, and why it does not matter: the connection breaks, at any byte. Each event carries what its reader was told with it,
and a client that comes back with the last one it has read goes on from there, in whichever process it arrives. So a stream may end at
any time: because its own time is over, because the platform sends no answer in pieces, or because this process dies. The
work on the turn is not tied to any of them.

While it waits a stream holds neither a thread nor a connection. It looks at the rows at least once a second, also to see whether
its reader still may; what is said in this process it hears at once.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from core.access import Caller
from core.answering import LONGEST_WAIT_S
from core.attendance import on_a_thread
from core.content import dump
from core.deadline import Deadline
from core.entrance import nothing_for
from core.errors import LastEventIdMalformed, LatchkeyError, TurnNotFound
from core.following import Look
from core.house import House
from core.ids import TurnId
from core.position import Position
from core.rates import Left
from core.shown import Turn
from core.store.asked import Approval
from core.store.claims import Arrival
from core.telling import Event, tell
from functions.answers import approval_shape, turn_shape, version_header

_log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "text/event-stream"
_RETRY: Final = b"retry: 1000\n\n"
_HEARTBEAT: Final = b": still here\n\n"
_HEARTBEAT_S: Final = 10.0
# Between two looks; where a person is waited for; and at the least, whatever happens.
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 1.0
_WAITING_PAUSE_S: Final = 2.0
_LEAST_PAUSE_S: Final = 0.02
# How long a database may be away under an open stream.
_PATIENCE_S: Final = 10.0
# What a gateway that sends no answer in pieces takes, and how long it is made to wait.
_MOST_BYTES: Final = 4_000_000
_GATHERED_S: Final = 5.0
# Looks that are made at once, each with a connection to the database.
_LOOKS: Final = 4


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who reads along, and what they have been told."""

    caller: Caller
    # The same, naming the conversation that the turn is in.
    there: Caller
    turn_id: TurnId
    position: Position
    look: Look

    @property
    def headers(self) -> dict[str, str]:
        followed = self.look.followed
        return {
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            "Location": f"/v1/turns/{self.turn_id}",
            **version_header(followed.session_id, followed.version),
        }


@dataclass(slots=True)
class Streams:
    """Built once an application."""

    house: House
    # One request at a time, and the answer goes out in one piece.
    buffers: bool
    # Apart from the threads that turns are answered on, which can all be busy for half a minute.
    _looks: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_LOOKS, thread_name_prefix="look")
    )

    def open(self, caller: Caller, turn_id: TurnId, last: str | None, *, strictly: bool = True) -> Reader:
        """What the reader has been told, by the ID of the last event that they have; if that is of another turn, they are refused, or
        told everything.
        """
        stored = self.house.turns.reception.find(caller, turn_id)
        position = Position.before(stored.id) if last is None else Position.read(last)
        if not position.is_of(stored.id):
            if strictly:
                raise LastEventIdMalformed
            position = Position.before(stored.id)
        there = caller.about(stored.session_id)
        look = self.house.following.look(there, stored.id, position)
        if look is None:
            raise nothing_for(self.house.database, caller, TurnNotFound)
        self.house.following.follow(look)
        return Reader(caller, there, stored.id, position, look)

    async def told(self, reader: Reader, ended: Callable[[TurnId], Turn], *, waits: bool = True) -> Response:
        """The stream; where answers go out in one piece, what there is of it."""
        if reader.position.has_ended:
            return Response(status_code=204, headers=reader.headers)
        if self.buffers:
            body = b"".join(self._gathered(reader, ended, Deadline.after(_GATHERED_S if waits else 0)))
            return Response(body, media_type=MEDIA_TYPE, headers=reader.headers)
        told = self._going_on(reader, ended)
        return StreamingResponse(told, media_type=MEDIA_TYPE, headers=reader.headers)

    def begin(self, arrival: Arrival) -> tuple[TurnId, Left | None]:
        """Takes a message; the work on its turn goes on whatever becomes of the connection that brought it."""
        turns = self.house.turns
        begun = turns.begin(replace(arrival, is_followed=True))
        # Where others go on with it nobody stays for that.
        patience_s = turns.limits.turn_budget_s if turns.wakeups is None else 0.0
        _beside(lambda: begun.work(Deadline.after(patience_s)), "streamed-turn")
        return begun.turn_id, begun.left

    # ---- in one piece

    def _gathered(
        self, reader: Reader, ended: Callable[[TurnId], Turn], deadline: Deadline
    ) -> Iterator[bytes]:
        position, look, size = reader.position, reader.look, 0
        pause_s = _FIRST_PAUSE_S
        yield _RETRY
        while True:
            events, position = tell(position, look.standing)
            for event in events:
                told = _encoded(event, ended, reader.turn_id)
                size += len(told)
                if size > _MOST_BYTES and size > len(told):
                    return
                yield told
            if not look.standing.is_cut:
                if size or not deadline.left_s():
                    return
                self._wait(reader, look, min(pause_s, deadline.left_s()))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            found = self.house.following.look(reader.there, reader.turn_id, position)
            if found is None:
                if not size:
                    raise nothing_for(self.house.database, reader.caller, TurnNotFound)
                return
            look = found

    def _wait(self, reader: Reader, look: Look, seconds: float) -> None:
        if look.is_open_and_free and self.house.turns.wakeups is None:
            # Nobody else goes on with it.
            self.house.turns.look(reader.caller, reader.turn_id, LONGEST_WAIT_S)
        else:
            time.sleep(seconds)

    # ---- piece by piece

    async def _going_on(self, reader: Reader, ended: Callable[[TurnId], Turn]) -> AsyncIterator[bytes]:
        stream = _Stream(self, reader, ended)
        with self.house.turns.partials.listening(reader.look.followed.session_id, stream.ear):
            async for told in stream.going_on():
                yield told

    async def looking(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._looks, work, *arguments)


class _Stream:
    """One open stream."""

    def __init__(self, streams: Streams, reader: Reader, ended: Callable[[TurnId], Turn]) -> None:
        self._streams = streams
        self._house = streams.house
        self._reader = reader
        self._ended = ended
        self._look = reader.look
        self._position = reader.position
        self._loop = asyncio.get_running_loop()
        self._heard = asyncio.Event()
        self._until = Deadline.after(self._house.settings.stream_s)
        self._heartbeat = Deadline.after(_HEARTBEAT_S)
        self._works = False

    def ear(self) -> None:
        if not self._heard.is_set():
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._heard.set)

    async def going_on(self) -> AsyncIterator[bytes]:
        yield _RETRY
        pause_s = _FIRST_PAUSE_S
        while self._until.left_s():
            before = self._position
            async for told in self._told():
                yield told
            if self._position.has_ended:
                return
            if not self._look.standing.is_cut:
                pause_s = self._pause_after(pause_s, has_moved=self._position != before)
                async for told in self._until_next_look(pause_s):
                    yield told
            found = await self._look_again()
            if found is False:
                return
            if isinstance(found, Event):
                yield _encoded(found, self._ended, self._reader.turn_id)
                return

    def _pause_after(self, pause_s: float, *, has_moved: bool) -> float:
        if self._look.is_here:
            return _LONGEST_PAUSE_S
        if has_moved:
            return _FIRST_PAUSE_S
        longest_s = _WAITING_PAUSE_S if self._look.followed.status == "waiting" else _LONGEST_PAUSE_S
        return min(1.5 * pause_s, longest_s)

    async def _told(self) -> AsyncIterator[bytes]:
        events, position = tell(self._position, self._look.standing)
        for event in events:
            if event.name != "turn_ended":
                told = _encoded(event, self._ended, self._reader.turn_id)
            else:
                try:
                    told = await self._streams.looking(_encoded, event, self._ended, self._reader.turn_id)
                except LatchkeyError:
                    # The next look tells why.
                    return
            self._position = event.position
            self._heartbeat = Deadline.after(_HEARTBEAT_S)
            yield told
        self._position = position

    async def _until_next_look(self, pause_s: float) -> AsyncIterator[bytes]:
        """Tells what is said in this process meanwhile. What else it hears of has to be looked at."""
        next_look = Deadline.after(pause_s).earlier(self._until)
        await asyncio.sleep(_LEAST_PAUSE_S)
        while left_s := next_look.left_s():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._heard.wait(), min(left_s, self._heartbeat.left_s() or 0.001))
            if not self._heartbeat.left_s():
                self._heartbeat = Deadline.after(_HEARTBEAT_S)
                yield _HEARTBEAT
            if self._heard.is_set():
                self._heard.clear()
                look = self._house.following.again(self._look)
                if look is None:
                    return
                self._look = look
                async for told in self._told():
                    yield told
                await asyncio.sleep(_LEAST_PAUSE_S)

    async def _look_again(self) -> Event | bool:
        """True: looked. False: it cannot be looked at. An event: there is nothing for the reader any more."""
        patience = Deadline.after(_PATIENCE_S)
        reader, following = self._reader, self._house.following
        while True:
            try:
                look = await self._streams.looking(
                    following.look, reader.there, reader.turn_id, self._position
                )
                if look is None:
                    return Event("access_ended", await self._streams.looking(self._why), self._position)
                break
            except LatchkeyError as error:
                if not patience.left_s():
                    _log.warning("stream of turn %s: %s", reader.turn_id, error.code)
                    return False
                await asyncio.sleep(_LONGEST_PAUSE_S)
        self._look = look
        self._go_on_with_it()
        return True

    def _why(self) -> dict[str, Any]:
        return {"code": nothing_for(self._house.database, self._reader.there, TurnNotFound).code}

    def _go_on_with_it(self) -> None:
        """Where there are no workers, whoever reads along goes on with what nobody holds."""
        turns = self._house.turns
        if turns.wakeups is not None or self._works or not self._look.is_open_and_free:
            return

        def work() -> None:
            try:
                turns.look(self._reader.caller, self._reader.turn_id, LONGEST_WAIT_S)
            finally:
                self._works = False

        self._works = True
        _beside(work, "followed-turn")


def encoded_alone(turn: Turn) -> bytes:
    """A turn that was answered and not stored: it cannot be gone on with."""
    told = [
        _lines("turn_started", {"turn_id": str(turn.id), "session_id": None, "seq": turn.seq}),
        _lines("agent_changed", {"agent": turn.agent, "previous": None}),
    ]
    for place, block in enumerate(turn.content):
        if block.get("type") == "text":
            told.append(_lines("text_delta", {"message_seq": 0, "block": place, "text": block["text"]}))
    return b"".join([*told, _lines("turn_ended", {"turn": turn_shape(turn)})])


def _encoded(event: Event, ended: Callable[[TurnId], Turn], turn_id: TurnId) -> bytes:
    about: Any = event.about
    if event.name == "turn_ended":
        about = {"turn": turn_shape(ended(turn_id))}
    elif isinstance(about, Approval):
        about = approval_shape(about)
    # One that ends a stream early leads nowhere: who comes back goes on from the one before.
    return _lines(event.name, about, None if event.name == "access_ended" else event.position)


def _lines(name: str, about: Any, position: Position | None = None) -> bytes:
    id_ = "" if position is None else f"id: {position}\n"
    return f"{id_}event: {name}\ndata: {dump(about)}\n\n".encode()


def _beside(work: Callable[[], object], name: str) -> None:
    """What it fails at is in the rows, or is found by the sweep."""

    def run() -> None:
        try:
            work()
        except LatchkeyError as error:
            _log.warning("%s: %s", name, error.code)
        except Exception:
            _log.exception("%s", name)

    on_a_thread(run, name)
