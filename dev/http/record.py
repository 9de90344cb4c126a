"""What came, in its order: for the assertions of tests."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Record(Generic[Item]):
    """The requests in the order in which they were answered: a request is in here before its answer leaves."""

    def __init__(self, most: int) -> None:
        self._kept: deque[Item] = deque(maxlen=most)
        self._total = 0
        self._grown = threading.Condition()

    def add(self, recorded: Item) -> None:
        with self._grown:
            self._kept.append(recorded)
            self._total += 1
            self._grown.notify_all()

    @property
    def total(self) -> int:
        """How many came since the start, kept or not."""
        with self._grown:
            return self._total

    def wait_for(self, count: int, timeout_s: float = 10.0) -> bool:
        """Wait until that many requests came since the start: for a test of a hang, instead of a sleep."""
        with self._grown:
            return self._grown.wait_for(lambda: self._total >= count, timeout_s)

    def clear(self) -> None:
        with self._grown:
            self._kept.clear()
            self._total = 0

    def __len__(self) -> int:
        return len(self._copy())

    def __iter__(self) -> Iterator[Item]:
        return iter(self._copy())

    def __getitem__(self, index: int) -> Item:
        return self._copy()[index]

    def _copy(self) -> list[Item]:
        with self._grown:
            return list(self._kept)
