"""Postgres on the wire, as far as one must read it to see where a statement begins and where its reply ends.

After the start-up packet both sides speak in messages: a byte for the kind, the length, the body. A client asks by `Q`, or
by `P` (parse), `B` (bind), `E` (execute) and `S` (sync); either way the server ends its reply by `Z`, ready for query.
"""

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

_SSL_REQUEST = 80877103
_GSS_REQUEST = 80877104

# Clients wait for nothing after these: what they ask for comes with a sync or a flush.
_UNFINISHED = {b"P", b"B", b"D", b"E", b"C"}
_ANSWERED_BY_READY = {b"Q", b"S", b"F"}

TERMINATE = b"X\0\0\0\4"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and how one logs in there. A host that starts with a slash is the folder of a Unix socket."""

    login: str
    host: str
    port: int
    database: str
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, url: str) -> Self:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        host = options.pop("host", None) or parts.hostname or "127.0.0.1"
        port = int(options.pop("port", None) or parts.port or 5432)
        login = parts.netloc.rpartition("@")[0] or "postgres"
        return cls(login, host, port, unquote(parts.path.removeprefix("/")), tuple(options.items()))

    def through(self, port: int) -> str:
        """The URL of the same database for those who go by a door of ours on this machine."""
        options = urlencode({**dict(self.options), "sslmode": "disable"})
        return f"postgresql://{self.login}@127.0.0.1:{port}/{self.database}?{options}"

    def connect(self) -> socket.socket:
        if not self.host.startswith("/"):
            return without_nagle(socket.create_connection((self.host, self.port)))
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(f"{self.host}/.s.PGSQL.{self.port}")
        except OSError:
            server.close()
            raise
        return server


def without_nagle(tcp: socket.socket) -> socket.socket:
    """Messages are sent one by one; Nagle would hold back each second one until the first is acknowledged, for 40 ms."""
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return tcp


@dataclass(frozen=True, slots=True)
class Message:
    raw: bytes

    @property
    def kind(self) -> bytes:
        return self.raw[:1]

    @property
    def ends_reply(self) -> bool:
        return self.kind == b"Z"

    def texts(self) -> list[str]:
        return self.raw[5:].decode(errors="replace").split("\0")


def read_startup(client: socket.socket, said: BinaryIO) -> bytes:
    """The first packet, which has no kind. Requests for encryption come before it, and are answered with no."""
    while len(head := said.read(8)) == 8:
        length, code = struct.unpack("!II", head)
        packet = head + said.read(length - 8)
        if code not in (_SSL_REQUEST, _GSS_REQUEST):
            return packet
        client.sendall(b"N")
    return b""


def messages(said: BinaryIO) -> Iterator[Message]:
    """All whole messages, until the connection ends, in whatever way."""
    with suppress(OSError):
        while len(head := said.read(5)) == 5:
            (length,) = struct.unpack("!I", head[1:])
            message = Message(head + said.read(length - 4))
            if len(message.raw) < 1 + length:
                return
            yield message


class Statements:
    """Which SQL a client's message has carried out. `E` names only a portal, so what was prepared and bound is kept."""

    def __init__(self) -> None:
        self._prepared: dict[str, str] = {}
        self._bound: dict[str, str] = {}

    def read(self, message: Message) -> str | None:
        match message.kind, message.texts():
            case b"Q", [sql, *_]:
                return sql
            case b"P", [name, sql, *_]:
                self._prepared[name] = sql
            case b"B", [portal, name, *_]:
                self._bound[portal] = self._prepared.get(name, "")
            case b"E", [portal, *_]:
                return self._bound.get(portal, "")
        return None


@dataclass(frozen=True, slots=True)
class Exchange:
    """Messages of a client that belong together. `sql` is what they have carried out, or None."""

    raw: bytes
    sql: str | None
    awaits_ready: bool


def exchanges(said: Iterable[Message]) -> Iterator[Exchange]:
    statements = Statements()
    raw, carried_out = b"", list[str]()
    for message in said:
        raw += message.raw
        if (sql := statements.read(message)) is not None:
            carried_out.append(sql)
        if message.kind not in _UNFINISHED:
            awaits_ready = message.kind in _ANSWERED_BY_READY
            yield Exchange(raw, "; ".join(carried_out) if carried_out else None, awaits_ready)
            raw, carried_out = b"", []


class Postgres:
    farewell = TERMINATE

    def greeting(self, client: socket.socket, said: BinaryIO) -> bytes:
        return read_startup(client, said)

    def exchanges(self, said: BinaryIO) -> Iterator[Exchange]:
        return exchanges(messages(said))

    def replies(self, said: BinaryIO) -> Iterator[Message]:
        return messages(said)
