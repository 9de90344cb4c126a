"""What is counted for operators: how often, why, and how long it took. Never whom it was about.

A name is made of letters and dots, so no ID can become one; what is not so made is counted as `other`.
"""

import json
import logging
import re
import resource
import sys
import threading
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import field
from typing import Any

from core.values import dataclass

_log = logging.getLogger(__name__)

_EVERY_S = 60.0
_UP_TO_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_WORD = re.compile(r"[a-z]+(?:[._-][a-z]+)*|[A-Z]+")
_LONGEST_WORD = 40

Key = tuple[str, str]


@dataclass(slots=True)
class _Times:
    count: int = 0
    sum_s: float = 0.0
    max_s: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(_UP_TO_S) + 1))

    def add(self, seconds: float) -> None:
        self.count += 1
        self.sum_s += seconds
        self.max_s = max(self.max_s, seconds)
        self.buckets[bisect_left(_UP_TO_S, seconds)] += 1

    def shown(self) -> dict[str, Any]:
        names = [*(f"{bound:g}" for bound in _UP_TO_S), "more"]
        counted = {name: number for name, number in zip(names, self.buckets, strict=True) if number}
        return {
            "count": self.count,
            "sum_s": round(self.sum_s, 6),
            "max_s": round(self.max_s, 6),
            "up_to_s": counted,
        }


class _Tally:
    """Some counts and times, without a lock of its own."""

    __slots__ = ("counts", "times")

    def __init__(self) -> None:
        self.counts: dict[Key, int] = {}
        self.times: dict[str, _Times] = {}

    def shown(self) -> dict[str, Any]:
        """By name; where reasons were given, by reason within it."""
        said: dict[str, Any] = {}
        for (name, why), number in sorted(self.counts.items()):
            if why:
                said.setdefault(name, {})[why] = number
            else:
                said[name] = number
        return said | {name: times.shown() for name, times in sorted(self.times.items())}


class Figures:
    """Of one process, for all its threads. A count costs well under a microsecond.

    Give a name either always a reason or never one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ever = _Tally()
        self._lately = _Tally()
        self._told_at: float | None = None
        self._watched: dict[str, Callable[[], int]] = {}

    def watch(self, name: str, read: Callable[[], int]) -> None:
        """Something that is not counted but looked at, whenever figures are shown."""
        self._watched[_word(name)] = read

    def count(self, name: str, why: str = "", by: int = 1) -> None:
        if not by:
            return
        key = (name, why)
        with self._lock:
            if key not in self._ever.counts:
                key = (_word(name), _word(why) if why else "")
            for tally in (self._ever, self._lately):
                tally.counts[key] = tally.counts.get(key, 0) + by

    def took(self, name: str, seconds: float) -> None:
        with self._lock:
            if name not in self._ever.times:
                name = _word(name)
            for tally in (self._ever, self._lately):
                tally.times.setdefault(name, _Times()).add(seconds)

    def snapshot(self) -> dict[str, Any]:
        """All since this process began."""
        with self._lock:
            return self._ever.shown() | self._seen()

    def tell_if_due(self, now: float) -> bool:
        """One line of JSON with what was counted since the last one, so that lines of many functions can be added up.

        `now` is of a monotonic clock. At most once a minute, and never to say that nothing happened.
        """
        with self._lock:
            if self._told_at is None:
                self._told_at = now
            since_s = now - self._told_at
            if since_s < _EVERY_S or not (self._lately.counts or self._lately.times):
                return False
            said, self._lately, self._told_at = self._lately.shown() | self._seen(), _Tally(), now
        _log.info("%s", json.dumps({"figures": said, "since_s": round(since_s, 1)}))
        return True

    def _seen(self) -> dict[str, int]:
        return {name: read() for name, read in sorted(self._watched.items())}


def memory_bytes() -> int:
    """The most that this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _word(text: str) -> str:
    return text if len(text) <= _LONGEST_WORD and _WORD.fullmatch(text) else "other"
