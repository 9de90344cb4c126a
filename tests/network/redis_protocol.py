"""Redis on the wire, as far as one must read it to see where a command begins and where its reply ends.

A command is an array of strings; each is answered by one value, in their order. What the server says unasked (`>`) is none.
"""

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, Self
from urllib.parse import urlsplit, urlunsplit

from tests.network.protocol import Exchange, without_nagle

_STRINGS = b"$=!"
_ROWS = b"*~>"
_PAIRS = b"%|"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """`redis://:password@host:port/0`, or `unix://:password@/path?db=0`."""

    url: str

    @classmethod
    def of(cls, url: str) -> Self:
        return cls(url)

    def through(self, port: int) -> str:
        login, at, _ = urlsplit(self.url).netloc.rpartition("@")
        return urlunsplit(("redis", f"{login}{at}127.0.0.1:{port}", "/0", "", ""))

    def connect(self) -> socket.socket:
        parts = urlsplit(self.url)
        if parts.scheme != "unix":
            return without_nagle(socket.create_connection((parts.hostname, parts.port or 6379)))
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(parts.path)
        except OSError:
            server.close()
            raise
        return server


@dataclass(frozen=True, slots=True)
class Value:
    raw: bytes

    @property
    def ends_reply(self) -> bool:
        return not self.raw.startswith((b">", b"|"))


class Redis:
    farewell = b""

    def greeting(self, _client: socket.socket, _said: BinaryIO) -> bytes:
        return b""  # the client asks at once

    def exchanges(self, said: BinaryIO) -> Iterator[Exchange]:
        for value in self.replies(said):
            yield Exchange(value.raw, _words(value.raw), awaits_ready=True)

    def replies(self, said: BinaryIO) -> Iterator[Value]:
        """All whole values, until the connection ends, in whatever way."""
        with suppress(OSError, ValueError):
            while raw := _value(said):
                yield Value(raw)


def _value(said: BinaryIO) -> bytes:
    line = said.readline()
    kind, rest = line[:1], line[1:-2]
    if not line.endswith(b"\r\n") or rest == b"-1":
        return line if line.endswith(b"\r\n") else b""
    if kind in _STRINGS:
        return line + said.read(int(rest) + 2)
    if kind in _ROWS or kind in _PAIRS:
        count = int(rest) * (2 if kind in _PAIRS else 1)
        return line + b"".join(_value(said) for _ in range(count))
    return line


def _words(raw: bytes) -> str:
    """`SET key value`, of an array of strings."""
    said = BytesIO(raw)
    count = int(said.readline()[1:])
    words = []
    for _ in range(count):
        words.append(said.read(int(said.readline()[1:])).decode(errors="replace"))
        said.read(2)
    return " ".join(words)
