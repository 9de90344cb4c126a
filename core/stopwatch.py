"""A stopwatch: what a holder's time goes into. At any moment it runs for one purpose alone, so the parts add up to the whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

CLAIM, MODEL, TOOLS, COMMITS, FINISH, OWN = "claim", "model", "tools", "commits", "finish", "own"


class Stopwatch:
    """Of the thread that holds a turn. What runs beside it is counted where it is waited for."""

    def __init__(self) -> None:
        self._since = perf_counter()
        self._purpose = OWN
        self.spent_s = dict.fromkeys((CLAIM, MODEL, TOOLS, COMMITS, FINISH, OWN), 0.0)
        # How often each was begun with.
        self.times = dict.fromkeys(self.spent_s, 0)
        # From the model's being asked, the first time, to the first word that it had begun.
        self.first_word_s: float | None = None

    def claimed(self, since: float) -> None:
        """What was needed to become a holder, since then by `perf_counter`."""
        self.spent_s[CLAIM] += self._since - since

    @contextmanager
    def on(self, purpose: str, times: int = 1) -> Iterator[None]:
        """Within another purpose, that one stands still."""
        before = self._turn_to(purpose)
        self.times[purpose] += times
        try:
            yield
        finally:
            self._turn_to(before)

    def heard_after(self, waited_s: float) -> None:
        if self.first_word_s is None:
            self.first_word_s = waited_s

    def stop(self) -> dict[str, float]:
        self._turn_to(self._purpose)
        return self.spent_s

    def _turn_to(self, purpose: str) -> str:
        now, before = perf_counter(), self._purpose
        self.spent_s[before] += now - self._since
        self._since, self._purpose = now, purpose
        return before
