"""Sharing: who else is in a conversation, and the links that let people in."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeVar
from uuid import UUID, uuid4

from core.access import Caller, Role
from core.deadline import Deadline
from core.desk import PATIENCE_S
from core.digest import digest
from core.entrance import enter, nothing_for, require
from core.errors import (
    LinkNotFound,
    NotAsSeen,
    OwnerStays,
    RoleTooSmall,
    TooManyLinks,
    TooManyMembers,
    UserNotFound,
)
from core.ids import SessionId, UserId, new_user_id
from core.sessions.current import CurrentSessions, Told
from core.store import links, members, user_sessions
from core.store.database import Database
from core.store.links import Link, Revoked
from core.store.members import Member, PutOut
from core.store.user_sessions import Changed
from core.store.visitors import Visit
from core.tries import again_and_again, past_dead_connections
from core.values import dataclass

T = TypeVar("T")

_SECRET_BYTES: Final = 32

# Whether the members still are as whoever changes them saw them.
AsSeen = Callable[[Sequence[Member]], bool]


@dataclass(frozen=True, slots=True)
class NewLink:
    """A link with its secret, which is told once and kept nowhere."""

    link: Link
    secret: str


@dataclass(frozen=True, slots=True)
class Sharing:
    database: Database
    current: CurrentSessions

    def members(self, caller: Caller) -> list[Member]:
        found = past_dead_connections(lambda: members.listed(self.database, caller))
        if not found:
            raise nothing_for(self.database, caller)
        return found

    def let_in(
        self, caller: Caller, user_id: UserId, role: Role, as_seen: AsSeen | None = None
    ) -> list[Member]:
        """Or changes what they are. The same again changes nothing."""

        def attempt() -> list[Member] | None:
            visit = enter(self.database, caller, Role.OWNER)
            found = self._seen(caller, visit, as_seen)
            if user_id == visit.owner_id:
                raise OwnerStays
            if any((member.user_id, member.role) == (user_id, role) for member in found):
                return found
            admitted = members.put(self.database, visit, user_id, role)
            if not admitted.is_person:
                raise UserNotFound
            if not admitted.has_room:
                raise TooManyMembers
            if admitted.changed is None:
                return None
            self._changed(admitted.changed)
            return members.listed(self.database, caller)

        return self._again(attempt)

    def put_out(self, caller: Caller, user_id: UserId, as_seen: AsSeen | None = None) -> None:
        """Whoever is in it may also leave by this. Nothing is written on their behalf after. Who is no member stays none."""

        def attempt() -> bool | None:
            visit = enter(self.database, caller)
            if user_id == visit.owner_id:
                require(visit, Role.OWNER)
                raise OwnerStays
            if user_id != visit.user_id:
                require(visit, Role.OWNER)
            self._seen(caller, visit, as_seen)
            gone = members.put_out(self.database, visit, user_id)
            if isinstance(gone, PutOut):
                self._changed(gone.changed)
                return True
            return None if gone else True

        self._again(attempt)

    def links(self, caller: Caller) -> list[Link]:
        found = past_dead_connections(lambda: links.listed(self.database, caller))
        if found is None:
            raise nothing_for(self.database, caller)
        held_as, listed = found
        if held_as is not Role.OWNER:
            raise RoleTooSmall
        return listed

    def make_link(self, caller: Caller, role: Role, ttl_s: int) -> NewLink:
        link_id, random = uuid4(), secrets.token_urlsafe(_SECRET_BYTES)

        def attempt() -> NewLink | None:
            visit = enter(self.database, caller, Role.OWNER)
            secret = f"{visit.session_id}.{random}"
            made = links.make(self.database, visit, link_id, digest(secret), role, ttl_s)
            if made is False:
                raise TooManyLinks
            if made is True:
                return None
            changed, link = made
            self._changed(changed)
            return NewLink(link, secret)

        return self._again(attempt)

    def revoke_link(self, caller: Caller, link_id: UUID) -> None:
        def attempt() -> bool | None:
            visit = enter(self.database, caller, Role.OWNER)
            revoked = links.revoke(self.database, visit, link_id)
            if revoked is False:
                raise LinkNotFound
            if isinstance(revoked, Revoked):
                if revoked.changed is not None:
                    self._changed(revoked.changed)
                return True
            return None

        self._again(attempt)

    def join(self, caller: Caller, session_id: SessionId, link: str) -> SessionId:
        """By a link's secret, its digest: the caller's user is a member from now on, and never as less than they are."""
        user_sessions.meet(self.database, caller, new_user_id())
        by_link = replace(caller, session_id=session_id, link=link)

        def attempt() -> bool | None:
            visit = enter(self.database, by_link)
            if visit.user_id is None:
                return None
            if visit.user_id == visit.owner_id or self._has_as_much(caller, visit):
                return True
            admitted = members.join(self.database, visit, visit.user_id, link)
            if admitted.is_person and not admitted.has_room:
                raise TooManyMembers
            if admitted.changed is None:
                return None
            self._changed(admitted.changed)
            return True

        self._again(attempt)
        return session_id

    def _has_as_much(self, caller: Caller, visit: Visit) -> bool:
        """Without the link."""
        without = replace(caller, session_id=visit.session_id, link=None)
        found = members.listed(self.database, without)
        return any(
            member.user_id == visit.user_id and member.role.suffices_for(visit.held_as) for member in found
        )

    def _seen(self, caller: Caller, visit: Visit, as_seen: AsSeen | None) -> list[Member]:
        """They may have changed since the visit was read: then what is written at its version is not."""
        found = members.listed(self.database, caller.about(visit.session_id))
        if as_seen is not None and not as_seen(found):
            raise NotAsSeen
        return found

    def _changed(self, changed: Changed) -> None:
        told = Told(changed.session_id, changed.version)
        self.current.changed_for_others(told, changed.epoch)

    def _again(self, attempt: Callable[[], T | None]) -> T:
        return again_and_again(Deadline.after(PATIENCE_S), attempt)
