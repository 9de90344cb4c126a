"""The wire of Redis, in the version that every release speaks (RESP2): a command out, a reply in.

A client library would turn replies into what its users like: `OK` into True, pairs into a dict. The REST front must show
them as they came, so it reads them itself. What matters for it is that a status (`+OK`) and a value (`$2 OK`) differ.
"""

import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self

_CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Status:
    text: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error reply, as Redis words it: `WRONGTYPE Operation against ...`."""

    text: str


Reply = Status | Refusal | int | bytes | None | list["Reply"]
Word = bytes | str | int | float


class ConnectionEnded(OSError):
    """Redis closed the connection, or said what is not its protocol."""


def encoded(words: Sequence[Word]) -> bytes:
    parts = [_bytes(word) for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _bytes(word: Word) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()


def read_reply(said: BinaryIO) -> Reply:
    line = said.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionEnded("Redis ended the connection")
    kind, rest = line[:1], line[1:-2]
    match kind:
        case b"+":
            return Status(rest.decode(errors="replace"))
        case b"-":
            return Refusal(rest.decode(errors="replace"))
        case b":":
            return int(rest)
        case b"$":
            return _bulk(said, int(rest))
        case b"*":
            return None if rest == b"-1" else [read_reply(said) for _ in range(int(rest))]
    raise ConnectionEnded(f"Redis said {line[:40]!r}")


def _bulk(said: BinaryIO, length: int) -> bytes | None:
    if length < 0:
        return None
    value = said.read(length + 2)
    if len(value) != length + 2:
        raise ConnectionEnded("Redis ended the connection within a value")
    return value[:-2]


class Wire:
    """One connection to a Redis: by a Unix socket (a path), or by TCP (host and port)."""

    def __init__(
        self, place: str | tuple[str, int], password: str = "", timeout_s: float | None = None
    ) -> None:
        self._socket = _connected(place)
        self._said: BinaryIO = self._socket.makefile("rb")
        self._socket.settimeout(timeout_s)
        # Sent along with the first command: opening a connection must not wait for a Redis that is paused.
        self._login = [("AUTH", password)] if password else []

    def ask(self, *words: Word) -> Reply:
        return self.ask_all([words])[0]

    def ask_all(self, commands: Sequence[Sequence[Word]]) -> list[Reply]:
        """All of them in one go; the replies are in their order."""
        sent = [*self._login, *commands]
        self._socket.sendall(b"".join(map(encoded, sent)))
        replies = [read_reply(self._said) for _ in sent][len(self._login) :]
        self._login = []
        return replies

    @property
    def is_over(self) -> bool:
        """Whether Redis has closed an idle connection, as it does when it is killed."""
        timeout_s = self._socket.gettimeout()
        self._socket.setblocking(False)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self._socket.settimeout(timeout_s)
        return True

    def interrupt(self) -> None:
        """From another thread: whoever waits for a reply gets ConnectionEnded."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._said.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _connected(place: str | tuple[str, int]) -> socket.socket:
    if isinstance(place, tuple):
        tcp = socket.create_connection(place, _CONNECT_TIMEOUT_S)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return tcp
    local = socket.socket(socket.AF_UNIX)
    local.settimeout(_CONNECT_TIMEOUT_S)
    try:
        local.connect(place)
    except OSError:
        local.close()
        raise
    return local
