"""What really goes over the wire to Postgres: a proxy that reads both directions and counts.

A statement is a `Q` (or an `E` of the extended protocol) from the client; a round trip is a `Z` (ready for query) from
the server, which ends each exchange. The start-up exchange of a new connection is counted apart.
"""

import socket
import socketserver
import struct
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

_SSL_REQUEST = 80877103
_GSS_REQUEST = 80877104


@dataclass(slots=True)
class Count:
    statements: list[str] = field(default_factory=list)
    round_trips: int = 0
    connections: int = 0

    def clear(self) -> None:
        self.statements.clear()
        self.round_trips = 0
        self.connections = 0


class WireCounter:
    """Stands between a client and the server of `url`; `self.url` is where the client goes instead."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        self._server = f"{query['host'][0]}/.s.PGSQL.{query.get('port', ['5432'])[0]}"
        self.count = Count()
        counter = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                counter._relay(self.request)

        self._proxy = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._proxy.daemon_threads = True
        port = self._proxy.server_address[1]
        self.url = f"postgresql://postgres@127.0.0.1:{port}{parts.path}?sslmode=disable"

    def __enter__(self) -> Self:
        threading.Thread(target=self._proxy.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()

    def _relay(self, client: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self._server)
            self.count.connections += 1
            back = threading.Thread(target=self._copy, args=(server, client), daemon=True)
            back.start()
            self._copy(client, server)
            back.join(5)

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        buffered = b""
        started = source.family == socket.AF_UNIX
        try:
            while data := source.recv(65536):
                buffered += data
                if not started:
                    started, buffered = _past_startup(buffered)
                if started:
                    buffered = self._messages(buffered, from_server=source.family == socket.AF_UNIX)
                target.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, target):
                end.close()

    def _messages(self, buffered: bytes, *, from_server: bool) -> bytes:
        """Counts the whole messages at the front and gives the rest back."""
        while len(buffered) >= 5:
            (length,) = struct.unpack("!I", buffered[1:5])
            if len(buffered) < 1 + length:
                break
            kind, body, buffered = buffered[:1], buffered[5 : 1 + length], buffered[1 + length :]
            if from_server and kind == b"Z":
                self.count.round_trips += 1
            elif not from_server and kind in (b"Q", b"E"):
                self.count.statements.append(body.rstrip(b"\0").decode(errors="replace"))
        return buffered


def _past_startup(buffered: bytes) -> tuple[bool, bytes]:
    """The first packet has no kind byte. Requests for encryption come before it and are answered with one byte."""
    if len(buffered) < 8:
        return False, buffered
    length, code = struct.unpack("!II", buffered[:8])
    if len(buffered) < length:
        return False, buffered
    return code not in (_SSL_REQUEST, _GSS_REQUEST), buffered[length:]
