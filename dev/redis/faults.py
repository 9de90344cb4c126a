"""What can go wrong between a product and Upstash, on demand.

    Fault.none()                      nothing; a place in a script
    Fault.hang()                      no answer, until the client goes or the front stops
    Fault.cut()                       the connection is closed without an answer; with `reset=True` by RST
    Fault.lost()                      the same, after the commands were carried out: their replies are lost
    Fault.late(0.2)                   the commands reach Redis so much later, also if the client has gone meanwhile
    Fault.hold(event)                 ... once the test sets its threading.Event
    Fault.slow(0.2)                   they are carried out at once, and answered so much later
    Fault.drip(0.001)                 the answer one byte at a time, with a pause after each
    Fault.truncated()                 half the answer, and the connection is closed
    Fault.answer(500, "<html>...")    an answer of the test's own, without Redis; see also html, garbage, wrong_type
    Fault.wrong_token()               401, as if the token had just been revoked
    Fault.error("OOM command ...")    an error for each command, or with `nth=2` for the third one of a request alone,
                                      which does not reach Redis
    Fault.stale(writes=2)             reads are answered with what their keys held two writes ago. The front must
                                      remember that: RedisFront(..., remembers=2). Scripts and transactions
                                      are not lied to

Each takes `matching`: a part of the request's commands, such as "EVAL" or "session:1".

    front.faults.add(fault, ...)      each for the next request that it matches, in turn
    front.faults.script(fault, ...)   one for each request, over and over: a Redis that flaps
    front.faults.always(fault)        for every request, until `always()` or `clear()`

A Redis that is down altogether: `front.refuse()`, and `front.accept()` once it is back.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "none", "hang", "cut", "lost", "late", "hold", "slow", "drip", "truncated", "answer", "error", "stale"
]  # fmt: skip

_HTML = "<html><head><title>500 Internal Server Error</title></head><body>nginx</body></html>"


@dataclass(frozen=True, slots=True)
class Fault:
    kind: Kind
    matching: str = ""
    reset: bool = False
    seconds: float = 0.0
    until: threading.Event | None = None
    status: int = 0
    body: bytes = b""
    media_type: str = "application/json"
    text: str = ""
    nth: int | None = None
    writes: int = 0

    @classmethod
    def none(cls) -> Fault:
        return cls("none")

    @classmethod
    def hang(cls, *, matching: str = "") -> Fault:
        return cls("hang", matching)

    @classmethod
    def cut(cls, *, reset: bool = False, matching: str = "") -> Fault:
        return cls("cut", matching, reset)

    @classmethod
    def lost(cls, *, reset: bool = False, matching: str = "") -> Fault:
        return cls("lost", matching, reset)

    @classmethod
    def late(cls, seconds: float, *, matching: str = "") -> Fault:
        return cls("late", matching, seconds=seconds)

    @classmethod
    def hold(cls, until: threading.Event, *, matching: str = "") -> Fault:
        return cls("hold", matching, until=until)

    @classmethod
    def slow(cls, seconds: float, *, matching: str = "") -> Fault:
        return cls("slow", matching, seconds=seconds)

    @classmethod
    def drip(cls, pause_s: float, *, matching: str = "") -> Fault:
        return cls("drip", matching, seconds=pause_s)

    @classmethod
    def truncated(cls, *, matching: str = "") -> Fault:
        return cls("truncated", matching)

    @classmethod
    def answer(
        cls, status: int, body: str | bytes, *, media_type: str = "application/json", matching: str = ""
    ) -> Fault:
        content = body.encode() if isinstance(body, str) else body
        return cls("answer", matching, status=status, body=content, media_type=media_type)

    @classmethod
    def html(cls, status: int = 500, *, matching: str = "") -> Fault:
        """What a proxy in front of Upstash answers when it has a bad day."""
        return cls.answer(status, _HTML, media_type="text/html", matching=matching)

    @classmethod
    def garbage(cls, *, matching: str = "") -> Fault:
        return cls.answer(200, b'\xff\xfe{"result": \x00', matching=matching)

    @classmethod
    def wrong_type(cls, *, matching: str = "") -> Fault:
        """Fine JSON, and not what was asked for."""
        return cls.answer(200, '{"result": {"unexpected": [true, 1.5]}}', matching=matching)

    @classmethod
    def wrong_token(cls, *, matching: str = "") -> Fault:
        return cls.answer(401, '{"error": "WRONGPASS invalid or missing auth token"}', matching=matching)

    @classmethod
    def error(cls, text: str, *, nth: int | None = None, matching: str = "") -> Fault:
        return cls("error", matching, text=text, nth=nth)

    @classmethod
    def stale(cls, writes: int = 1, *, matching: str = "") -> Fault:
        return cls("stale", matching, writes=writes)

    @property
    def reaches_redis(self) -> bool:
        return self.kind not in ("hang", "cut", "answer")

    def __str__(self) -> str:
        """What was done, for the record: `cut reset`."""
        about = {
            "answer": f" {self.status}",
            "error": f" {self.text}" + ("" if self.nth is None else f" nth={self.nth}"),
            "stale": f" writes={self.writes}",
        }.get(self.kind, f" {self.seconds:g} s" if self.seconds else "")
        return f"{self.kind}{about}{' reset' if self.reset else ''}"


class Faults:
    """What the test has asked for. `remembers`: how many writes back one may be lied to."""

    def __init__(self, remembers: int) -> None:
        self._remembers = remembers
        self._once: deque[Fault] = deque()
        self._script: Iterator[Fault] | None = None
        self._standing: Fault | None = None
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        self._check(faults)
        with self._lock:
            self._once.extend(faults)

    def script(self, *faults: Fault) -> None:
        self._check(faults)
        with self._lock:
            self._script = itertools.cycle(faults) if faults else None

    def always(self, fault: Fault | None = None) -> None:
        self._check((fault,) if fault else ())
        with self._lock:
            self._standing = fault

    def clear(self) -> None:
        with self._lock:
            self._once.clear()
            self._script = self._standing = None

    def take(self, commands: str) -> Fault | None:
        """For a request with these commands. The oldest one that was added and matches comes first, and is used up."""
        with self._lock:
            fault = next((fault for fault in self._once if fault.matching in commands), None)
            if fault is not None:
                self._once.remove(fault)
                return fault
            fault = self._standing if self._script is None else next(self._script)
            return fault if fault is not None and fault.matching in commands else None

    def __len__(self) -> int:
        """How many were added and have met no request yet."""
        with self._lock:
            return len(self._once)

    def _check(self, faults: tuple[Fault, ...]) -> None:
        if any(fault.kind == "stale" and not 0 < fault.writes <= self._remembers for fault in faults):
            raise ValueError(f"This front remembers {self._remembers} writes; give it more: remembers=")
