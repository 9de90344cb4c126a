"""Carries the commands of a request to Redis, those that may go, and brings the replies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dev.redis.faults import Fault
from dev.redis.past import Past
from dev.redis.repertoire import Manual, name_of, refusal, unavailable
from dev.redis.resp import Refusal, Reply, Wire
from dev.redis.rest import Asked, Command

_UNKNOWN = "ERR unknown command"


class Carrier:
    def __init__(self, connect: Callable[[], Wire], remembers: int) -> None:
        self._wires = _Wires(connect)
        self._past = Past(remembers) if remembers else None
        self._manual: Manual | None = None

    def carry(self, asked: Asked, fault: Fault | None, *, only_reads: bool) -> Sequence[Reply] | Refusal:
        """One reply a command, or one Refusal for a transaction; OSError if Redis is not there."""
        with self._wires.one() as wire:
            self._manual = self._manual or Manual(wire)
            refusals = [
                _by_fault(fault, at) or self._refusal(command, only_reads)
                for at, command in enumerate(asked.commands)
            ]
            if asked.shape == "multi-exec":
                return self._transact(wire, asked.commands, refusals)
            if self._past is None:
                return _all_at_once(wire, asked.commands, refusals)
            writes_ago = fault.writes if fault is not None else 0
            return [
                refused or self._one(wire, command, self._past, writes_ago)
                for command, refused in zip(asked.commands, refusals, strict=True)
            ]

    def interrupt(self) -> None:
        self._wires.interrupt()

    def close(self) -> None:
        self._wires.close()

    def _refusal(self, command: Command, only_reads: bool) -> Refusal | None:
        assert self._manual is not None
        if not command:
            return Refusal("ERR empty pipeline command")
        return refusal(command) or (self._manual.refusal_to_readers(command) if only_reads else None)

    def _one(self, wire: Wire, command: Command, past: Past, writes_ago: int) -> Reply:
        assert self._manual is not None
        with past.lock:
            if writes_ago and self._manual.reads(command):
                return past.read(wire, command, writes_ago)
            if self._manual.writes(command):
                past.note(wire, command)
            return _as_upstash_says(command, wire.ask(*command))

    def _transact(
        self, wire: Wire, commands: Sequence[Command], refusals: Sequence[Refusal | None]
    ) -> Sequence[Reply] | Refusal:
        """All of them or none, with the reason."""
        if why := next(filter(None, refusals), None):
            return _discarded(why)
        if self._past is not None:
            with self._past.lock:
                for command in commands:
                    self._past.note(wire, command)
                return _transact(wire, commands)
        return _transact(wire, commands)


def _transact(wire: Wire, commands: Sequence[Command]) -> Sequence[Reply] | Refusal:
    _, *queued, done = wire.ask_all([(b"MULTI",), *commands, (b"EXEC",)])
    if isinstance(done, list):
        return done
    answers = (_as_upstash_says(command, answer) for command, answer in zip(commands, queued, strict=True))
    return _discarded(next((answer for answer in answers if isinstance(answer, Refusal)), done))


def _discarded(why: Reply) -> Refusal:
    text = why.text if isinstance(why, Refusal) else "previous errors"
    return Refusal(f"EXECABORT Transaction discarded because of: {text}")


def _all_at_once(
    wire: Wire, commands: Sequence[Command], refusals: Sequence[Refusal | None]
) -> Sequence[Reply]:
    going = [command for command, refused in zip(commands, refusals, strict=True) if refused is None]
    coming = iter(wire.ask_all(going))
    return [
        refused or _as_upstash_says(command, next(coming))
        for command, refused in zip(commands, refusals, strict=True)
    ]


def _by_fault(fault: Fault | None, at: int) -> Refusal | None:
    if fault is None or fault.kind != "error" or fault.nth not in (None, at):
        return None
    return Refusal(fault.text)


def _as_upstash_says(command: Command, reply: Reply) -> Reply:
    if isinstance(reply, Refusal) and reply.text.startswith(_UNKNOWN):
        return unavailable(name_of(command))
    return reply


class _Wires:
    """Connections to Redis, lent one by one; as many as there are requests at once."""

    def __init__(self, connect: Callable[[], Wire]) -> None:
        self._connect = connect
        self._idle: list[Wire] = []
        self._lent: set[Wire] = set()
        self._lock = threading.Lock()

    @contextmanager
    def one(self) -> Iterator[Wire]:
        wire = self._take() or self._connect()
        with self._lock:
            self._lent.add(wire)
        try:
            yield wire
        except BaseException:
            with self._lock:
                self._lent.discard(wire)
            wire.close()  # a reply may still be on its way
            raise
        with self._lock:
            self._lent.discard(wire)
            self._idle.append(wire)

    def _take(self) -> Wire | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                wire = self._idle.pop()
            if not wire.is_over:
                return wire
            wire.close()

    def interrupt(self) -> None:
        with self._lock:
            for wire in self._lent:
                wire.interrupt()

    def close(self) -> None:
        """Once nobody has one any more."""
        with self._lock:
            idle, self._idle = self._idle, []
        for wire in idle:
            wire.close()
