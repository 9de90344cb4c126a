"""A shelf in the memory of one process: for a single instance that backs its sessions up, and for tests."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from core.cache.allowance import Allowance
from core.cache.entry import Entry
from core.cache.pending import Pending, Settled

_MOST_KEYS = 10_000


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Mark:
    epoch: int
    version: int
    ended: bool

    def forbids(self, entry: Entry) -> bool:
        if entry.epoch != self.epoch:
            return entry.epoch < self.epoch
        return self.ended or entry.version < self.version

    def with_(self, other: "_Mark") -> "_Mark":
        if other.epoch != self.epoch:
            return max(self, other, key=lambda mark: mark.epoch)
        return _Mark(self.epoch, max(self.version, other.version), self.ended or other.ended)


@dataclass(frozen=True, slots=True)
class _Place:
    """The entry and the mark of a key: both are kept, as the mark outlives the entry's time."""

    entry: Entry | None = None
    mark: _Mark | None = None

    def admits(self, entry: Entry) -> bool:
        if self.mark is not None and self.mark.forbids(entry):
            return False
        return self.entry is None or _rank(entry) >= _rank(self.entry)

    def marked(self, mark: _Mark) -> "_Place":
        mark = mark if self.mark is None else self.mark.with_(mark)
        goes = self.entry is None or mark.forbids(self.entry)
        return _Place(None if goes else self.entry, mark)


def _rank(entry: Entry) -> tuple[int, int, datetime]:
    return (entry.epoch, entry.version, entry.good_until)


class MemoryShelf:
    """The same contract as in Redis. Past `most_keys` the key that was used longest ago is forgotten whole."""

    def __init__(self, clock: Callable[[], datetime] = utc_now, *, most_keys: int = _MOST_KEYS) -> None:
        self._clock = clock
        self._most_keys = most_keys
        self._lock = threading.Lock()
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._hints: OrderedDict[str, tuple[str, datetime]] = OrderedDict()

    def look(self, key: str, allowance: Allowance) -> Entry | None:  # noqa: ARG002 - memory is not waited for
        with self._lock:
            entry = self._places.get(key, _Place()).entry
            if entry is None or entry.good_until <= self._clock():
                return None
            self._places.move_to_end(key)
            return entry

    def offer(self, key: str, entry: Entry, allowance: Allowance) -> None:  # noqa: ARG002
        with self._lock:
            place = self._places.get(key, _Place())
            if entry.good_until > self._clock() and place.admits(entry):
                self._put(key, replace(place, entry=entry))

    def mark(self, key: str, epoch: int, version: int, allowance: Allowance, *, ended: bool = False) -> bool:  # noqa: ARG002
        with self._lock:
            self._put(key, self._places.get(key, _Place()).marked(_Mark(epoch, version, ended)))
        return True

    def mark_later(self, key: str, epoch: int, version: int) -> Pending:
        return Settled(self.mark(key, epoch, version, Allowance(0)))

    def remember(self, name: str, value: str, ttl_s: int, allowance: Allowance) -> None:  # noqa: ARG002
        with self._lock:
            self._hints[name] = (value, self._clock() + timedelta(seconds=ttl_s))
            self._hints.move_to_end(name)
            while len(self._hints) > self._most_keys:
                self._hints.popitem(last=False)

    def recall(self, name: str, allowance: Allowance) -> str | None:  # noqa: ARG002
        with self._lock:
            value, until = self._hints.get(name, ("", None))
            return value if until is not None and until > self._clock() else None

    def held(self) -> tuple[int, int]:
        """How many entries it holds, and the characters of their bodies."""
        with self._lock:
            entries = [place.entry for place in self._places.values() if place.entry is not None]
        return len(entries), sum(len(entry.body) for entry in entries)

    def _put(self, key: str, place: _Place) -> None:
        self._places[key] = place
        self._places.move_to_end(key)
        while len(self._places) > self._most_keys:
            self._places.popitem(last=False)
