"""Application sessions in the memory of one process: for tests, and for a service that has neither Postgres nor Redis.

They end with the process, and no other process sees them. It is bounded: past `most_sessions` that are alive it takes no more,
for an authority must not forget one to make room for another.
"""

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from core.cache.clock import Clock, utc_now
from core.errors import StorageUnavailable, TooManySessions
from core.sessions.storage import Health, NewRecord, Record, Stamp, Swapped

_MOST_SESSIONS: Final = 100_000
# So many before the first look for what is gone.
_FIRST_SWEEP: Final = 1_000
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_Key = tuple[str, UUID]


class MemoryStorage:
    kind = "memory"

    def __init__(self, clock: Clock = utc_now, *, most_sessions: int = _MOST_SESSIONS) -> None:
        self._clock = clock
        self._most_sessions = most_sessions
        self._lock = threading.Lock()
        self._kept: dict[_Key, Record] = {}
        self._of: dict[_Key, set[UUID]] = {}
        self._last_epoch = 0
        self._sweep_at = _FIRST_SWEEP

    def create(self, namespace: str, new: NewRecord, most_per_user: int) -> Record:
        with self._lock:
            made = self._create(namespace, new, most_per_user)
        if made is None:
            raise TooManySessions
        return made

    def store_many(
        self, namespace: str, news: Sequence[NewRecord], most_per_user: int
    ) -> list[Record | None]:
        with self._lock:
            return [self._create(namespace, new, most_per_user) for new in news]

    def load(
        self,
        namespace: str,
        session_id: UUID,
        *,
        extend: bool,
        certain: bool = False,  # noqa: ARG002 - it always is
    ) -> Record | None:
        with self._lock:
            record, now = self._alive(namespace, session_id), self._clock()
            if record is None or not extend or now < record.extends_at:
                return record
            return self._put(namespace, replace(record, last_active_at=now))

    def swap(self, namespace: str, session_id: UUID, seen: Stamp, body: str) -> Swapped:
        with self._lock:
            record = self._alive(namespace, session_id)
            if record is None or record.stamp != seen:
                return Swapped(done=False, stands=record)
            new = replace(record, version=seen.version + 1, body=body, last_active_at=self._clock())
            return Swapped(done=True, stands=self._put(namespace, new))

    def delete(self, namespace: str, session_ids: Sequence[UUID]) -> dict[UUID, int]:
        with self._lock:
            found = [record for one in session_ids if (record := self._alive(namespace, one)) is not None]
            for record in found:
                self._drop(namespace, record)
            return {record.session_id: record.epoch for record in found}

    def exists(self, namespace: str, session_id: UUID) -> bool:
        with self._lock:
            return self._alive(namespace, session_id) is not None

    def expire(self, namespace: str, session_id: UUID, ttl_s: int) -> Record | None:
        with self._lock:
            record = self._alive(namespace, session_id)
            if record is None:
                return None
            new = replace(record, ttl_s=ttl_s, version=record.version + 1, last_active_at=self._clock())
            return self._put(namespace, new)

    def left_s(self, namespace: str, session_id: UUID) -> float | None:
        with self._lock:
            record = self._alive(namespace, session_id)
            return None if record is None else (record.expires_at - self._clock()).total_seconds()

    def of_user(self, namespace: str, user_id: UUID) -> list[UUID]:
        with self._lock:
            return [record.session_id for record in self._of_user(namespace, user_id)]

    def clean_up(self, namespace: str, user_id: UUID | None, limit: int) -> int:
        with self._lock:
            gone = [record for where, record in self._gone() if where == namespace]
            gone = [record for record in gone if user_id in (None, record.user_id)][:limit]
            for record in gone:
                self._drop(namespace, record)
            return len(gone)

    def health(self) -> Health:
        with self._lock:
            bodies = [len(record.body) for record in self._kept.values()]
        return Health(self.kind, is_well=True, sessions=len(bodies), size_bytes=sum(bodies))

    def close(self) -> None:
        """What it holds ends with it."""
        with self._lock:
            self._kept.clear()
            self._of.clear()

    # Each of these is called with the lock held.

    def _create(self, namespace: str, new: NewRecord, most_per_user: int) -> Record | None:
        standing = self._alive(namespace, new.session_id)
        if standing is not None:
            return standing
        if new.user_id is not None and len(self._of_user(namespace, new.user_id)) >= most_per_user:
            return None
        self._make_room()
        now = self._clock()
        self._last_epoch = max((now - _BEGINNING) // _MICROSECOND, self._last_epoch + 1)
        record = Record(
            new.session_id, new.user_id, self._last_epoch, 1, new.body, new.ttl_s, now, last_active_at=now
        )
        return replace(self._put(namespace, record), is_new=True)

    def _make_room(self) -> None:
        """Looks through them each time that their number has doubled."""
        if len(self._kept) < min(self._sweep_at, self._most_sessions):
            return
        for namespace, record in self._gone():
            self._drop(namespace, record)
        self._sweep_at = max(_FIRST_SWEEP, 2 * len(self._kept))
        if len(self._kept) >= self._most_sessions:
            raise StorageUnavailable("The memory of this process holds as many sessions as it may.")

    def _alive(self, namespace: str, session_id: UUID) -> Record | None:
        record = self._kept.get((namespace, session_id))
        if record is not None and record.expires_at <= self._clock():
            self._drop(namespace, record)
            return None
        return record

    def _of_user(self, namespace: str, user_id: UUID) -> list[Record]:
        found = [self._alive(namespace, one) for one in list(self._of.get((namespace, user_id), ()))]
        alive = [record for record in found if record is not None]
        return sorted(alive, key=lambda record: (record.epoch, record.session_id))

    def _gone(self) -> list[tuple[str, Record]]:
        now = self._clock()
        return [
            (namespace, record) for (namespace, _), record in self._kept.items() if record.expires_at <= now
        ]

    def _put(self, namespace: str, record: Record) -> Record:
        self._kept[namespace, record.session_id] = record
        if record.user_id is not None:
            self._of.setdefault((namespace, record.user_id), set()).add(record.session_id)
        return record

    def _drop(self, namespace: str, record: Record) -> None:
        del self._kept[namespace, record.session_id]
        if record.user_id is not None:
            of = self._of[namespace, record.user_id]
            of.discard(record.session_id)
            if not of:
                del self._of[namespace, record.user_id]
