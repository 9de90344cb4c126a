"""Cleaning: what has expired goes, and what nobody goes on with is gone on with; a little of each in turn, until nothing is left or the
time is over.

What can go wrong, and why it does not matter:

* *It is killed anywhere, or several do it at once.* Each batch is one statement that does all of its work or none, and takes what no
  other has in its hands. Whoever comes next finds what is left.
* *There is more than can be done.* It stops before its deadline, and says what is left.
* *One kind of work is endless, or fails.* Each gets one batch before any gets a second; one that fails is put aside, and told.
* *Its connection died*, while it was frozen between two minutes, or because a batch took longer than anybody waits. That batch is tried
  again with less, and whatever it did is done; only where nobody can be connected to it ends.
* *It disturbs those who talk.* A batch is as large as fits into a twentieth of a second, as measured by the batch before it; and between
  two rounds the database rests for four times as long as it worked.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

from core.archive import Archive
from core.archiving import Archiving
from core.deadline import Deadline
from core.erasing import Erasing
from core.errors import DatabaseConflict, DatabaseUnavailable, LatchkeyError
from core.ids import SessionId
from core.partials import KEPT_S
from core.recovery import Alone, Questions, Stranded
from core.store import expired, left, locks, partials, rates, rollup, turns
from core.store.database import ConnectionDied, Database, reason
from core.store.places import BEGINNING, Place
from core.values import dataclass
from core.wakeups import Wakeups
from core.works import FIRST_BATCH, Batch, Work

_log = logging.getLogger(__name__)

# Between two rounds, for each second of work; and at most so long.
_REST: Final = 4
_LONGEST_REST_S: Final = 1.0
# What is begun before the deadline has so long to end.
_TO_END_S: Final = 8.0


NOTHING_LEFT: Final = "nothing left"
TIME_IS_OVER: Final = "time is over"
NOT_ALL_DONE: Final = "not all could be done"
# What has no code, for nobody expected it.
DEFECT: Final = "defect"


@dataclass(frozen=True, slots=True)
class Cleaned:
    # By kind of work; what is not named there is nothing.
    done: Counter[str]
    # Of what was not ended. More than 10,000 are told as 10,001.
    left: Mapping[str, int]
    # What could not be gone on with, and why: an error's code, or that it was a defect.
    failed: Mapping[str, str]
    ended: str

    @property
    def is_over(self) -> bool:
        return self.ended == NOTHING_LEFT


@dataclass(frozen=True, slots=True)
class Cleaning:
    database: Database
    # Who goes on with what nobody goes on with. None: nobody can be woken.
    wakeups: Wakeups | None
    key_ttl_s: int
    # Then this is what goes on with it, here.
    work: Callable[[SessionId, Deadline], None] | None = None
    erasing: Erasing | None = None
    # What is ended by its time is there first. None: there is none.
    archive: Archive | None = None

    def clean(self, deadline: Deadline) -> Cleaned:
        done: Counter[str] = Counter()
        failed: dict[str, str] = {}
        works = self._works(deadline)
        try:
            while (going := [work for work in works if not work.is_over]) and deadline.left_s():
                busy_s = sum(self._go_on(work, done, failed) for work in going if deadline.left_s())
                if not all(work.is_over for work in going):
                    time.sleep(min(_REST * busy_s, _LONGEST_REST_S, deadline.left_s()))
        except DatabaseUnavailable as error:
            # Nothing of it can be done, nor counted.
            _log.warning("clean-up: %s: %s", error.code, reason(error))
            return Cleaned(done, {}, {work.name: error.code for work in works}, NOT_ALL_DONE)
        unended = [work for work in works if not work.is_over or work.is_short]
        ended = NOT_ALL_DONE if unended else NOTHING_LEFT
        if any(not work.is_over for work in works):
            ended = TIME_IS_OVER
        return Cleaned(done, self._left(unended), failed, ended)

    def _go_on(self, work: Work, done: Counter[str], failed: dict[str, str]) -> float:
        """For how long the database was busy. The last resort of one kind of work: the others go on."""
        begun = time.monotonic()
        try:
            batch = work.do(work.limit)
        except DatabaseConflict:
            work.collided()
        except ConnectionDied as error:
            work.collided()
            if work.is_over:
                failed[work.name] = error.code
            _log.warning("clean-up: %s: %s: %s", work.name, error.code, reason(error))
        except DatabaseUnavailable:
            raise
        except LatchkeyError as error:
            failed[work.name] = error.code
            work.failed()
            _log.warning("clean-up: %s: %s: %s", work.name, error.code, reason(error))
        except Exception as error:
            failed[work.name] = DEFECT
            work.failed()
            _log.error("clean-up: %s: unexpected %s", work.name, type(error).__name__, exc_info=error)
        else:
            done.update({name: count for name, count in batch.done.items() if count})
            return work.done(batch, time.monotonic() - begun)
        return time.monotonic() - begun

    def _left(self, unended: Iterable[Work]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for work in unended:
            try:
                counts[work.name] = work.left()
            except LatchkeyError as error:
                _log.warning("clean-up: what is left of %s: %s: %s", work.name, error.code, reason(error))
        return counts

    def _works(self, deadline: Deadline) -> list[Work]:
        # Not at import, which is paid for by whoever answers, and never cleans up.
        from core.store import counting

        database = self.database.by(Deadline(deadline.at + _TO_END_S))
        erasing = self.erasing
        alone = None if self.work is None else Alone(self.work, deadline)
        stranded = Stranded(database, self.wakeups or alone)
        questions = Questions(database, stranded)

        def work(name: str, do: Callable[[int], tuple[int, bool]], most: int = 1_000) -> Work:
            """`do`: how many, and whether there may be more."""

            def batch(limit: int) -> Batch:
                count, is_full = do(limit)
                return Batch({name: count}, is_full)

            return Work(name, batch, partial(self._count, database, name), most, min(FIRST_BATCH, most))

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
            work("turns", woken, 1_000 if self.wakeups is not None else 1),
            self._sessions(database, deadline),
            simple("application_sessions", lambda limit: expired.clean_up_alone(database, limit)),
            simple("locks", lambda limit: locks.clean_up(database, limit)),
            simple("keys", lambda limit: turns.forget_keys(database, key_ttl_s=self.key_ttl_s, limit=limit)),
            simple("partials", lambda limit: partials.clean_up(database, limit, kept_s=KEPT_S)),
            simple("rates", lambda limit: rates.clean_up(database, limit)),
            *(simple(kind, partial(counting.count, database, kind)) for kind in counting.KINDS),
            work("figures", partial(rollup.roll_up, database)),
        ]
        if erasing is not None:
            works.append(simple("erasures", lambda limit: erasing.sweep(limit, deadline), 10))
            works.append(Work("late_objects", partial(_look, erasing), left=_nobody_knows))
        return works

    def _sessions(self, database: Database, deadline: Deadline) -> Work:
        left_over = partial(self._count, database, "sessions")
        if self.archive is None:
            return Work("sessions", Expired(database).clean_up, left_over)
        return Work("sessions", Archiving(database, self.archive, deadline).clean_up, left_over, 200)

    def _count(self, database: Database, name: str) -> int:
        return left.count(database, name, key_ttl_s=self.key_ttl_s, partial_ttl_s=KEPT_S)


def _look(erasing: Erasing, _: int) -> Batch:
    """Once each time."""
    return Batch({"late_objects": erasing.forget_latecomers()}, is_full=False)


def _nobody_knows() -> int:
    return 0


@dataclass(slots=True)
class Expired:
    """Conversations that nobody uses, those first whose time was over first."""

    database: Database
    _place: Place = BEGINNING

    def clean_up(self, limit: int) -> Batch:
        swept = expired.clean_up_behind(self.database, limit, self._place)
        self._place = swept.place or self._place
        return Batch({"sessions": len(swept.ended)}, swept.place is not None)
