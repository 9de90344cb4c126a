"""What keys held before the last writes that came through the front: for a Redis that answers with yesterday's news."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from dev.redis.resp import Reply, Wire

_NOWHERE = "15"  # a database of the same server that nobody else uses
_NOW = "0"


@dataclass(frozen=True, slots=True)
class _Held:
    dump: bytes | None
    ttl_ms: int

    @classmethod
    def by(cls, wire: Wire, key: bytes) -> _Held:
        dump, ttl_ms = wire.ask_all([("DUMP", key), ("PTTL", key)])
        assert isinstance(ttl_ms, int)
        return cls(dump if isinstance(dump, bytes) else None, max(ttl_ms, 0))


class Past:
    """Whoever writes or is lied to holds `lock`, so that what is remembered is what was."""

    def __init__(self, depth: int) -> None:
        self.lock = threading.RLock()
        self._held: dict[bytes, deque[_Held]] = defaultdict(partial(deque, maxlen=depth))

    def note(self, wire: Wire, command: Sequence[bytes]) -> None:
        """Before the command is carried out."""
        for key in _keys(wire, command):
            self._held[key].append(_Held.by(wire, key))

    def read(self, wire: Wire, command: Sequence[bytes], writes: int) -> Reply:
        """The answer of so many writes ago, or of the oldest time that is remembered."""
        keys = _keys(wire, command)
        if not keys:
            return wire.ask(*command)
        held = [self._of(wire, key, writes) for key in keys]
        wire.ask("SELECT", _NOWHERE)
        for key, value in zip(keys, held, strict=True):
            if value.dump is not None:
                wire.ask("RESTORE", key, value.ttl_ms, value.dump, "REPLACE")
        reply = wire.ask(*command)
        for key in keys:
            wire.ask("DEL", key)
        wire.ask("SELECT", _NOW)
        return reply

    def _of(self, wire: Wire, key: bytes, writes: int) -> _Held:
        known = self._held.get(key)
        if not known:
            return _Held.by(wire, key)
        return known[max(0, len(known) - writes)]


def _keys(wire: Wire, command: Sequence[bytes]) -> list[bytes]:
    """As Redis itself finds them; none if the command has none."""
    keys = wire.ask("COMMAND", "GETKEYS", *command)
    return [key for key in keys if isinstance(key, bytes)] if isinstance(keys, list) else []
