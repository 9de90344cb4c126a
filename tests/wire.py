"""What really goes over the wire to Postgres: a proxy that reads both directions and counts.

A statement is a `Q` (or an `E` of the extended protocol) from the client; a round trip is a `Z` (ready for query) from
the server, which ends each exchange. The start-up exchange of a new connection is counted apart.
"""

import socket
import socketserver
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.network.line import shut
from tests.network.protocol import Address, Statements, messages, read_startup, without_nagle


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
        self._server = Address.of(url)
        self.count = Count()
        counter = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                counter._relay(without_nagle(self.request))

        self._proxy = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._proxy.daemon_threads = True
        self.url = self._server.through(self._proxy.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._proxy.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()

    def _relay(self, client: socket.socket) -> None:
        with self._server.connect() as server:
            self.count.connections += 1
            back = threading.Thread(target=self._bring_replies, args=(server, client), daemon=True)
            back.start()
            with suppress(OSError):
                self._bring_statements(client, server)
            shut(server)
            back.join(5)

    def _bring_statements(self, client: socket.socket, server: socket.socket) -> None:
        statements = Statements()
        with client.makefile("rb") as said:
            server.sendall(read_startup(client, said))
            for message in messages(said):
                if (sql := statements.read(message)) is not None:
                    self.count.statements.append(sql)
                server.sendall(message.raw)

    def _bring_replies(self, server: socket.socket, client: socket.socket) -> None:
        with server.makefile("rb") as replies, suppress(OSError):
            for message in messages(replies):
                # Counted before the client can know: a test reads the count as soon as it has its reply.
                self.count.round_trips += message.kind == b"Z"
                client.sendall(message.raw)
        shut(client)
