"""What is said to a Redis, whichever way it is reached."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Command = Sequence[str | int | float]


class CacheFailed(Exception):
    """The call as a whole came to nothing, and nobody knows whether its commands were carried out.

    `kind` is one of KINDS. Neither it nor the text holds an address, a token, a key or a value.
    """

    KINDS = ("timeout", "transport", "denied", "status", "garbage")

    def __init__(self, kind: str, about: str = "") -> None:
        self.kind = kind
        super().__init__(f"{kind}: {about}" if about else kind)


@dataclass(frozen=True, slots=True)
class Refused:
    """Redis's own error in the place of one command's reply: OOM, WRONGTYPE, NOPERM. The connection is well."""

    message: str

    @property
    def code(self) -> str:
        """Its first word, which is what errors of Redis are told apart by."""
        word = self.message.partition(" ")[0]
        return word if word.isascii() and word.isalpha() and word.isupper() and len(word) <= 20 else "ERR"


class Redis(Protocol):
    kind: str
    """"upstash" or "redis"."""

    def run(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        """One round trip. The replies in order: str, int, None, list or Refused; else CacheFailed for all.

        The time is that of each wait on the socket: who needs an end to the whole asks through a Guard. Commands may be
        carried out twice where a connection died, so only such are sent as may be.
        """

    def close(self) -> None: ...
