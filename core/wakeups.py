"""Wake-ups: a word to somebody with more time that a conversation can be gone on with.

No more than a word. Turns live in Postgres, and whoever is woken takes the next one there, if there is one and nobody
else has it. So a wake-up that is lost, doubled or late changes nothing but the time; the sweep finds what it missed.
"""

import logging
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from core import about
from core.errors import LatchkeyError
from core.ids import SessionId
from core.store.database import reason

_log = logging.getLogger(__name__)


class Wakeups(Protocol):
    def wake(self, session_id: SessionId) -> None:
        """Never raises: what is not said here is found by the sweep."""

    def recover(self, session_id: SessionId, epoch: int) -> bool:
        """The sweep's: for what nobody goes on with that was granted last under this epoch. Never raises; False: nobody was told."""


class WorkerThreads:
    """A few threads of this process that go on with what they are woken for, and look around from time to time."""

    def __init__(
        self,
        work: Callable[[SessionId], None],
        sweep: Callable[[], object],
        *,
        threads: int,
        sweep_every_s: float,
    ) -> None:
        self._work = work
        self._sweep = sweep
        self._sweep_every_s = sweep_every_s
        self._woken: queue.SimpleQueue[SessionId | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._go_on, name=f"worker-{number}", daemon=True)
            for number in range(threads)
        ]
        self._threads.append(threading.Thread(target=self._look_around, name="sweep", daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self, session_id: SessionId) -> None:
        self._woken.put(session_id)

    def recover(self, session_id: SessionId, epoch: int) -> bool:  # noqa: ARG002 - the threads of one process need no epoch
        self.wake(session_id)
        return True

    def stop(self, patience_s: float = 5.0) -> None:
        """What they are in the middle of is gone on with by whoever comes next."""
        self._stopped.set()
        for _ in self._threads:
            self._woken.put(None)
        for thread in self._threads:
            thread.join(patience_s / len(self._threads))

    def _go_on(self) -> None:
        while (session_id := self._woken.get()) is not None and not self._stopped.is_set():
            self._surviving(partial(self._work, session_id))

    def _look_around(self) -> None:
        while not self._stopped.wait(self._sweep_every_s):
            self._surviving(self._sweep)

    def _surviving(self, do: Callable[[], object]) -> None:
        """The last resort of a thread: a defect or an outage ends one errand, not the worker."""
        try:
            with about.under(function=threading.current_thread().name):
                do()
        except Exception as error:
            if isinstance(error, LatchkeyError):
                # What it says itself is for a client.
                _log.warning("worker: %s: %s; the next sweep tries again", error.code, reason(error))
            else:
                _log.error("worker: unexpected %s", type(error).__name__, exc_info=error)
