"""Works: the kinds of what there is to clean up, and how much of each is done at once."""

from collections.abc import Callable, Mapping
from typing import Final

from core.values import dataclass

# How long a batch is to take: between these it stays as large as it is.
_QUICK_S: Final = 0.02
_SLOW_S: Final = 0.05
FIRST_BATCH: Final = 32
# How often one kind of work may find that somebody else was quicker, or its connection dead, before it is left to the next.
_MOST_CONFLICTS: Final = 5


@dataclass(frozen=True, slots=True)
class Batch:
    done: Mapping[str, int]
    # There may be more.
    is_full: bool
    # Of the statement that is to be quick, where that is not all of it.
    took_s: float | None = None
    # Some of it could not be done, and is left.
    is_short: bool = False


@dataclass(slots=True)
class Work:
    name: str
    # Some of it: at most so many.
    do: Callable[[int], Batch]
    # How much there is; counted up to a bound.
    left: Callable[[], int]
    most: int = 1_000
    limit: int = FIRST_BATCH
    is_over: bool = False
    # Some of it could not be done.
    is_short: bool = False
    conflicts: int = 0

    def done(self, batch: Batch, took_s: float) -> float:
        """For how long the database was busy with it."""
        self.is_over = not batch.is_full
        self.is_short |= batch.is_short
        busy_s = took_s if batch.took_s is None else batch.took_s
        self._measure(busy_s)
        return busy_s

    def collided(self) -> None:
        self.conflicts += 1
        self.is_over = self.is_short = self.conflicts > _MOST_CONFLICTS
        self.limit = max(1, self.limit // 2)

    def failed(self) -> None:
        self.is_over = self.is_short = True

    def _measure(self, took_s: float) -> None:
        if took_s > _SLOW_S:
            self.limit = max(1, self.limit // 2)
        elif took_s < _QUICK_S:
            self.limit = min(2 * self.limit, self.most)
