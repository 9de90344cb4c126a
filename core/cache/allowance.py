"""What one request may still wait for Redis, all in all."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Allowance:
    """Waiting uses it up, and work between two waits does not. For the thread that answers the request and those of its tools."""

    __slots__ = ("_left_s", "_lock")

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
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
            waited_s = time.monotonic() - began
            with self._lock:
                self._left_s = max(0.0, self._left_s - waited_s)

    def __repr__(self) -> str:
        return f"Allowance({self._left_s:.3f} s left)"


_of_this_request: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


@contextmanager
def one_request(seconds: float) -> Iterator[None]:
    """All that is asked of Redis within the block, by whatever part of it, waits so long together."""
    token = _of_this_request.set(Allowance(seconds))
    try:
        yield
    finally:
        _of_this_request.reset(token)


def allowance(seconds: float) -> Allowance:
    """Of the request that this is part of; else one of its own, of so many seconds."""
    return _of_this_request.get() or Allowance(seconds)
