"""The desk: somebody's conversations are listed, begun, entered and edited there."""

from collections.abc import Callable
from typing import Final
from uuid import UUID, uuid5

from core.access import Caller, Role
from core.deadline import Deadline
from core.editing import Metadata, are_same, merged
from core.entrance import enter, nothing_for
from core.errors import DatabaseConflict, IdempotencyKeyReused, NotAsSeen
from core.ids import SessionId, new_session_id, new_user_id
from core.sessions.current import CurrentSessions, Told
from core.store import metadata, sessions, user_sessions, visitors
from core.store.database import Database
from core.store.sessions import StoredSession
from core.store.user_sessions import Beginning, Listed, Moved, Place
from core.store.visitors import Visit
from core.tries import again_and_again, past_dead_connections
from core.values import dataclass

# How long a change is tried that others are quicker than.
PATIENCE_S: Final = 5.0
_BEGUN: Final = UUID("6b6df5f0-5c43-4c39-9d6f-0a4a6e0d9a11")

# Whether a conversation still is as whoever edits it saw it.
AsSeen = Callable[[StoredSession], bool]


@dataclass(frozen=True, slots=True)
class Desk:
    database: Database
    current: CurrentSessions
    lock_ttl_s: int
    idle_ttl_s: int

    def listed(self, caller: Caller, before: Place | None, limit: int) -> tuple[list[Listed], bool]:
        """The newest first, and whether there are more."""
        found = past_dead_connections(lambda: user_sessions.page(self.database, caller, before, limit + 1))
        if not found and past_dead_connections(lambda: visitors.is_barred(self.database, caller)):
            raise nothing_for(self.database, caller)
        return found[:limit], len(found) > limit

    def begin(self, caller: Caller, given: Metadata, key: str | None) -> StoredSession:
        """An empty one, which the device is in from now on. The same key gives the same one, as it is by then."""
        session_id = _session_id(caller, key)
        beginning = Beginning(
            caller.about(None), session_id, new_user_id(), given, self.lock_ttl_s, self.idle_ttl_s
        )

        begun = caller.about(session_id)

        def attempt() -> StoredSession | None:
            moved = user_sessions.begin(self.database, beginning)
            if moved is not None:
                self.current.figures.count("conversations.begun")
                self._told(caller, moved)
            elif visitors.is_barred(self.database, caller):
                raise nothing_for(self.database, caller)
            found = sessions.find(self.database, begun)
            if found is None and user_sessions.is_gone(self.database, begun):
                raise IdempotencyKeyReused(
                    "What was begun with this Idempotency-Key is not there any more. A new conversation needs a new key."
                )
            return found

        return again_and_again(Deadline.after(PATIENCE_S), attempt)

    def enter(self, caller: Caller, session_id: SessionId) -> StoredSession:
        """From now on the device is in it. Only as whom it was given a role for good: what a link opens is looked at by that link."""
        visitor = Caller(caller.device_id, caller.token_version, caller.subject, None, session_id)

        def attempt() -> Moved | None:
            moved = user_sessions.enter(self.database, visitor)
            if moved is False:
                raise nothing_for(self.database, visitor)
            return moved if isinstance(moved, Moved) else None

        self._told(caller, again_and_again(Deadline.after(PATIENCE_S), attempt))
        return self.look(visitor)

    def edit(self, caller: Caller, part: Metadata, as_seen: AsSeen | None) -> StoredSession:
        """What the part names is set, or taken away; nothing is overwritten that was not seen."""

        def attempt() -> StoredSession | None:
            found = self.read(caller, Role.EDITOR, as_seen)
            if found is None:
                return None
            visit, session = found
            after = merged(session.metadata, part)
            if are_same(after, session.metadata):
                return session
            changed = metadata.put(self.database, visit, after)
            if changed is None:
                return None
            told = Told(changed.session_id, changed.version)
            self.current.changed(caller.device_id, told, changed.epoch)
            return self.look(caller.about(changed.session_id))

        return again_and_again(Deadline.after(PATIENCE_S), attempt)

    def read(
        self, caller: Caller, needed: Role, as_seen: AsSeen | None
    ) -> tuple[Visit, StoredSession] | None:
        """A conversation and what the caller is in it, both as of one version. None: it was changed between the two looks."""
        visit = enter(self.database, caller, needed)
        session = sessions.find(self.database, caller.about(visit.session_id))
        if session is None or session.version != visit.version:
            return None
        if as_seen is not None and not as_seen(session):
            raise NotAsSeen
        return visit, session

    def version_seen(self, caller: Caller, as_seen: AsSeen) -> int:
        """Of a conversation that still is as whoever edits it saw it."""
        found = self.read(caller, Role.EDITOR, as_seen)
        if found is None:
            raise DatabaseConflict
        return found[0].version

    def look(self, caller: Caller) -> StoredSession:
        """As it is by now, after a change."""
        found = past_dead_connections(lambda: sessions.find(self.database, caller))
        if found is None:
            raise nothing_for(self.database, caller)
        self.current.told.note(caller.device_id, Told(found.id, found.version))
        return found

    def _told(self, caller: Caller, moved: Moved) -> None:
        if moved.left is not None:
            left = Told(moved.left.session_id, moved.left.version)
            self.current.changed_for_others(left, moved.left.epoch)
        entered = Told(moved.entered.session_id, moved.entered.version)
        self.current.changed(caller.device_id, entered, moved.entered.epoch)


def _session_id(caller: Caller, key: str | None) -> SessionId:
    return new_session_id() if key is None else SessionId(uuid5(_BEGUN, f"{caller.device_id} {key}"))
