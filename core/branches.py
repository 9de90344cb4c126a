"""Branches: a conversation is forked, told no further than a message, made a part of another; and the last two are taken back.

Each try reads how the conversations stand, decides (`core/branching.py`), and writes one statement at the versions that were read.
If somebody else was quicker, nothing was written, and it is decided anew. A reply that was lost is asked for again without harm:
what was done is found on record, and not done twice.
"""

from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4, uuid5

from core import joining
from core.access import Role, Who, caller
from core.agents.builtin import SET_TODOS
from core.branching import Keep, must_be_cut, todos_of
from core.cache.allowance import allowance
from core.deadline import Deadline
from core.entrance import enter, require
from core.errors import (
    FieldProblem,
    IdempotencyKeyReused,
    InvalidRequest,
    NothingToRewind,
    RevisionNotFound,
    RoleTooSmall,
    SessionBusy,
    SessionNotFound,
    TooLateToUndo,
    UndoOver,
)
from core.ids import SessionId
from core.joining import BUSY, Preview
from core.sessions.current import CurrentSessions, Told
from core.sessions.farewell import conversation_key
from core.store import cuts, forks, merges, revisions
from core.store.database import Database
from core.store.forks import NewFork
from core.store.revisions import Revised, Revision, Since
from core.store.visitors import Visit
from core.tries import again_and_again, past_dead_connections
from core.values import dataclass

T = TypeVar("T")

_PATIENCE_S: Final = 5.0
_MOST_LISTED: Final = 100
# More messages than any conversation has.
_END: Final = 2**62


@dataclass(frozen=True, slots=True)
class Forked:
    session_id: SessionId
    # False: it was made before, under the same key.
    is_new: bool


