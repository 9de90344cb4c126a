"""Recovery: finds what nobody goes on with any more, and sees to it that somebody does.

What can go wrong, and why it does not matter: many look at once and find the same. Each finding is only a wake-up, or a
write at the version that was read, so the second to come finds nothing to do.
"""

from collections.abc import Callable
from dataclasses import field
from typing import Protocol

from core.deadline import Deadline
from core.decisions import expire
from core.errors import QueueUnavailable
from core.ids import SessionId
from core.store import approvals, turns
from core.store.approvals import Overdue
from core.store.database import Database
from core.store.places import BEGINNING, Place
from core.values import dataclass


class Recoveries(Protocol):
    def recover(self, session_id: SessionId, epoch: int) -> bool:
        """Sees to it that somebody goes on with what was granted last under this epoch. False: it could not."""


@dataclass(frozen=True, slots=True)
class Alone:
    """Where nobody can be woken, whoever finds it goes on with it."""

    work: Callable[[SessionId, Deadline], None]
    deadline: Deadline

    def recover(self, session_id: SessionId, epoch: int) -> bool:  # noqa: ARG002 - of its shape
        self.work(session_id, self.deadline)
        return True


@dataclass(slots=True)
class Stranded:
    """Turns whose holder died or whose wake-up was lost, the longest waiting first; each is woken once."""

    database: Database
    # None: nobody can be woken.
    wakeups: Recoveries | None
    _place: Place = BEGINNING
    _woken: set[tuple[SessionId, int]] = field(default_factory=set)

    def wake(self, limit: int) -> tuple[int, bool]:
        """How many were woken, and whether there may be more. A QueueUnavailable: nobody can be told, and a turn that nobody goes on
        with is nothing to keep quiet about.
        """
        if self.wakeups is None:
            return 0, False
        found = turns.stranded(self.database, limit, after=self._place)
        woken = 0
        for one in found:
            self._place = one.place
            if (one.session_id, one.epoch) not in self._woken:
                self._woken.add((one.session_id, one.epoch))
                if not self.wakeups.recover(one.session_id, one.epoch):
                    raise QueueUnavailable
                woken += 1
        return woken, len(found) >= limit

    def anew(self) -> None:
        """There may be others that have waited for longer than the last that was found."""
        self._place = BEGINNING


@dataclass(slots=True)
class Questions:
    """Approvals that nobody gave in time, and outcomes that nobody knew, those first that were due first: time decides."""

    database: Database
    stranded: Stranded
    _place: Place = BEGINNING

    def end(self, limit: int) -> tuple[int, bool]:
        """How many ended, and whether there may be more. Those of one conversation end in one write: after the first the version that
        they were read at would be past.
        """
        overdue = approvals.overdue(self.database, limit, after=self._place)
        by_session: dict[tuple[SessionId, int], list[Overdue]] = {}
        for approval in overdue:
            self._place = approval.place
            by_session.setdefault((approval.session_id, approval.version), []).append(approval)
        ended = sum(expire(self.database, *session, due) for session, due in by_session.items())
        if ended:
            self.stranded.anew()
        return ended, len(overdue) >= limit
