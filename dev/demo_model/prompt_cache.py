"""Prompt caching, simulated: the figures of `usage` that a product watches its costs by.

An entry is one prefix of one model, written at a breakpoint and only there. A later request reads the longest entry
that any of its breakpoints finds at its own block or at one of the 19 before it. Reading refreshes an entry. A
prefix below the minimum is silently not cached, as with the real one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .prefix import Json, Link

LOOKBACK_BLOCKS = 20
TTL_S = {"5m": 300.0, "1h": 3600.0}
_SWEEP_ABOVE = 10_000


@dataclass(frozen=True, slots=True)
class CacheUse:
    """How the tokens of one request divide; `entries` are the prefixes to write and to refresh."""

    total: int
    read: int
    written_5m: int
    written_1h: int
    entries: dict[bytes, str]

    def usage(self) -> Json:
        written = self.written_5m + self.written_1h
        return {
            "input_tokens": self.total - self.read - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": self.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.written_5m,
                "ephemeral_1h_input_tokens": self.written_1h,
            },
        }


class PromptCache:
    def __init__(self, clock: Callable[[], float], minimum_tokens: int) -> None:
        self._clock = clock
        self._minimum_tokens = minimum_tokens
        self._lock = threading.Lock()
        self._expiry: dict[bytes, float] = {}

    def look_up(self, links: Sequence[Link]) -> CacheUse:
        totals = _running_totals(links)
        marked = [index for index, link in enumerate(links) if link.ttl]
        with self._lock:
            hits = {index: self._find(links, index) for index in marked}
        read = max((totals[hit] for hit in hits.values() if hit is not None), default=0)
        entries = {links[hit].digest: str(links[index].ttl) for index, hit in hits.items() if hit is not None}
        written = {"5m": 0, "1h": 0}
        reached = read
        for index in marked:
            if totals[index] < self._minimum_tokens:
                continue
            ttl = str(links[index].ttl)
            entries[links[index].digest] = ttl
            written[ttl] += max(0, totals[index] - reached)
            reached = max(reached, totals[index])
        total = totals[-1] if totals else 0
        return CacheUse(total, read, written["5m"], written["1h"], entries)

    def keep(self, use: CacheUse) -> None:
        """Write what a request made; only called for one that is answered, as a refused one caches nothing."""
        with self._lock:
            now = self._clock()
            for digest, ttl in use.entries.items():
                self._expiry[digest] = max(self._expiry.get(digest, 0.0), now + TTL_S[ttl])
            if len(self._expiry) > _SWEEP_ABOVE:
                self._expiry = {digest: end for digest, end in self._expiry.items() if end > now}

    def _find(self, links: Sequence[Link], breakpoint: int) -> int | None:
        now = self._clock()
        for index in range(breakpoint, max(-1, breakpoint - LOOKBACK_BLOCKS), -1):
            if self._expiry.get(links[index].digest, 0.0) > now:
                return index
        return None


def _running_totals(links: Sequence[Link]) -> list[int]:
    totals: list[int] = []
    for link in links:
        totals.append(link.tokens + (totals[-1] if totals else 0))
    return totals
