"""An open stream: one reader's, piece by piece, for as long as the connection and its own time last.

While it waits it holds neither a thread nor a connection. It looks at the rows at least once a second, also to see whether
its reader still may; what is said in this process it hears at once.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from core.access import Caller
from core.answering import LONGEST_WAIT_S
from core.attendance import on_a_thread
from core.deadline import Deadline
from core.entrance import nothing_for
from core.errors import LatchkeyError, TurnNotFound
from core.following import Look
from core.house import House
from core.ids import TurnId
from core.position import Position
from core.telling import Event, tell
from core.values import dataclass
from functions import metrics
from functions.answers import version_header
from functions.server_sent import HEARTBEAT, RETRY, Ended, encoded

_log = logging.getLogger(__name__)

_HEARTBEAT_S: Final = 10.0
# Between two looks; where a person is waited for; and at the least, whatever happens.
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 1.0
_WAITING_PAUSE_S: Final = 2.0
_LEAST_PAUSE_S: Final = 0.02
# How long a database may be away under an open stream.
_PATIENCE_S: Final = 10.0

# Work that waits for the database, on another thread.
Looking = Callable[..., Awaitable[Any]]


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


class OpenStream:
    """One open stream."""

    def __init__(self, house: House, looking: Looking, reader: Reader, ended: Ended) -> None:
        self._house = house
        self._looking = looking
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
        yield RETRY
        pause_s = FIRST_PAUSE_S
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
                yield encoded(found, self._ended, self._reader.turn_id)
                return

    def _pause_after(self, pause_s: float, *, has_moved: bool) -> float:
        if self._look.is_here:
            return LONGEST_PAUSE_S
        if has_moved:
            return FIRST_PAUSE_S
        longest_s = _WAITING_PAUSE_S if self._look.followed.status == "waiting" else LONGEST_PAUSE_S
        return min(1.5 * pause_s, longest_s)

    async def _told(self) -> AsyncIterator[bytes]:
        events, position = tell(self._position, self._look.standing)
        for event in events:
            if event.name != "turn_ended":
                told = encoded(event, self._ended, self._reader.turn_id)
            else:
                try:
                    told = await self._looking(encoded, event, self._ended, self._reader.turn_id)
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
                yield HEARTBEAT
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
                look = await self._looking(following.look, reader.there, reader.turn_id, self._position)
                if look is None:
                    return Event("access_ended", await self._looking(self._why), self._position)
                break
            except LatchkeyError as error:
                if not patience.left_s():
                    _log.warning("stream of turn %s: %s", reader.turn_id, error.code)
                    return False
                await asyncio.sleep(LONGEST_PAUSE_S)
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
        beside(work, "followed-turn")


def beside(work: Callable[[], object], name: str) -> None:
    """What it fails at is in the rows, or is found by the sweep."""

    def run() -> None:
        try:
            work()
        except LatchkeyError as error:
            _log.warning("%s: %s", name, error.code)
        except Exception as error:
            _log.exception("%s", name)
            metrics.count("Defects", error=type(error).__name__)

    on_a_thread(run, name)
