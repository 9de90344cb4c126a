"""What lies on a shelf: a body, which state of its session it tells, and until when it may be believed.

Sealed, it is one line of JSON, `[epoch,version,good_until,"digest","body"]`, whose first three numbers a script in Redis can
read. The digest is over all of it and the key, so a flipped byte, a cut value or the value of another key is seen. It
guards against accidents; whoever may write to the Redis can seal what he likes.
"""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from core.values import dataclass

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """Of two entries of a key the one with the larger (epoch, version) is newer."""

    epoch: int
    version: int
    body: str
    good_until: datetime

    def __post_init__(self) -> None:
        if (
            self.epoch < 0
            or self.version < 0
            or self.good_until.tzinfo is None
            or self.good_until < _BEGINNING
        ):
            raise ValueError("an entry counts from 0, and its time is an aware one after 1970")

    @property
    def good_until_us(self) -> int:
        return (self.good_until - _BEGINNING) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Mark:
    """Says what an entry must not be older than; after an end nothing of its epoch is new enough."""

    epoch: int
    version: int
    ended: bool

    def forbids(self, entry: Entry) -> bool:
        if entry.epoch != self.epoch:
            return entry.epoch < self.epoch
        return self.ended or entry.version < self.version

    def joined(self, other: "Mark") -> "Mark":
        """What both of them forbid, whichever came first."""
        if other.epoch != self.epoch:
            return max(self, other, key=lambda mark: mark.epoch)
        return Mark(self.epoch, max(self.version, other.version), self.ended or other.ended)


def seal(key: str, entry: Entry) -> str:
    """ASCII, whatever the body holds: a lone surrogate or a NUL would not survive every way to Redis."""
    facts = [entry.epoch, entry.version, entry.good_until_us]
    return json.dumps([*facts, _digest(key, *facts, entry.body), entry.body], separators=(",", ":"))


def unseal(key: str, text: object) -> Entry | None:
    match _read(text):
        case [int(epoch), int(version), int(until), str(digest), str(body)]:
            if digest != _digest(key, epoch, version, until, body):
                return None
            try:
                return Entry(epoch, version, body, _BEGINNING + until * _MICROSECOND)
            except (ValueError, OverflowError):  # well sealed, and still not one of ours
                return None
    return None


def unseal_mark(text: object) -> Mark | None:
    match _read(text):
        case [int(epoch), int(version), 0 | 1 as ended]:
            return Mark(epoch, version, bool(ended))
    return None


def _read(text: object) -> Any:
    if not isinstance(text, str):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # the latter for "[[[[[..."
        return None


def _digest(*facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
