"""Every request that came, and what was answered: for the assertions of tests."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_SECRETS = frozenset({"x-api-key", "authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True)
class Recorded:
    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case; secrets kept out."""
    body: Any
    """The parsed body, or None where it was no JSON object."""
    status: int
    """The status answered; 0 where nothing was."""
    refusal: str | None
    """The message of a refused request."""
    fault: str | None
    """The fault that was done to it."""
    request_id: str


class Record:
    """The requests in the order in which they were answered: a request is in here before its answer leaves."""

    def __init__(self, most: int) -> None:
        self._kept: deque[Recorded] = deque(maxlen=most)
        self._total = 0
        self._grown = threading.Condition()

    def add(self, recorded: Recorded) -> None:
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

    def __iter__(self) -> Iterator[Recorded]:
        return iter(self._copy())

    def __getitem__(self, index: int) -> Recorded:
        return self._copy()[index]

    def _copy(self) -> list[Recorded]:
        with self._grown:
            return list(self._kept)


def without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: "(kept out)" if name in _SECRETS else value for name, value in headers.items()}
