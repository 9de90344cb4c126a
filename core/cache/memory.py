"""A shelf in the memory of one process: for a single instance that backs its sessions up, and for tests."""

import threading
from collections import OrderedDict
from dataclasses import replace
from datetime import datetime, timedelta

from core.cache.allowance import Allowance
from core.cache.clock import Clock, utc_now
from core.cache.entry import Entry, Mark
from core.cache.pending import Pending, Settled
from core.figures import Figures
from core.values import dataclass

_MOST_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class _Place:
    """The entry and the mark of a key: both are kept, as the mark outlives the entry's time."""

    entry: Entry | None = None
    mark: Mark | None = None

    def missed(self, now: datetime) -> str | None:
        if self.entry is None:
            return "nothing" if self.mark is None else "marked"
        return "past" if self.entry.good_until <= now else None

    def refused(self, entry: Entry, now: datetime) -> str | None:
        if self.mark is not None and self.mark.forbids(entry):
            return "marked"
        if self.entry is not None and _rank(entry) < _rank(self.entry):
            return "old"
        return "late" if entry.good_until <= now else None

    def holding(self, entry: Entry) -> "_Place":
        return replace(self, entry=entry)

    def marked(self, mark: Mark) -> "_Place":
        mark = mark if self.mark is None else self.mark.joined(mark)
        goes = self.entry is None or mark.forbids(self.entry)
        return _Place(None if goes else self.entry, mark)


def _rank(entry: Entry) -> tuple[int, int, datetime]:
    return (entry.epoch, entry.version, entry.good_until)


class MemoryShelf:
    """The same contract as in Redis. Past `most_keys` the key that was used longest ago is forgotten whole."""

    is_there = True

    def __init__(
        self, clock: Clock = utc_now, *, most_keys: int = _MOST_KEYS, figures: Figures | None = None
    ) -> None:
        self._clock = clock
        self._most_keys = most_keys
        self._figures = figures or Figures()
        self._lock = threading.Lock()
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._hints: OrderedDict[str, tuple[str, datetime]] = OrderedDict()

    def look(self, key: str, allowance: Allowance) -> Entry | None:  # noqa: ARG002 - memory is not waited for
        with self._lock:
            place = self._places.get(key, _Place())
            why = place.missed(self._clock())
            if why is None:
                self._places.move_to_end(key)
        if why is not None:
            self._figures.count("cache.misses", why)
            return None
        self._figures.count("cache.hits")
        return place.entry

    def offer(self, key: str, entry: Entry, allowance: Allowance) -> bool:  # noqa: ARG002
        with self._lock:
            place = self._places.get(key, _Place())
            why = place.refused(entry, self._clock())
            if why is None:
                self._put(key, place.holding(entry))
        self._figures.count("cache.puts", why or "put")
        return True

    def mark(self, key: str, epoch: int, version: int, allowance: Allowance, *, ended: bool = False) -> bool:  # noqa: ARG002
        with self._lock:
            self._put(key, self._places.get(key, _Place()).marked(Mark(epoch, version, ended)))
        self._figures.count("cache.marks", "sent")
        return True

    def mark_later(self, key: str, epoch: int, version: int) -> Pending:
        return Settled(self.mark(key, epoch, version, Allowance(0)))

    def remember(self, name: str, value: str, ttl_s: int) -> Pending:
        with self._lock:
            self._hints[name] = (value, self._clock() + timedelta(seconds=ttl_s))
            self._hints.move_to_end(name)
            while len(self._hints) > self._most_keys:
                self._hints.popitem(last=False)
        return Settled(arrived=True)

    def recall(self, name: str, allowance: Allowance) -> str | None:  # noqa: ARG002
        with self._lock:
            value, until = self._hints.get(name, ("", None))
            return value if until is not None and until > self._clock() else None

    def held(self) -> tuple[int, int]:
        """How many entries it holds, and the bytes of their bodies."""
        with self._lock:
            entries = [place.entry for place in self._places.values() if place.entry is not None]
        return len(entries), sum(len(entry.body.encode(errors="surrogatepass")) for entry in entries)

    def _put(self, key: str, place: _Place) -> None:
        self._places[key] = place
        self._places.move_to_end(key)
        while len(self._places) > self._most_keys:
            self._places.popitem(last=False)