@dataclass(frozen=True, slots=True)
class Branches:
    database: Database
    current: CurrentSessions
    # How long a rewind and a merge can be taken back.
    undo_s: int

    # ---- a fork

    def fork(
        self,
        who: Who,
        at: int | None = None,
        metadata: dict[str, Any] | None = None,
        *,
        key: str | None = None,
        asked: str = "",
    ) -> Forked:
        """`at`: the last message that is copied; None: the last that can be. `asked`: a digest of what is asked for, which the
        same key may not come with another of.
        """
        own_id = uuid4()
        return _tried(lambda: self._fork(who, at, metadata, key, asked, own_id))

    def _fork(
        self,
        who: Who,
        at: int | None,
        metadata: dict[str, Any] | None,
        key: str | None,
        asked: str,
        own_id: UUID,
    ) -> Forked | None:
        visit = enter(self.database, who, Role.EDITOR)
        if visit.user_id is None:
            raise RoleTooSmall(
                "A fork needs somebody whom it belongs to, and nobody knows this device yet: send a message first."
            )
        named = uuid5(visit.session_id, f"fork {visit.user_id} {key}")
        fork_id = SessionId(own_id if key is None else named)
        found = cuts.around(self.database, visit.session_id, _END if at is None else at)
        if found is None or found.version != visit.version:
            return None
        place = _place(found, at)
        todos = None
        if place != found.newest or found.has_open_turn:
            todos = todos_of(forks.todos_said(self.database, visit.session_id, place, SET_TODOS))
        said = f"of {visit.session_id} up to message {'(newest)' if at is None else at} {asked}".strip()
        new = NewFork(fork_id, visit.user_id, place, metadata, todos, said)
        if forks.make(self.database, visit.session_id, visit.version, new):
            return Forked(fork_id, is_new=True)
        return self._made_before(new)

    def _made_before(self, new: NewFork) -> Forked | None:
        """None: the source has changed."""
        made = forks.find(self.database, new.id)
        if made is None:
            return None
        if made.user_id != new.user_id or made.asked != new.asked:
            raise IdempotencyKeyReused(
                "This Idempotency-Key came before with another fork of this conversation."
            )
        if not made.is_alive:
            raise SessionNotFound("The fork that was made under this Idempotency-Key has ended since.")
        return Forked(new.id, is_new=False)

    # ---- a rewind

    def rewind(self, who: Who, to: int) -> Revision:
        """The model is told nothing any more of what was said behind the message `to`; 0: of anything."""
        revision_id = uuid4()
        return _tried(lambda: self._rewind(who, to, revision_id))

    def _rewind(self, who: Who, to: int, revision_id: UUID) -> Revision | None:
        visit = enter(self.database, who, Role.EDITOR)
        found = cuts.around(self.database, visit.session_id, to)
        if found is None or found.version != visit.version:
            return None
        if to:
            must_be_cut(found, to, "to")
        if found.is_busy:
            raise SessionBusy(BUSY)
        if not found.told_behind:
            return self._as_before(who, visit, self._rewound_before(visit, to, found.message_seq))
        done = revisions.rewind(
            self.database,
            visit.session_id,
            visit.version,
            revision_id,
            to,
            by=visit.user_id,
            undo_s=self.undo_s,
        )
        return None if done is None else self._revised(who, visit, revision_id, done)

    def _rewound_before(self, visit: Visit, to: int, last: int) -> UUID:
        """The same again, of whoever did not hear of the first."""
        for revision in revisions.listed(self.database, visit.session_id, 1):
            told = (revision.kind, revision.first_seq, revision.last_seq, revision.undone_at)
            if told == ("rewind", to + 1, last, None):
                return revision.id
        raise NothingToRewind

    # ---- a merge

    def preview(self, who: Who, source_id: SessionId, keep: Keep) -> Preview:
        """What a merge would do, as of now."""
        return _tried(lambda: self._preview(who, source_id, keep))

    def _preview(self, who: Who, source_id: SessionId, keep: Keep) -> Preview | None:
        return joining.preview(self.database, who, enter(self.database, who, Role.OWNER), source_id, keep)

    def merge(self, who: Who, source_id: SessionId, keep: Keep, seen: Collection[str] | None) -> Revision:
        """`seen`: the `etag` of the preview that the owner was shown; `*`: whatever there is. One of several will do."""
        revision_id = uuid4()
        return _tried(lambda: self._merge(who, source_id, keep, seen, revision_id))

    def _merge(
        self, who: Who, source_id: SessionId, keep: Keep, seen: Collection[str] | None, revision_id: UUID
    ) -> Revision | None:
        visit = enter(self.database, who, Role.OWNER)
        if before := merges.merged(self.database, visit.session_id, source_id):
            self._is_nobodys(source_id, before.source_epoch)
            return self._as_before(who, visit, before.id)
        shown = joining.preview(self.database, who, visit, source_id, keep)
        if shown is None:
            return None
        done = joining.join(self.database, visit, shown, seen, revision_id, self.undo_s)
        if done is None:
            return None
        self._is_nobodys(source_id, done.source_epoch)
        return self._revised(who, visit, revision_id, Revised(done.version, done.epoch))

    def _is_nobodys(self, session_id: SessionId, epoch: int) -> None:
        """No reader that was slow shows it to anybody."""
        shelf, waits = self.current.shelf, allowance(self.current.budget_s)
        shelf.mark(conversation_key(session_id), epoch, 0, waits, ended=True)

    # ---- what was done, and back

    def revisions(self, who: Who) -> list[Revision]:
        """The newest first."""
        visit = enter(self.database, who)
        return past_dead_connections(lambda: revisions.listed(self.database, visit.session_id, _MOST_LISTED))

    def undo(self, who: Who, revision_id: UUID) -> Revision:
        return _tried(lambda: self._undo(who, revision_id))

    def _undo(self, who: Who, revision_id: UUID) -> Revision | None:
        visit = enter(self.database, who)
        revision = revisions.find(self.database, visit.session_id, revision_id)
        if revision is None:
            raise RevisionNotFound
        require(visit, Role.EDITOR if revision.kind == "rewind" else Role.OWNER)
        if revision.undone_at is not None:
            return self._as_before(who, visit, revision.id)
        if revision.is_over:
            raise UndoOver
        if revision.source_id is None:
            done = self._undo_rewind(visit, revision)
        else:
            parted = joining.part(self.database, visit, revision, revision.source_id)
            done = None if parted is None else Revised(parted.version, parted.epoch)
        return None if done is None else self._revised(who, visit, revision_id, done)

    def _undo_rewind(self, visit: Visit, revision: Revision) -> Revised | None:
        since = revisions.since(self.database, visit.session_id, revision.id)
        if since is None or since.version != visit.version:
            return None
        _must_be_last(since)
        return revisions.undo_rewind(
            self.database, visit.session_id, visit.version, revision.id, by=visit.user_id
        )

    # ---- each of them

    def _as_before(self, who: Who, visit: Visit, revision_id: UUID) -> Revision | None:
        """It was done already, and its reply may have been lost before the cache knew of it."""
        return self._revised(who, visit, revision_id, Revised(visit.version, visit.epoch))

    def _revised(self, who: Who, visit: Visit, revision_id: UUID, done: Revised) -> Revision | None:
        told = Told(visit.session_id, done.version)
        self.current.changed(caller(who).device_id, told, done.epoch)
        return revisions.find(self.database, visit.session_id, revision_id)


def _tried(attempt: Callable[[], T | None]) -> T:
    return again_and_again(Deadline.after(_PATIENCE_S), attempt)


def _place(found: cuts.Cuts, at: int | None) -> int:
    if at is not None:
        must_be_cut(found, at, "at")
        return at
    if found.newest is None:
        if found.has_open_turn:
            raise SessionBusy(
                "The first message of this conversation is still being answered. Nothing was stored."
            )
        raise InvalidRequest(errors=(FieldProblem("at", "cannot be chosen: nothing was said yet"),))
    return found.newest


def _must_be_last(since: Since) -> None:
    if since.is_busy:
        raise SessionBusy(BUSY)
    reasons = (
        (since.was_talked_on, "messages were said since, which stand on what is left"),
        (since.was_rewound, "it was rewound further since: undo that first"),
        (since.was_unmerged, "a merge that it covers was taken back since"),
        (
            since.was_settled,
            "what came of one of its calls was settled since, and the model would not know of it",
        ),
    )
    for is_so, why in reasons:
        if is_so:
            raise TooLateToUndo(f"This rewind stays: {why}. Nothing was stored.")
