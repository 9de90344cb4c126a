"""Streams: a turn told as server-sent events, as it goes on.

What can go wrong, and why it does not matter: the connection breaks, at any byte. Each event carries what its reader was told with it,
and a client that comes back with the last one it has read goes on from there, in whichever process it arrives. So a stream may end at
any time: because its own time is over, because the platform sends no answer in pieces, or because this process dies. The
work on the turn is not tied to any of them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field, replace
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from core.access import Caller
from core.answering import LONGEST_WAIT_S
from core.deadline import Deadline
from core.entrance import nothing_for
from core.errors import LastEventIdMalformed, TurnNotFound
from core.following import Look
from core.house import House
from core.ids import TurnId
from core.position import Position
from core.rates import Left
from core.store.claims import Arrival
from core.telling import tell
from core.values import dataclass
from functions.open_stream import FIRST_PAUSE_S, LONGEST_PAUSE_S, OpenStream, Reader, beside
from functions.server_sent import MEDIA_TYPE, RETRY, Ended, encoded

# What a gateway that sends no answer in pieces takes, and how long it is made to wait.
_MOST_BYTES: Final = 4_000_000
_GATHERED_S: Final = 5.0
# Looks that are made at once, each with a connection to the database.
_LOOKS: Final = 4


@dataclass(slots=True)
class Streams:
    """Built once an application."""

    houses: Callable[[], House]
    # One request at a time, and the answer goes out in one piece.
    buffers: bool
    # Of one answer that goes out in one piece.
    most_bytes: int = _MOST_BYTES
    # Apart from the threads that turns are answered on, which can all be busy for half a minute.
    _looks: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_LOOKS, thread_name_prefix="look")
    )

    @property
    def house(self) -> House:
        return self.houses()

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

    async def told(self, reader: Reader, ended: Ended, *, waits: bool = True) -> Response:
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
        beside(lambda: begun.work(Deadline.after(patience_s)), "streamed-turn")
        return begun.turn_id, begun.left

    # ---- in one piece

    def _gathered(self, reader: Reader, ended: Ended, deadline: Deadline) -> Iterator[bytes]:
        position, look, size = reader.position, reader.look, 0
        pause_s = FIRST_PAUSE_S
        # All of it together: the gateway does not begin to count anew where a turn is gone on with in the end.
        whole = Deadline.after(LONGEST_WAIT_S)
        yield RETRY
        while True:
            events, position = tell(position, look.standing)
            for event in events:
                told = encoded(event, ended, reader.turn_id)
                size += len(told)
                if size > self.most_bytes and size > len(told):
                    return
                yield told
            if not look.standing.is_cut:
                if size or not deadline.left_s():
                    return
                self._wait(reader, look, min(pause_s, deadline.left_s()), whole)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            found = self.house.following.look(reader.there, reader.turn_id, position)
            if found is None:
                if not size:
                    raise nothing_for(self.house.database, reader.caller, TurnNotFound)
                return
            look = found

    def _wait(self, reader: Reader, look: Look, seconds: float, whole: Deadline) -> None:
        if look.is_open_and_free and self.house.turns.wakeups is None:
            # Nobody else goes on with it.
            self.house.turns.look(reader.caller, reader.turn_id, whole.left_s())
        else:
            time.sleep(seconds)

    # ---- piece by piece

    async def _going_on(self, reader: Reader, ended: Ended) -> AsyncIterator[bytes]:
        stream = OpenStream(self.house, self.looking, reader, ended)
        with self.house.turns.partials.listening(reader.look.followed.session_id, stream.ear):
            async for told in stream.going_on():
                yield told

    async def looking(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._looks, work, *arguments)
