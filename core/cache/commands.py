"""What is said to a Redis, whichever way it is reached."""

import re
from collections.abc import Sequence
from typing import Any, Protocol

from core.values import dataclass

Command = Sequence[str | int | float]

# All others are told as ERR: what a Redis says may become the name of a figure.
_CODES = frozenset(
    [
        "BUSY",
        "CLUSTERDOWN",
        "EXECABORT",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "NOAUTH",
        "NOPERM",
        "NOREPLICAS",
        "NOSCRIPT",
        "OOM",
        "READONLY",
        "WRONGPASS",
        "WRONGTYPE",
    ]
)
_WITHIN_A_SCRIPT = re.compile(r"^ERR Error running script .*?@user_script: ?[0-9]+: -?([A-Z]+) ")


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
        """The word that errors of Redis are told apart by. What ends a script stands, before Redis 7, within its message."""
        within = _WITHIN_A_SCRIPT.search(self.message)
        word = within[1] if within else self.message.partition(" ")[0]
        return word if word in _CODES else "ERR"


class Redis(Protocol):
    kind: str
    """"upstash" or "redis"."""

    def run(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        """One round trip. The replies in order: str, int, None, list or Refused; else CacheFailed for all.

        The time is that of each wait on the socket: who needs an end to the whole asks through a Guard. Commands may be
        carried out twice where a connection died, so only such are sent as may be.
        """

    def close(self) -> None: ...
