"""A moment on the monotonic clock by which something must be over."""

import time

from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        return cls(time.monotonic() + seconds)

    @classmethod
    def never(cls) -> "Deadline":
        return cls(float("inf"))

    def left_s(self) -> float:
        return max(0.0, self.at - time.monotonic())

    def earlier(self, other: "Deadline", *, by_s: float = 0.0) -> "Deadline":
        """The sooner of the two, and `by_s` before that: what is kept back for the work that must follow."""
        return Deadline(min(self.at, other.at) - by_s)
