"""The conversation that a device is in, as `GET /v1/session` shows it: from the cache where that may be believed, else from
Postgres.

What can go wrong, and why no answer is older than what its reader knows:

* *A turn begins.* Only a conversation at rest is put into the cache, and the claim of a turn marks it as begun: an entry of
  an earlier epoch is no longer believed, and none can be put back by a reader that was slow.
* *Something changes without a turn*: the lock, what came of a call. It marks the entry too, before it is told to anybody.
* *A mark does not arrive, or the cache forgets it, or shows what it held long ago.* Whoever was told of a version is never
  shown an earlier one: this process remembers what it told each device, and a client that sends back the last
  `X-Session-Version` it saw is held to it by all processes. For everybody else an entry is good for a minute at the most.
* *The device went to another conversation.* The entry names the devices that are in it, and which conversation is looked for
  is a guess that what the client was told last must agree with.
* *Somebody is put out, or signed out.* An entry is for the owner's own devices alone, each with what it showed of itself, as a
  digest: a token of another version, or another user's, is not answered from it. Whoever signs a device out marks the
  conversation that it is in; were that mark lost, the entry is good for a minute at the most, like any.
* *A conversation is named, or opened by a link.* Then Postgres is asked, for what somebody is in it stands there alone.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field, fields
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Final
from uuid import UUID

from core.access import Caller, Role, Who, caller
from core.cache.allowance import Allowance, allowance
from core.cache.entry import Entry
from core.cache.shelf import Shelf
from core.entrance import nothing_for
from core.errors import DatabaseNotConfigured
from core.figures import Figures
from core.ids import DeviceId, SessionId
from core.sessions.farewell import conversation_key
from core.sessions.storage import slack_s
from core.store import sessions
from core.store.database import Database
from core.store.endings import EndedSession
from core.store.sessions import StoredSession
from core.tries import past_dead_connections
from core.values import dataclass

# No version comes after the end.
ENDED: Final = 2**63 - 1
_FIRST_EPOCH: Final = 1
_MOST_TOLD: Final = 10_000


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody was last told of: a conversation, as it was at a version."""

    session_id: SessionId
    version: int


class WhatWasTold:
    """What this process told its devices last. It forgets those that it told nothing for the longest time."""

    def __init__(self, room: int = _MOST_TOLD) -> None:
        self._room = room
        self._told: OrderedDict[DeviceId, Told] = OrderedDict()
        self._lock = Lock()

    def of(self, device_id: DeviceId) -> Told | None:
        with self._lock:
            return self._told.get(device_id)

    def note(self, device_id: DeviceId, told: Told) -> None:
        """Answers of one conversation may come in another order than they were read in: the newest counts."""
        with self._lock:
            before = self._told.get(device_id)
            if before is None or before.session_id != told.session_id or before.version < told.version:
                self._told[device_id] = told
            self._told.move_to_end(device_id)
            while len(self._told) > self._room:
                self._told.popitem(last=False)


