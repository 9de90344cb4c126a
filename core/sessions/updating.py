"""One update of a session: read, change, write over what was read; again, if somebody else was quicker.

What can go wrong, and why it cannot:

* Two change it at once. The write names the version that was read, and the second is refused and does it again on what the
  first left.
* A reply is lost, so nobody knows whether the change was stored. It carries a name, and a session names its last updates: before the
  change is tried again it is looked for. Where so many came after it that it would not be named any more, that is said.
  A try that is still under way names the same version as its successor, so of both only one is ever stored.
* What the change was made of came from a shelf and was old. A write over it is refused; and where the change wrote nothing,
  or raised, the authority is asked whether it saw the newest.
"""

import random
import time
from collections.abc import Callable
from typing import Final, Generic
from uuid import UUID

from core.deadline import Deadline
from core.errors import LatchkeyError, NoSuchSession, SessionContended, StorageUnavailable, UpdateUncertain
from core.ids import SessionId, UserId
from core.sessions.codec import Body, Codec, without_updates
from core.sessions.lanes import Lane
from core.sessions.session import Session, State
from core.sessions.storage import Record, Stamp, Storage
from core.values import dataclass

MOST_TRIES: Final = 500
# A refusal gives back the newest there is, so waiting would only make it older; who has lost so often steps aside a while.
_AT_ONCE: Final = 8
_LONGEST_PAUSE_S: Final = 0.02
_LOOKS: Final = 3

Change = Callable[[Session[State]], Session[State]]


def shown(record: Record, body: Body[State]) -> Session[State]:
    return Session(
        id=SessionId(record.session_id),
        user_id=None if record.user_id is None else UserId(record.user_id),
        org_id=body.org_id,
        workspace_path=body.workspace_path,
        mcp_client_ids=body.mcp_client_ids,
        system_prompt=body.system_prompt,
        metadata=body.metadata,
        state=body.state,
        created_at=record.created_at,
        last_active_at=record.last_active_at,
        epoch=record.epoch,
        version=record.version,
        ttl_s=record.ttl_s,
    )


@dataclass(slots=True)
class Updating(Generic[State]):
    storage: Storage
    codec: Codec[State]
    namespace: str
    session_id: UUID
    change: Change[State]
    # The same however often it is tried.
    name: str
    extend_on_read: bool
    deadline: Deadline
    lane: Lane
    # How often somebody else was quicker.
    refusals: int = 0
    # What our last write was to replace, if nobody knows whether it was carried out.
    unsure: Stamp | None = None

    def run(self, record: Record | None) -> Session[State]:
        """`record`: as the predecessor in this process left it, if it did."""
        if record is None:
            # A shelf will do: a write over what is old is refused.
            record = self.storage.load(self.namespace, self.session_id, extend=self.extend_on_read)
        for _ in range(MOST_TRIES):
            if record is None:
                raise NoSuchSession
            body = self.codec.read(record.body)
            if body.has(self.name):
                return shown(record, body)
            self._must_be_known(record, body)
            if not self.deadline.left_s():
                break
            done, record = self._attempt(record, body)
            if done is not None:
                return done
        raise self._why_given_up(record)

    def _attempt(self, record: Record, body: Body[State]) -> tuple[Session[State] | None, Record | None]:
        """The session, when it is done; else what to try it on next."""
        updates = body.updated_by(self.name, record.version + 1)
        try:
            changed = _checked(shown(record, body), self.change)
        except Exception:
            # Whatever it is, it is the caller's to hear of: unless it came of something old.
            newest = record if record.is_certain else self._load(extend=False)
            if newest is not None and newest.stamp == record.stamp:
                raise
            return None, newest
        text, kept = self.codec.write(_body_of(changed, updates))
        if without_updates(text) == without_updates(record.body):
            return self._unchanged(record, kept)
        return self._swap(record, text, kept)

    def _unchanged(self, record: Record, body: Body[State]) -> tuple[Session[State] | None, Record | None]:
        """Nothing is written, and its time is extended all the same."""
        if record.is_certain and self.extend_on_read:
            return shown(record, body), None
        newest = self._load(extend=True)
        if newest is not None and newest.stamp == record.stamp:
            return shown(newest, body), None
        return None, newest

    def _swap(
        self, record: Record, text: str, kept: Body[State]
    ) -> tuple[Session[State] | None, Record | None]:
        arrived = self.lane.arrived()
        try:
            swapped = self.storage.swap(self.namespace, self.session_id, record.stamp, text)
        except StorageUnavailable as lost:
            self.unsure = record.stamp
            return None, self._look(lost)
        if swapped.done and swapped.stands is not None:
            self.lane.leave(swapped.stands, arrived)
            return shown(swapped.stands, kept), None
        self._step_aside()
        return None, swapped.stands

    def _look(self, lost: StorageUnavailable) -> Record | None:
        """What stands there now, after a reply was lost."""
        for _ in range(_LOOKS):
            try:
                return self._load(extend=False)
            except StorageUnavailable:
                time.sleep(min(random.uniform(0, 0.1), self.deadline.left_s()))  # noqa: S311 - spreads them out
        raise UpdateUncertain from lost

    def _load(self, *, extend: bool) -> Record | None:
        """Who asks again wants to know."""
        return self.storage.load(self.namespace, self.session_id, extend=extend, certain=True)

    def _must_be_known(self, record: Record, body: Body[State]) -> None:
        """The update is not named. Was it not stored, or is it too long ago?"""
        if self.unsure is None or self.unsure.epoch != record.epoch or self.unsure == record.stamp:
            return
        if not body.reaches_back_to(self.unsure.version + 1):
            raise UpdateUncertain

    def _step_aside(self) -> None:
        self.refusals += 1
        if self.refusals >= _AT_ONCE:
            time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 - spreads out those who collide

    def _why_given_up(self, record: Record | None) -> LatchkeyError:
        if record is not None and self.unsure == record.stamp:
            # It may still be under way, and be stored when we have gone.
            return UpdateUncertain()
        return SessionContended()


def _checked(seen: Session[State], change: Change[State]) -> Session[State]:
    changed: object = change(seen)
    if not isinstance(changed, Session):
        raise TypeError(
            f"an update returns the session that it was given, changed; not {type(changed).__name__}"
        )
    if _fixed(changed) != _fixed(seen):
        raise TypeError("an update cannot change whose session it is, its times, or its version")
    return changed


def _fixed(session: Session[State]) -> tuple[object, ...]:
    times = (session.created_at, session.last_active_at, session.ttl_s)
    return (session.id, session.user_id, session.epoch, session.version, *times)


def _body_of(session: Session[State], before: Body[State]) -> Body[State]:
    return Body(
        state=session.state,
        org_id=session.org_id,
        workspace_path=session.workspace_path,
        mcp_client_ids=tuple(session.mcp_client_ids),
        system_prompt=session.system_prompt,
        metadata=dict(session.metadata),
        updates=before.updates,
    )
