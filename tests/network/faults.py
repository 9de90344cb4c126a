"""What can go wrong between a client and Postgres or Redis, on demand: one fault for the next statement that it matches.

    Fault.drop_request()               the statement never reaches the server. The client hears nothing more on this
                                       connection; with `close=True` its connection is closed, with `reset=True` by RST
    Fault.drop_reply()                 the server carries the statement out, the client never sees the reply. Silence
                                       or a closed connection, as above
    Fault.cut_reply(after_bytes=7)     the statement is carried out; the client gets seven bytes of the reply, and its
                                       connection is closed
    Fault.garbage(b"...")              the statement is carried out, the client gets these bytes instead of the reply, and
                                       its connection is closed; with `close=False` it hears nothing more
    Fault.delay(0.2)                   the statement reaches the server so much later
    Fault.hold(event)                  the statement reaches the server once the test sets its threading.Event

Each takes `matching`, a part of the SQL or of the command. A statement that is delayed or held reaches the server even if its client has
gone meanwhile, as a packet would that was late.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import Literal

Kind = Literal["drop_request", "drop_reply", "cut_reply", "garbage", "delay", "hold"]

_WORDS_SHOWN = 4
_GARBAGE = b"\0garbage\r\n"


@dataclass(frozen=True, slots=True)
class Fault:
    kind: Kind
    matching: str = ""
    close: bool = False
    reset: bool = False
    after_bytes: int = 0
    bytes_sent: bytes = _GARBAGE
    delay_s: float = 0.0
    until: threading.Event | None = None

    @classmethod
    def drop_request(cls, *, matching: str = "", close: bool = False, reset: bool = False) -> Fault:
        return cls("drop_request", matching, close, reset)

    @classmethod
    def drop_reply(cls, *, matching: str = "", close: bool = False, reset: bool = False) -> Fault:
        return cls("drop_reply", matching, close, reset)

    @classmethod
    def cut_reply(cls, *, matching: str = "", after_bytes: int) -> Fault:
        return cls("cut_reply", matching, close=True, after_bytes=after_bytes)

    @classmethod
    def garbage(cls, bytes_sent: bytes = _GARBAGE, *, matching: str = "", close: bool = True) -> Fault:
        return cls("garbage", matching, close, bytes_sent=bytes_sent)

    @classmethod
    def delay(cls, delay_s: float, *, matching: str = "") -> Fault:
        return cls("delay", matching, delay_s=delay_s)

    @classmethod
    def hold(cls, until: threading.Event, *, matching: str = "") -> Fault:
        return cls("hold", matching, until=until)

    @property
    def only_waits(self) -> bool:
        return self.kind in ("delay", "hold")

    def __str__(self) -> str:
        """What was done, for the record: `cut_reply after_bytes=7`."""
        if self.kind == "cut_reply":
            return f"{self.kind} after_bytes={self.after_bytes}"
        if self.kind == "delay":
            return f"{self.kind} delay_s={self.delay_s:g}"
        return f"{self.kind}{' close' if self.close else ''}{' reset' if self.reset else ''}"


class Faults:
    """What the test has asked for and no statement has met yet."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        with self._lock:
            self._waiting.extend(faults)

    def take(self, sql: str) -> Fault | None:
        """The oldest one that matches, which is used up by this."""
        with self._lock:
            fault = next((fault for fault in self._waiting if fault.matching in sql), None)
            if fault is not None:
                self._waiting.remove(fault)
            return fault

    def __len__(self) -> int:
        with self._lock:
            return len(self._waiting)


@dataclass(frozen=True, slots=True)
class RandomFaults:
    """Each statement meets a fault at this rate. Of those that are dropped, `silent_share` end in silence."""

    seed: int
    rate: float = 0.1
    kinds: tuple[Kind, ...] = ("drop_request", "drop_reply", "cut_reply", "delay")
    max_delay_s: float = 0.05
    max_bytes: int = 100
    silent_share: float = 0.0

    def __post_init__(self) -> None:
        if "hold" in self.kinds:
            raise ValueError("hold needs an event of the test's; chance has none")

    def dice(self, connection: int) -> random.Random:
        """Each connection has its own, so that one's faults do not hang on how the others are scheduled."""
        return random.Random(f"{self.seed}/{connection}")

    def roll(self, dice: random.Random) -> Fault | None:
        if dice.random() >= self.rate:
            return None
        return Fault(
            dice.choice(self.kinds),
            close=dice.random() >= self.silent_share,
            after_bytes=dice.randint(0, self.max_bytes),
            delay_s=dice.uniform(0, self.max_delay_s),
        )


@dataclass(frozen=True, slots=True)
class Done:
    fault: Fault
    statement: str

    @classmethod
    def to(cls, sql: str, fault: Fault) -> Done:
        return cls(fault, " ".join(sql.split()[:_WORDS_SHOWN]))

    def __str__(self) -> str:
        return f"{self.fault}: {self.statement}"


class Record(list[Done]):
    """Every fault that was done, in its order. A statement that waits is here from when it begins to wait."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def add(self, done: Done) -> None:
        with self._changed:
            self.append(done)
            self._changed.notify_all()

    def wait_for(self, count: int, timeout_s: float = 10.0) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self) >= count, timeout_s)
