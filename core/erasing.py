"""Erasing: everything of a user, from wherever it is, with a receipt that says what was removed from where.

The order, and why: their devices are barred first, so nothing new of theirs begins. What they said in conversations of others goes before
their own conversations, for a fork is known as one of theirs only while the original is there; and is looked for once more
behind it. Each conversation leaves the cache before and after its rows go: before, in case this dies in between. The archive
is next, and the user's own row is last. Whoever dies on the way leaves a receipt that is not ended, and the next one goes on.

What was on its way into the archive meanwhile may land behind all of that, out of a function that was killed or frozen. So for a week
it is looked, a thousand people at a time, whether anything of theirs is there again.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar
from uuid import UUID, uuid4

from core.access import Caller
from core.archive import Archive
from core.cache.allowance import allowance
from core.deadline import Deadline
from core.digest import digest
from core.entrance import nothing_for
from core.errors import DatabaseConflict, LatchkeyError, NothingErased, SessionNotFound
from core.ids import SessionId, UserId
from core.partials import Partials
from core.sessions.farewell import Farewell, conversation_key
from core.store import erasures, traces
from core.store.database import Database
from core.store.erasures import Erasure
from core.store.traces import Blotted
from core.tries import again_and_again, past_dead_connections
from core.values import dataclass

T = TypeVar("T")

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 50
_PATIENCE_S: Final = 5.0
# When a sweep takes an erasure for one that nobody goes on with.
_LEFT_ALONE_S: Final = 60.0
_SWEEP_S: Final = 20.0
# For so long at most a function lives on that was frozen with something in its hands; by far.
_LATE_S: Final = 7 * 86_400.0
NEVER: Final = Deadline.never()
# How often it is looked for what appeared meanwhile.
_MOST_ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class Erasing:
    database: Database
    farewell: Farewell
    partials: Partials
    archive: Archive | None

    def erase(self, caller: Caller, budget_s: float) -> Erasure:
        """The receipt; not ended if there is more to do than there is time. Sent again it goes on, and then shows the same."""
        device_digest = digest(str(caller.device_id))

        def begun() -> Erasure | None:
            erasures.begin(self.database, caller, device_digest)
            return erasures.of_device(self.database, device_digest)

        # Once more for a device that was signed in at that moment, and has another user by now.
        receipt = past_dead_connections(begun) or past_dead_connections(begun)
        if receipt is None:
            barred = nothing_for(self.database, caller)
            raise NothingErased() if isinstance(barred, SessionNotFound) else barred
        return receipt if receipt.ended_at else self.go_on(receipt, Deadline.after(budget_s))

    def sweep(self, limit: int = 10, until: Deadline = NEVER) -> int:
        """How many were ended that somebody else had left alone. One that cannot be ended now does not stand in the way of the rest; what
        stood in its way is raised behind them, for a person waits to be gone.
        """
        left = erasures.unended(self.database, _LEFT_ALONE_S, limit)
        deadline, ended = Deadline.after(_SWEEP_S).earlier(until), 0
        failure: LatchkeyError | None = None
        for receipt in left:
            try:
                ended += self.go_on(receipt, deadline).ended_at is not None
            except LatchkeyError as error:
                _log.warning("erasure %s: %s; the next sweep tries again", receipt.id, error.code)
                # Somebody else goes on with it at this moment.
                failure = failure if isinstance(error, DatabaseConflict) else error
        if failure is not None:
            raise failure
        return ended

    def forget_latecomers(self) -> int:
        """How many objects of people who are erased were in the archive again, as far as was looked this time: from somewhere else each."""
        if self.archive is None or not erasures.any_ended(self.database, _LATE_S):
            return 0
        gone = erasures.erased(self.database, self.archive.users(uuid4()))
        return sum(self.archive.forget_user(user_id) for user_id in gone)

    def go_on(self, receipt: Erasure, deadline: Deadline) -> Erasure:
        user_id = receipt.user_id
        for _ in range(_MOST_ROUNDS):
            if user_id is None:
                break
            steps: tuple[Callable[[], bool], ...] = (
                lambda: self._elsewhere(receipt.id, user_id),
                lambda: self._own(receipt.id, user_id),
                lambda: self._elsewhere(receipt.id, user_id),
                lambda: self._beside(receipt),
                lambda: self._archived(receipt.id, user_id),
            )
            if not all(_until_nothing(step, deadline) for step in steps):
                break
            (ended,) = _insisting(lambda: erasures.end(self.database, receipt))
            if ended is not None:
                return ended
        found = past_dead_connections(lambda: erasures.find(self.database, receipt.id))
        return receipt if found is None else found

    # ---- each of these does some of it, and says whether there is more

    def _elsewhere(self, id_: UUID, user_id: UserId) -> bool:
        sessions = past_dead_connections(lambda: traces.find(self.database, user_id, _AT_ONCE))
        for session_id in sessions:
            self._blot(id_, user_id, session_id)
        return bool(sessions)

    def _blot(self, id_: UUID, user_id: UserId, session_id: SessionId) -> None:
        done = again_and_again(
            Deadline.after(_PATIENCE_S),
            lambda: traces.blot(self.database, id_, user_id, session_id) or None,
        )
        if isinstance(done, Blotted):
            key, waits = conversation_key(session_id), allowance(self.farewell.wait_s)
            self.farewell.shelf.mark(key, done.epoch, done.version, waits)
            self.partials.forget(session_id, done.epoch)

    def _own(self, id_: UUID, user_id: UserId) -> bool:
        sessions = past_dead_connections(lambda: erasures.own(self.database, user_id, _AT_ONCE))
        for known in sessions:
            self.farewell(known)
            (gone,) = _insisting(partial(erasures.erase, self.database, id_, known.session_id))
            if gone is not None:
                self.farewell(gone)
            self.partials.forget(known.session_id, (gone or known).lease_epoch + 1)
        self._note(id_, {"cache.conversations": len(sessions)})
        return bool(sessions)

    def _beside(self, receipt: Erasure) -> bool:
        gone = past_dead_connections(lambda: erasures.erase_beside(self.database, receipt, _AT_ONCE))
        for session_id, beside in gone:
            if self.farewell.layered is not None:
                self.farewell.layered.forget(beside[0], session_id, beside[1])
        self._note(receipt.id, {"cache.application_sessions": len(gone)})
        return bool(gone)

    def _archived(self, id_: UUID, user_id: UserId) -> bool:
        if self.archive is not None:
            self._note(id_, {"archive.objects": self.archive.forget_user(user_id)})
        return False

    def _note(self, id_: UUID, counts: dict[str, int]) -> None:
        if any(counts.values()):
            erasures.note(self.database, id_, counts)


def _insisting(attempt: Callable[[], T]) -> tuple[T]:
    """Past whoever was quicker; what it gives may be nothing."""
    return again_and_again(Deadline.after(_PATIENCE_S), lambda: (attempt(),))


def _until_nothing(step: Callable[[], bool], deadline: Deadline) -> bool:
    """False: the time is over, and there may be more."""
    while deadline.left_s():
        if not step():
            return True
    return False
