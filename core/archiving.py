"""Archiving: a conversation whose time is over is in the archive before its rows go.

What can go wrong, and why it cannot:

* *It dies between the two.* The rows are still there, and nobody can read them, for their time is over. The next one begins again,
  and writes the same object.
* *Somebody uses it between the two.* It goes only at the version that the archive has.
* *The archive is away, or refuses one.* That one stays, and is told; those behind it go on, for they are looked for behind it.
* *Its owner is erased between the two.* Then the rows are gone, and by somebody else: whoever tried to archive one, whose owner is
  no more, or is being erased, takes it out of the archive again, also where no answer came. What lands later still, out of a function
  that was killed or frozen, is looked for afterwards: see `erasing.py`.
* *The archive hangs.* A batch in which nothing has landed for a while is left, so that all else has its turn; and nobody waits past the
  deadline.
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import field
from functools import partial
from typing import Final
from uuid import UUID

from core.archive import Archive
from core.attendance import on_a_thread
from core.deadline import Deadline
from core.errors import LatchkeyError
from core.ids import SessionId
from core.store import backups, expired
from core.store.backups import Due
from core.store.database import Database, reason
from core.store.places import BEGINNING, Place
from core.transfer import backup
from core.values import dataclass
from core.works import Batch

_log = logging.getLogger(__name__)

# What is read at once, of short ones together.
_BYTES_AT_ONCE: Final = 4_000_000
# Uploads wait for S3, and not for each other.
_UPLOADS_AT_ONCE: Final = 8
# So long nothing may land, and where it is one that is long.
_LONGEST_S: Final = 15.0
_LONGEST_FOR_LONG_S: Final = 60.0
# After so many in a row it is the archive that is away, and not a conversation that it does not take.
_MOST_FAILURES: Final = 24


class _NotWhole(Exception):
    """It was used while it was read, or there was no time to read all of it."""


@dataclass(slots=True)
class Archiving:
    database: Database
    archive: Archive
    deadline: Deadline
    # Where the round began; and how far it has come.
    _begun: Place | None = None
    _place: Place = BEGINNING
    _is_second_lap: bool = False
    _failures: int = 0
    # The time was over before all of a batch was looked at.
    _is_stopped: bool = False
    _open: "dict[Future[None], Due]" = field(default_factory=dict)
    # Of a batch: nothing lands.
    _hangs: bool = False
    _tried: list[Due] = field(default_factory=list)
    _kept: list[Due] = field(default_factory=list)

    def clean_up(self, limit: int) -> Batch:
        """Those that come next: into the archive, and then away."""
        if self._begun is None:
            self._begun = self._place = self._somewhere()
        upto = self._begun if self._is_second_lap else None
        due = backups.due(self.database, limit, self._place, upto)
        if not due:
            return Batch({}, is_full=self._next_lap())
        self._tried, self._kept, before = [], [], self._failures
        self._is_stopped = self._hangs = False
        failures = Counter(one for one in self._keep(due))
        begun = time.monotonic()
        gone = self._gone(due)
        took_s = time.monotonic() - begun
        kept = {one.session_id for one in self._kept}
        done = {
            "sessions": len(gone),
            "archived": len(gone & kept),
            "archive_failures": failures.total(),
        }
        self._place = (self._tried if self._hangs else due)[-1].place
        self._failures = 0 if kept else before + failures.total()
        is_away = self._failures >= _MOST_FAILURES
        is_full = self._is_stopped or self._hangs or len(due) >= limit or self._next_lap()
        return Batch(done, is_full and not is_away, took_s, is_short=bool(failures))

    def _somewhere(self) -> Place:
        """Whoever begins at the same moment begins elsewhere: what both have in hand is put into the archive twice."""
        first = backups.due(self.database, 1, BEGINNING)
        if not first:
            return BEGINNING
        span = first[0].at - first[0].place.at
        return Place(first[0].place.at + random.random() * span, UUID(int=0))  # noqa: S311 - spreads them out

    def _next_lap(self) -> bool:
        """From the beginning to where it began. False: that is done."""
        if self._is_second_lap:
            return False
        self._is_second_lap, self._place = True, BEGINNING
        return True

    # ---- into the archive

    def _keep(self, due: Iterable[Due]) -> Iterator[str]:
        """The code of each failure."""
        worth = [one for one in due if not one.is_empty]
        for some in _together(worth):
            if not self.deadline.left_s():
                self._is_stopped = True
            if self._is_stopped or self._hangs:
                break
            yield from self._keep_some(some)
        while self._open:
            yield from self._landed()

    def _keep_some(self, some: list[Due]) -> Iterator[str]:
        (first, *others) = some
        if not others and first.size > _BYTES_AT_ONCE:
            self._begin(first, self._long(first))
            while self._open:
                yield from self._landed(_LONGEST_FOR_LONG_S)
            return
        found = backups.rows(self.database, [one.session_id for one in some])
        for one in some:
            version, rows = found.get(one.session_id, (None, []))
            if version != one.version:
                continue
            self._begin(one, list(backup.lines(one, rows)))
            while len(self._open) >= _UPLOADS_AT_ONCE:
                yield from self._landed()
            if self._hangs:
                return

    def _begin(self, one: Due, lines: Iterable[str]) -> None:
        self._tried.append(one)
        self._open[on_a_thread(partial(self.archive.keep, one.user_id, one.session_id, lines), "archive")] = (
            one
        )

    def _landed(self, longest_s: float | None = None) -> Iterator[str]:
        """What has arrived by now, and what has not and is waited for no longer."""
        done, _ = wait(self._open, min(longest_s or _LONGEST_S, self.deadline.left_s() + 1), FIRST_COMPLETED)
        self._hangs = not done
        for future in done or set(self._open):
            one = self._open.pop(future)
            if not future.done():
                yield _told(TimeoutError("no answer in time"))
            elif (error := future.exception()) is not None:
                if not isinstance(error, _NotWhole):
                    yield _told(error)
            else:
                self._kept.append(one)

    def _long(self, one: Due) -> Iterator[str]:
        """Read by the thread that keeps it, while all others wait."""
        found = backups.rows(self.database, [one.session_id], with_messages=False)
        version, rows = found.get(one.session_id, (None, []))
        if version != one.version:
            raise _NotWhole

        def pages() -> Iterator[backups.StoredRow]:
            yield from rows
            seq = 0
            while True:
                if not self.deadline.left_s():
                    self._is_stopped = True
                    raise _NotWhole
                page = backups.message_page(self.database, one.session_id, one.version, seq, _BYTES_AT_ONCE)
                if page is None:
                    raise _NotWhole
                seq, some = page
                if not some:
                    break
                yield from some
            if backups.version(self.database, one.session_id) != one.version:
                raise _NotWhole

        yield from backup.lines(one, pages())

    # ---- away

    def _gone(self, due: list[Due]) -> set[SessionId]:
        going = [*self._kept, *(one for one in due if one.is_empty)]
        pairs = [(one.session_id, one.version) for one in going]
        ended = expired.clean_up_archived(self.database, pairs, at=due[0].at) if going else []
        gone = {one.session_id for one in ended}
        others = [one for one in self._tried if one.session_id not in gone]
        if others:
            erased = backups.erased(self.database, {one.user_id for one in others})
            for one in others:
                if one.user_id in erased:
                    self.archive.forget(one.user_id, one.session_id)
        return gone


def _together(due: list[Due]) -> Iterator[list[Due]]:
    """Those that are read at once."""
    some: list[Due] = []
    for one in due:
        if some and sum(other.size for other in some) + one.size > _BYTES_AT_ONCE:
            yield some
            some = []
        some.append(one)
    if some:
        yield some


def _told(error: BaseException) -> str:
    code = error.code if isinstance(error, LatchkeyError) else type(error).__name__
    _log.warning("a conversation could not be archived: %s: %s", code, reason(error))
    return code
