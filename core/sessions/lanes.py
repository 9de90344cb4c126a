"""Those of one process who change the same session take turns, and hand on what they left.

Without this, threads that change one session spend their time refusing each other: each write spoils the reads of all others.
A successor begins with what its predecessor left, which spares it the read; but only if it was waiting already when that
write was sent. Then the write was answered within its own call, and so is as good as a read of its own.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from core.deadline import Deadline
from core.errors import SessionContended
from core.sessions.storage import Record


class Lane:
    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._arrived = 0
        # Who stands in it. With nobody left it is forgotten, and what was left in it too.
        self.users = 0
        self._left: Record | None = None
        self._for_those_until = 0

    def arrive(self) -> int:
        self.users += 1
        self._arrived += 1
        return self._arrived

    def arrived(self) -> int:
        """To be asked before the write is sent."""
        return self._arrived

    def leave(self, record: Record | None, arrived: int) -> None:
        self._left, self._for_those_until = record, arrived

    def take(self, number: int) -> Record | None:
        """What the predecessor left for whoever had this number."""
        return self._left if number <= self._for_those_until else None

    @contextmanager
    def turn(self, deadline: Deadline) -> Iterator[None]:
        if not self._turn.acquire(timeout=deadline.left_s()):
            raise SessionContended
        try:
            yield
        finally:
            self._turn.release()


class Lanes:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[UUID, Lane] = {}

    @contextmanager
    def turn(self, session_id: UUID, deadline: Deadline) -> Iterator[tuple[Lane, Record | None]]:
        with self._lock:
            lane = self._lanes.setdefault(session_id, Lane())
            number = lane.arrive()
        try:
            with lane.turn(deadline):
                yield lane, lane.take(number)
        finally:
            with self._lock:
                lane.users -= 1
                if not lane.users:
                    del self._lanes[session_id]
