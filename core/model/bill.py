"""What asking the model was billed for, reply or not: a try whose stream broke in the middle is paid for as well."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from time import perf_counter
from typing import Any

from core.model.prices import cost_micros

_KINDS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")

Spent = dict[str, int]


def counted(usage: Mapping[str, Any]) -> Spent:
    """Usage as we count it: tokens by kind, and `cost_micros` unless something in it has no known price."""
    spent = {kind: usage.get(kind) or 0 for kind in _KINDS}
    cost = usage.get("cost_micros")
    if cost is None and not any(spent.values()):
        cost = 0
    return spent if cost is None else {**spent, "cost_micros": cost}


def added(one: Mapping[str, Any], other: Mapping[str, Any]) -> Spent:
    """Both together. What one part of it cost is not known of the whole if it is not known of that part."""
    one, other = counted(one), counted(other)
    return {kind: one[kind] + other[kind] for kind in one if kind in other}


class Bill:
    """Of one asking, over all its tries. Whoever waits may read it while the thread that asks still writes."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._tries: list[dict[str, Any]] = []
        # When the first of them began to be answered, by `perf_counter`.
        self.begun_at: float | None = None
        # Nobody waits any more: what comes now would be paid for, and not counted.
        self.is_left = False
        self._hang_up: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def leave(self) -> None:
        """Nobody waits any more: a try that is under way is broken off."""
        with self._lock:
            self.is_left = True
            if self._hang_up is not None:
                self._hang_up()

    @contextmanager
    def under_way(self, hang_up: Callable[[], None]) -> Iterator[None]:
        """Around a try: how it is broken off from another thread. Once it is whole it is not."""
        with self._lock:
            self._hang_up = hang_up
        try:
            yield
        finally:
            with self._lock:
                self._hang_up = None

    def begin(self, usage: dict[str, Any]) -> None:
        """The API has begun to answer a try, and says what that has cost so far."""
        self.begun_at = self.begun_at or perf_counter()
        self._tries.append(usage)

    def go_on(self, usage: dict[str, Any]) -> None:
        """Newer totals of the same try. What they do not name stays as it was."""
        known = {kind: total for kind, total in usage.items() if total is not None}
        self._tries[-1] = {**self._tries[-1], **known}

    @property
    def spent(self) -> Spent:
        return reduce(added, map(self._priced, tuple(self._tries)), counted({}))

    def _priced(self, usage: dict[str, Any]) -> Spent:
        # Each try by itself, as the API bills it.
        cost = cost_micros(self._model, usage)
        return counted(usage if cost is None else {**usage, "cost_micros": cost})
