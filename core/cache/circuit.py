"""The circuit before Redis: after some failures in a row nobody asks for a while, and then one does.

Pure: the time is given, and whoever uses it holds a lock.
"""

from core.values import dataclass

FAILURES_TO_OPEN = 3
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


@dataclass(slots=True)
class Circuit:
    """Closed while `_shut_until` is None; then open until that time, and half-open from there on."""

    _failures: int = 0
    _pause_s: float = 0.0
    _shut_until: float | None = None
    _is_trying: bool = False

    def state(self, now: float) -> str:
        if self._shut_until is None:
            return "closed"
        return "open" if now < self._shut_until else "half-open"

    def lets_through(self, now: float) -> bool:
        """In the half-open state one call is let through, and its end is waited for. Each call that goes is told of by
        `succeeded` or `failed`."""
        if self._shut_until is None:
            return True
        if now < self._shut_until or self._is_trying:
            return False
        self._is_trying = True
        return True

    def succeeded(self) -> None:
        """Also that of a call from before it opened: Redis answers."""
        self._failures, self._pause_s, self._shut_until, self._is_trying = 0, 0.0, None, False

    def failed(self, now: float) -> bool:
        """True: it has opened just now. What fails while it is open had been sent before."""
        if self._shut_until is not None and not self._is_trying:
            return False
        self._failures += 1
        if self._failures < FAILURES_TO_OPEN and not self._is_trying:
            return False
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S) or FIRST_PAUSE_S
        self._shut_until, self._is_trying = now + self._pause_s, False
        return True
