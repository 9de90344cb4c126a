"""A shelf over an authority: reads are answered from the shelf where it can be believed, and a shelf that fails changes no answer.

What can go wrong, and why it cannot:

* A slow writer puts an older entry over a newer one. Entries are ordered by (epoch, version), and a shelf refuses what is older.
* A put was lost, so an entry is old. Its reader would write by it: then the authority refuses, and gives back what stands there.
  Its reader would answer by it: not what this process has told anybody already was superseded (the floor), and not for long,
  for an entry is believed only until a read would extend its time, which is a minute at the most.
* A session was deleted: its end is marked on the shelf, and only a larger epoch comes after that.

In the mode `write-only-backup` one process keeps the sessions on its shelf, and reads ask the authority only for what is not
there. It is written on each change, and when the time is extended, which is when an end made elsewhere is noticed.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from core.cache.allowance import Allowance, allowance
from core.cache.clock import Clock, utc_now
from core.cache.entry import Entry
from core.cache.shelf import Shelf
from core.errors import StorageUnavailable
from core.sessions.storage import Health, NewRecord, Record, Stamp, Storage, Swapped

Mode = Literal["sync-on-access", "write-only-backup"]

_BUDGET_S: Final = 0.15
_MOST_FLOORS: Final = 10_000
# Past every version that there is, and still a number that Lua can hold.
_LAST_VERSION: Final = 2**53 - 1


def shelf_key(namespace: str, session_id: UUID) -> str:
    """Not `session:{id}` alone: at that key lies the conversation of this ID, or the session itself in a RedisStorage."""
    return f"shelf:{namespace}:session:{session_id}"


class LayeredStorage:
    def __init__(
        self,
        authority: Storage,
        shelf: Shelf,
        *,
        mode: Mode = "sync-on-access",
        budget_s: float = _BUDGET_S,
        clock: Clock = utc_now,
    ) -> None:
        self.kind = f"shelf over {authority.kind}"
        self._authority = authority
        self._shelf = shelf
        self._is_backup = mode == "write-only-backup"
        self._budget_s = budget_s
        self._clock = clock
        self._floors = _Floors()

    def create(self, namespace: str, new: NewRecord, most_per_user: int) -> Record:
        made = self._authority.create(namespace, new, most_per_user)
        self._offer(namespace, made, self._allowance())
        return made

    def store_many(
        self, namespace: str, news: Sequence[NewRecord], most_per_user: int
    ) -> list[Record | None]:
        """Whoever reads them first puts them on the shelf."""
        return self._authority.store_many(namespace, news, most_per_user)

    def load(self, namespace: str, session_id: UUID, *, extend: bool, certain: bool = False) -> Record | None:
        allowance = self._allowance()
        shelved = None if certain else self._believed(namespace, session_id, allowance)
        if shelved is None:
            return self._load(namespace, session_id, extend, allowance)
        if extend and shelved.extends_at <= self._clock():
            return self._extended(namespace, shelved, allowance)
        return shelved

    def swap(self, namespace: str, session_id: UUID, seen: Stamp, body: str) -> Swapped:
        allowance = self._allowance()
        try:
            swapped = self._authority.swap(namespace, session_id, seen, body)
        except StorageUnavailable:
            # It may have been written. Until that is known nobody is shown what stood there before.
            self._shelf.mark(shelf_key(namespace, session_id), seen.epoch, seen.version + 1, allowance)
            raise
        if swapped.stands is None:
            self._forget(namespace, session_id, seen.epoch, allowance)
        else:
            self._offer(namespace, swapped.stands, allowance)
        return swapped

    def delete(self, namespace: str, session_ids: Sequence[UUID]) -> dict[UUID, int]:
        """A round trip to the shelf for each."""
        deleted = self._authority.delete(namespace, session_ids)
        allowance = self._allowance()
        for session_id in session_ids:
            epoch = deleted.get(session_id) or self._epoch_shelved(namespace, session_id, allowance)
            if epoch is not None:
                self._forget(namespace, session_id, epoch, allowance)
        return deleted

    def exists(self, namespace: str, session_id: UUID) -> bool:
        if self._believed(namespace, session_id, self._allowance()) is not None:
            return True
        return self._authority.exists(namespace, session_id)

    def expire(self, namespace: str, session_id: UUID, ttl_s: int) -> Record | None:
        record = self._authority.expire(namespace, session_id, ttl_s)
        if record is not None:
            self._offer(namespace, record, self._allowance())
        return record

    def left_s(self, namespace: str, session_id: UUID) -> float | None:
        """Of the authority, which alone knows when it was used last."""
        if self._is_backup:
            record = self._believed(namespace, session_id, self._allowance())
            if record is not None:
                return (record.expires_at - self._clock()).total_seconds()
        return self._authority.left_s(namespace, session_id)

    def of_user(self, namespace: str, user_id: UUID) -> list[UUID]:
        return self._authority.of_user(namespace, user_id)

    def clean_up(self, namespace: str, user_id: UUID | None, limit: int) -> int:
        return self._authority.clean_up(namespace, user_id, limit)

    def health(self) -> Health:
        return replace(self._authority.health(), kind=self.kind)

    def close(self) -> None:
        self._authority.close()

    def _allowance(self) -> Allowance:
        return allowance(self._budget_s)

    def _believed(self, namespace: str, session_id: UUID, allowance: Allowance) -> Record | None:
        key = shelf_key(namespace, session_id)
        entry = self._shelf.look(key, allowance)
        if entry is None or Stamp(entry.epoch, entry.version) < self._floors.of(key):
            return None
        record = _record(session_id, entry)
        if record is None or self._good_until(record) <= self._clock():
            return None
        self._floors.raise_to(key, record.stamp)
        # Where one process keeps them itself, nobody else knows of anything newer.
        return replace(record, is_certain=self._is_backup)

    def _load(self, namespace: str, session_id: UUID, extend: bool, allowance: Allowance) -> Record | None:
        record = self._authority.load(namespace, session_id, extend=extend)
        if record is not None:
            self._offer(namespace, record, allowance)
        return record

    def _extended(self, namespace: str, shelved: Record, allowance: Allowance) -> Record | None:
        try:
            record = self._load(namespace, shelved.session_id, True, allowance)
        except StorageUnavailable:
            if self._is_backup:
                return shelved
            raise
        if record is None:
            self._forget(namespace, shelved.session_id, shelved.epoch, allowance)
        return record

    def _offer(self, namespace: str, record: Record, allowance: Allowance) -> None:
        key = shelf_key(namespace, record.session_id)
        self._floors.raise_to(key, record.stamp)
        entry = Entry(record.epoch, record.version, _body(record), self._good_until(record))
        self._shelf.offer(key, entry, allowance)

    def forget(self, namespace: str, session_id: UUID, epoch: int) -> None:
        """The authority has ended it past this storage."""
        self._forget(namespace, session_id, epoch, self._allowance())

    def _forget(self, namespace: str, session_id: UUID, epoch: int, allowance: Allowance) -> None:
        key = shelf_key(namespace, session_id)
        self._floors.raise_to(key, Stamp(epoch, _LAST_VERSION))
        self._shelf.mark(key, epoch, _LAST_VERSION, allowance, ended=True)

    def _epoch_shelved(self, namespace: str, session_id: UUID, allowance: Allowance) -> int | None:
        entry = self._shelf.look(shelf_key(namespace, session_id), allowance)
        return None if entry is None else entry.epoch

    def _good_until(self, record: Record) -> datetime:
        return record.expires_at if self._is_backup else record.extends_at


class _Floors:
    """The newest that this process has told anybody of each session. Bounded: those told of longest ago are forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._floors: OrderedDict[str, Stamp] = OrderedDict()

    def of(self, key: str) -> Stamp:
        with self._lock:
            return self._floors.get(key, Stamp(0, 0))

    def raise_to(self, key: str, stamp: Stamp) -> None:
        with self._lock:
            self._floors[key] = max(stamp, self._floors.get(key, stamp))
            self._floors.move_to_end(key)
            while len(self._floors) > _MOST_FLOORS:
                self._floors.popitem(last=False)


def _body(record: Record) -> str:
    user = None if record.user_id is None else str(record.user_id)
    times = (record.created_at.isoformat(), record.last_active_at.isoformat())
    return json.dumps([user, record.ttl_s, *times, record.body], separators=(",", ":"))


def _record(session_id: UUID, entry: Entry) -> Record | None:
    """None: it is an entry, and not one of ours."""
    try:
        user, ttl_s, created, active, body = json.loads(entry.body)
        return Record(
            session_id=session_id,
            user_id=None if user is None else UUID(user),
            epoch=entry.epoch,
            version=entry.version,
            body=body,
            ttl_s=ttl_s,
            created_at=datetime.fromisoformat(created),
            last_active_at=datetime.fromisoformat(active),
        )
    except (ValueError, TypeError):
        return None
