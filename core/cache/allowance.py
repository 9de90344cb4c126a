"""What one request may still wait for Redis, all in all."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Allowance:
    """Waiting uses it up, and work between two waits does not. For the one thread that answers the request."""

    __slots__ = ("_left_s",)

    def __init__(self, seconds: float) -> None:
        self._left_s = max(0.0, seconds)

    def left_s(self) -> float:
        return self._left_s

    @contextmanager
    def waiting(self) -> Iterator[float]:
        """What may be waited now; the time until the block is left is taken off."""
        began = time.monotonic()
        try:
            yield self._left_s
        finally:
            self._left_s = max(0.0, self._left_s - (time.monotonic() - began))

    def __repr__(self) -> str:
        return f"Allowance({self._left_s:.3f} s left)"
