"""Position: what somebody who reads along has been told of a turn so far. It is the ID of each event, and so all that a client
has to send to go on from there, whichever process it asks.

It is a place in the conversation and no index of a log: the number of the message that is being told, how many characters of its
text were told, a digest of exactly these, and of each of its tool calls what was told. All before that message was told whole.
Nothing of it is kept here, so nothing can be lost here. A client that makes one up is told, from there on, what it may read anyway.

As text, `1-turn-seq-told-digest-calls-flags-agent`: the digits of the turn's ID (8) and of the digest (12, none where nothing was
told) are hexadecimal, calls are one hexadecimal digit each (1 asked, 2 started, 4 ended, 8 asked what came of it), in the order of
their IDs; flags are letters: s the turn's start was told, w that it waits, e its end.
"""

import hashlib
import re
from dataclasses import replace
from typing import Final

from core.errors import LastEventIdMalformed
from core.ids import TurnId
from core.values import dataclass

ASKED, STARTED, ENDED, OUTCOME_ASKED = 1, 2, 4, 8

_FORM: Final = re.compile(
    r"1-([0-9a-f]{8})-([0-9]{1,15})-([0-9]{1,9})-([0-9a-f]{12})?-([0-9a-f]{0,500})-(s?w?e?)-([A-Za-z0-9_.:-]{0,50})"
)
_LONGEST: Final = 700


class Digest:
    """Of what was told of a text, piece by piece."""

    def __init__(self, text: str) -> None:
        self._sum = hashlib.sha256()
        self.add(text)

    def add(self, text: str) -> None:
        self._sum.update(text.encode("utf-8", "surrogatepass"))

    def __str__(self) -> str:
        return self._sum.hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Position:
    turn: str
    seq: int = 0
    told: int = 0
    digest: str = ""
    calls: tuple[int, ...] = ()
    # Whose text was told last.
    agent: str = ""
    has_started: bool = False
    waits: bool = False
    has_ended: bool = False

    @classmethod
    def before(cls, turn_id: TurnId) -> "Position":
        """Nothing was told."""
        return cls(turn_id.hex[-8:])

    @classmethod
    def read(cls, text: str) -> "Position":
        found = _FORM.fullmatch(text.strip()) if len(text) <= _LONGEST else None
        if found is None or (found[4] is None) != (int(found[3]) == 0):
            raise LastEventIdMalformed
        return cls(
            found[1],
            int(found[2]),
            int(found[3]),
            found[4] or "",
            tuple(int(digit, 16) for digit in found[5]),
            found[7],
            "s" in found[6],
            "w" in found[6],
            "e" in found[6],
        )

    def __str__(self) -> str:
        calls = "".join(f"{call:x}" for call in self.calls)
        flags = "s" * self.has_started + "w" * self.waits + "e" * self.has_ended
        return f"1-{self.turn}-{self.seq}-{self.told}-{self.digest}-{calls}-{flags}-{self.agent}"

    def is_of(self, turn_id: TurnId) -> bool:
        return self.turn == turn_id.hex[-8:]

    def at(self, seq: int) -> "Position":
        """At the beginning of a later message: all before it was told whole."""
        return replace(self, seq=seq, told=0, digest="", calls=(), waits=False)

    def fits(self, text: str) -> bool:
        """What was told is the beginning of this."""
        return not self.told or (len(text) >= self.told and str(Digest(text[: self.told])) == self.digest)
