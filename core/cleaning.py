"""Cleaning: what has expired goes, and what nobody goes on with is gone on with; a little of each in turn, until nothing is left or the
time is over.

What can go wrong, and why it does not matter:

* *It is killed anywhere, or several do it at once.* Each batch is one statement that does all of its work or none, and takes what no
  other has in its hands. Whoever comes next finds what is left.
* *There is more than can be done.* It stops before its deadline, and says what is left.
* *One kind of work is endless, or fails.* Each gets one batch before any gets a second; one that fails is put aside, and told.
* *It disturbs those who talk.* A batch is as large as fits into a fraction of a second, as measured by the batch before it.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

from core.deadline import Deadline
from core.erasing import Erasing
from core.errors import DatabaseConflict, LatchkeyError
from core.partials import KEPT_S
from core.recovery import Questions, Stranded
from core.store import expired, left, locks, partials, rates, turns
from core.store.database import Database, reason
from core.store.places import BEGINNING, Place
from core.values import dataclass
from core.wakeups import Wakeups

_log = logging.getLogger(__name__)

# How long a batch is to take: between these it stays as large as it is.
_QUICK_S: Final = 0.1
_SLOW_S: Final = 0.25
_FIRST_BATCH: Final = 32
# What is begun before the deadline has so long to end.
_TO_END_S: Final = 8.0
# How often one kind of work may find that somebody else was quicker, before it is left to them.
_MOST_CONFLICTS: Final = 5


@dataclass(frozen=True, slots=True)
class Batch:
    done: Mapping[str, int]
    # There may be more.
    is_full: bool
    # Of the statement that is to be quick, where that is not all of it.
    took_s: float | None = None


@dataclass(slots=True)
class Work:
    """One kind of what there is to do."""

    name: str
    # Some of it: at most so many.
    do: Callable[[int], Batch]
    # How much there is; counted up to a bound.
    left: Callable[[], int]
    most: int = 1_000
    limit: int = _FIRST_BATCH
    is_over: bool = False
    conflicts: int = 0

    def measure(self, took_s: float) -> None:
        if took_s > _SLOW_S:
            self.limit = max(1, self.limit // 2)
        elif took_s < _QUICK_S:
            self.limit = min(2 * self.limit, self.most)


@dataclass(frozen=True, slots=True)
class Cleaned:
    # By kind of work; what is not named there is nothing.
    done: Counter[str]
    # Of what was not ended. More than 10,000 are told as 10,001.
    left: Mapping[str, int]
    # What could not be gone on with, and why: an error's code.
    failed: Mapping[str, str]
    is_over: bool

    @property
    def ended(self) -> str:
        return "nothing left" if self.is_over else "time is over"


@dataclass(frozen=True, slots=True)
class Cleaning:
    database: Database
    # None: nobody can be woken.
    wakeups: Wakeups | None
    key_ttl_s: int
    erasing: Erasing | None = None

    def clean(self, deadline: Deadline) -> Cleaned:
        done: Counter[str] = Counter()
        failed: dict[str, str] = {}
        works = self._works(deadline)
        while (going := [work for work in works if not work.is_over]) and deadline.left_s():
            for work in going:
                if deadline.left_s():
                    self._go_on(work, done, failed)
        unended = [work for work in works if not work.is_over or work.name in failed]
        cleaned = Cleaned(done, self._left(unended), failed, not unended)
        if done or failed:
            told = [f"{name} {count}" for name, count in sorted(done.items())]
            told += [f"{name} failed ({code})" for name, code in sorted(failed.items())]
            _log.info("clean-up: %s; %s", ", ".join(told), cleaned.ended)
        return cleaned

    def _go_on(self, work: Work, done: Counter[str], failed: dict[str, str]) -> None:
        """The last resort of one kind of work: the others go on."""
        begun = time.monotonic()
        try:
            batch = work.do(work.limit)
        except DatabaseConflict:
            work.conflicts += 1
            work.is_over = work.conflicts > _MOST_CONFLICTS
            work.measure(_SLOW_S * 2)
            return
        except LatchkeyError as error:
            failed[work.name] = error.code
            work.is_over = True
            _log.warning("clean-up: %s: %s: %s", work.name, error.code, reason(error))
            return
        except Exception as error:
            failed[work.name] = type(error).__name__
            work.is_over = True
            _log.error("clean-up: %s: %s: %s", work.name, type(error).__name__, error, exc_info=True)
            return
        done.update({name: count for name, count in batch.done.items() if count})
        work.is_over = not batch.is_full
        work.measure(time.monotonic() - begun if batch.took_s is None else batch.took_s)

    def _left(self, unended: Iterable[Work]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for work in unended:
            try:
                counts[work.name] = work.left()
            except LatchkeyError as error:
                _log.warning("clean-up: what is left of %s: %s: %s", work.name, error.code, reason(error))
        return counts

    def _works(self, deadline: Deadline) -> list[Work]:
        database = self.database.by(Deadline(deadline.at + _TO_END_S))
        erasing = self.erasing
        stranded = Stranded(database, self.wakeups)
        questions = Questions(database, stranded)

        def work(name: str, do: Callable[[int], tuple[int, bool]], most: int = 1_000) -> Work:
            """`do`: how many, and whether there may be more."""

            def batch(limit: int) -> Batch:
                count, is_full = do(limit)
                return Batch({name: count}, is_full)

            return Work(name, batch, partial(self._count, database, name), most)

        def simple(name: str, do: Callable[[int], int], most: int = 1_000) -> Work:
            def counted(limit: int) -> tuple[int, bool]:
                count = do(limit)
                return count, count >= limit

            return work(name, counted, most)

        asked = work("approvals", questions.end)

        def woken(limit: int) -> tuple[int, bool]:
            count, is_full = stranded.wake(limit)
            # A question that ends has a turn go on.
            return count, is_full or not asked.is_over

        works = [
            asked,
            work("turns", woken),
            work("sessions", Expired(database).clean_up),
            simple("application_sessions", lambda limit: expired.clean_up_alone(database, limit)),
            simple("locks", lambda limit: locks.clean_up(database, limit)),
            simple("keys", lambda limit: turns.forget_keys(database, key_ttl_s=self.key_ttl_s, limit=limit)),
            simple("partials", lambda limit: partials.clean_up(database, limit, kept_s=KEPT_S)),
            simple("rates", lambda limit: rates.clean_up(database, limit)),
        ]
        if erasing is not None:
            works.append(simple("erasures", lambda limit: erasing.sweep(limit, deadline), 10))
        return works

    def _count(self, database: Database, name: str) -> int:
        return left.count(database, name, key_ttl_s=self.key_ttl_s, partial_ttl_s=KEPT_S)


@dataclass(slots=True)
class Expired:
    """Conversations that nobody uses, those first whose time was over first."""

    database: Database
    _place: Place = BEGINNING

    def clean_up(self, limit: int) -> tuple[int, bool]:
        swept = expired.clean_up_behind(self.database, limit, self._place)
        self._place = swept.place or self._place
        return len(swept.ended), swept.place is not None