@dataclass(frozen=True, slots=True)
class CurrentSessions:
    # None: there are no conversations.
    _database: Database | None
    shelf: Shelf
    farewell: Callable[[EndedSession], None]
    budget_s: float
    figures: Figures = field(default_factory=Figures)
    told: WhatWasTold = field(default_factory=WhatWasTold)

    def look(self, who: Who, seen: Told | None = None) -> StoredSession:
        """`seen`: what the caller says it was told last, by whichever process."""
        database = self._database
        if database is None:
            raise DatabaseNotConfigured
        asked = caller(who)
        if asked.session_id is not None or asked.link is not None:
            return _look(database, asked)
        waits = allowance(self.budget_s)
        found = self._on_the_shelf(asked, seen, waits)
        if found is None:
            found = _look(database, asked)
            self._offer(found, asked, waits)
        self.told.note(asked.device_id, Told(found.id, found.version))
        return found

    @contextmanager
    def begun(self, session_id: SessionId, epoch: int) -> Iterator[None]:
        """Around the work on a turn that was claimed under this epoch: what is on the shelf is of the past. It is marked so
        beside that work, and known to be before it is told to anybody, if the shelf can be reached.
        """
        if epoch == _FIRST_EPOCH:
            # Of a conversation that nobody has read yet.
            self.figures.count("conversations.begun")
            yield
            return
        marked = self.shelf.mark_later(conversation_key(session_id), epoch, 0)
        try:
            yield
        finally:
            marked.join(allowance(self.budget_s))

    def changed(self, device_id: DeviceId, told: Told, epoch: int) -> None:
        """To be called after the change was committed, and before anybody is told."""
        self.shelf.mark(conversation_key(told.session_id), epoch, told.version, allowance(self.budget_s))
        self.told.note(device_id, told)

    def changed_for_others(self, told: Told, epoch: int) -> None:
        """The same, where whoever asked is told of another conversation, or of none."""
        self.shelf.mark(conversation_key(told.session_id), epoch, told.version, allowance(self.budget_s))

    def ended(self, device_id: DeviceId, ended: EndedSession) -> None:
        self.ended_by_others(ended)
        self.told.note(device_id, Told(ended.session_id, ENDED))

    def ended_by_others(self, ended: EndedSession) -> None:
        """The same, where whoever ended it is in none."""
        self.figures.count("conversations.ended")
        self.farewell(ended)

    def nowhere(self, device_id: DeviceId) -> None:
        """The device is in no conversation. What is still shown of one has ended, and nobody was told: the reply was lost."""
        waits = allowance(self.budget_s)
        told = self.told.of(device_id)
        session_id = self._guess(device_id, waits) if told is None else told.session_id
        if session_id is None:
            return
        entry = self.shelf.look(conversation_key(session_id), waits)
        if entry is not None and _read(entry, Caller(device_id)) is not None:
            self.shelf.mark(conversation_key(session_id), entry.epoch, 0, waits, ended=True)
        self.told.note(device_id, Told(session_id, ENDED))

    # ---- the shelf

    def _on_the_shelf(self, asked: Caller, seen: Told | None, waits: Allowance) -> StoredSession | None:
        floors = [told for told in (seen, self.told.of(asked.device_id)) if told is not None]
        session_id = floors[0].session_id if floors else self._guess(asked.device_id, waits)
        if session_id is None or any(floor.session_id != session_id for floor in floors):
            return None
        entry = self.shelf.look(conversation_key(session_id), waits)
        if entry is None or any(entry.version < floor.version for floor in floors):
            return None
        found = _read(entry, asked)
        return found if found is not None and found.id == session_id else None

    def _guess(self, device_id: DeviceId, waits: Allowance) -> SessionId | None:
        hint = self.shelf.recall(_name(device_id), waits)
        try:
            return None if hint is None else SessionId(UUID(hint))
        except ValueError:
            return None

    def _offer(self, found: StoredSession, asked: Caller, waits: Allowance) -> None:
        if not self.shelf.is_there or found.busy or found.has_open_turn or not _shows(_kept(found), asked):
            return
        # When the next look is to extend its time.
        good_until = found.last_active_at + timedelta(seconds=slack_s(found.idle_ttl))
        if found.lock_expires_at is not None:
            good_until = min(good_until, found.lock_expires_at)
        self.shelf.remember(_name(asked.device_id), str(found.id), found.idle_ttl)
        entry = Entry(found.lease_epoch, found.version, _body(found), good_until)
        self.shelf.offer(conversation_key(found.id), entry, waits)


def _name(device_id: DeviceId) -> str:
    return f"device:{_unnamed(device_id)}"


def _unnamed(device_id: DeviceId, *shown: object) -> str:
    """Who can read the cache can speak for no device, and learns nobody's name."""
    return hashlib.sha256(device_id.bytes + "".join(f" {part!r}" for part in shown).encode()).hexdigest()[:32]


# ---- a session as text, and back


def _look(database: Database, asked: Caller) -> StoredSession:
    found = past_dead_connections(lambda: sessions.look(database, asked))
    if found is None:
        raise nothing_for(database, asked)
    return found


_FIELDS: Final = tuple(field.name for field in fields(StoredSession))


def _body(session: StoredSession) -> str:
    kept = {name: _plain(getattr(session, name)) for name in _FIELDS}
    return json.dumps({**kept, "present": _kept(session)})


def _kept(session: StoredSession) -> list[list[str]]:
    """The owner's devices, each as digests of it alone, of it with its token's version, and of it with its user's name."""
    return [
        [
            _unnamed(present.device_id),
            _unnamed(present.device_id, present.token_version),
            _unnamed(present.device_id, present.subject),
        ]
        for present in session.present
    ]


def _shows(kept: list[list[str]], asked: Caller) -> bool:
    """Whether they are one of the owner's devices that are in it, by all that they show of themselves."""
    device = asked.device_id
    return any(
        alone == _unnamed(device)
        and (asked.token_version is None or versioned == _unnamed(device, asked.token_version))
        and (asked.subject is None or personal == _unnamed(device, asked.subject))
        for alone, versioned, personal in kept
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _read(entry: Entry, asked: Caller) -> StoredSession | None:
    """None: the device is not in it, or it was put there by a release that kept something else of a session."""
    try:
        kept = json.loads(entry.body)
        if kept.keys() != {name.name for name in fields(StoredSession)}:
            return None
        for name in _TIMES:
            kept[name] = None if kept[name] is None else datetime.fromisoformat(kept[name])
        kept["id"] = SessionId(UUID(kept["id"]))
        if not _shows(kept["present"], asked):
            return None
        kept["present"] = (asked,)
        kept["held_as"] = Role(kept["held_as"])
        return StoredSession(**kept)
    except (ValueError, TypeError, AttributeError, KeyError):
        return None


_TIMES: Final = ("locked_at", "lock_expires_at", "created_at", "last_active_at", "read_at")
