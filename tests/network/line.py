"""One client's connection, and the server's behind it.

Statements go one way in the thread that runs the line, replies come the other way in a second one. Only the first decides:
it counts the replies that are awaited, sets how much of them the client may see, and parts with the server once that has
nothing left to do, so that a statement is always carried out or never arrives, and no connection is left behind.

`COPY ... FROM STDIN` is carried, but not with a fault that waits for its reply: its data would never be sent.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import BinaryIO, Protocol

from tests.network.faults import Done, Fault, Record
from tests.network.protocol import Exchange, without_nagle

_POLL_S = 0.01


class Said(Protocol):
    """What a server said: whole, as far as it makes sense to hold it back or to cut it."""

    @property
    def raw(self) -> bytes: ...
    @property
    def ends_reply(self) -> bool: ...


class Dialect(Protocol):
    """How to see where a statement begins and where its reply ends."""

    farewell: bytes

    def greeting(self, client: socket.socket, said: BinaryIO, /) -> bytes: ...
    def exchanges(self, said: BinaryIO) -> Iterator[Exchange]: ...
    def replies(self, said: BinaryIO) -> Iterator[Said]: ...


class Line:
    def __init__(
        self,
        dialect: Dialect,
        client: socket.socket,
        server: socket.socket,
        fault_for: Callable[[str], Fault | None],
        record: Record,
    ) -> None:
        self._dialect = dialect
        self._client = without_nagle(client)
        self._server = server
        self._fault_for = fault_for
        self._record = record
        self._silent = False
        self._resets = False
        self._visible_bytes: int | None = None  # how much more of the replies reaches the client; None is all
        self._awaited = 0
        self._server_gone = False
        self._changed = threading.Condition()
        self._cut = threading.Event()

    def run(self) -> None:
        """Until both sides are gone."""
        replies = threading.Thread(target=self._bring_replies)
        replies.start()
        with self._client.makefile("rb") as said:
            with suppress(OSError):
                self._bring_statements(said)
            if not self._silent:
                hang_up(self._client)
            self._part_with_server()
            if not self._resets:
                ignore(said)
        replies.join()
        if self._resets:
            reset(self._client)

    def cut(self) -> None:
        """From another thread: ends the line now, whatever it is at."""
        self._cut.set()
        shut(self._client)
        with self._changed:
            self._changed.notify_all()

    # --- from the client

    def _bring_statements(self, said: BinaryIO) -> None:
        if greeting := self._dialect.greeting(self._client, said):
            # Its reply ends as every other does, and the client may ask again before that was counted.
            self._forward(Exchange(greeting, None, awaits_ready=True))
        for exchange in self._dialect.exchanges(said):
            if exchange.raw == self._dialect.farewell or not self._carry(exchange):
                return

    def _carry(self, exchange: Exchange) -> bool:
        """Whether the line goes on after it."""
        sql = exchange.sql
        fault = None if sql is None else self._fault_for(sql)
        if sql is None or fault is None:
            self._forward(exchange)
            return True
        if fault.only_waits:
            self._record.add(Done.to(sql, fault))
            return self._is_over(fault) and self._forward(exchange)
        self._lose(exchange, fault)
        self._record.add(Done.to(sql, fault))
        return False

    def _forward(self, exchange: Exchange) -> bool:
        with self._changed:
            self._awaited += exchange.awaits_ready
        self._server.sendall(exchange.raw)
        return True

    def _is_over(self, fault: Fault) -> bool:
        """Waits for it; False if the line was cut meanwhile."""
        if fault.until is None:
            return not self._cut.wait(fault.delay_s)
        while not fault.until.wait(_POLL_S):  # one cannot wait for two events
            if self._cut.is_set():
                return False
        return True

    def _lose(self, exchange: Exchange, fault: Fault) -> None:
        self._wait_until_idle()
        self._resets = fault.reset
        self._silent = fault.reset or not fault.close
        if fault.kind != "drop_request":
            self._visible_bytes = fault.after_bytes if fault.kind == "cut_reply" else 0
            self._forward(exchange)
            self._wait_until_idle()
        if fault.kind == "garbage":
            self._client.sendall(fault.bytes_sent)

    def _part_with_server(self) -> None:
        self._wait_until_idle()
        with suppress(OSError):
            self._server.sendall(self._dialect.farewell)
        shut(self._server)

    def _wait_until_idle(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._awaited or self._server_gone or self._cut.is_set())

    # --- from the server

    def _bring_replies(self) -> None:
        with self._server.makefile("rb") as replies:
            for said in self._dialect.replies(replies):
                self._deliver(said.raw)
                if said.ends_reply:
                    self._count_down()
        with self._changed:
            self._server_gone = True
            self._changed.notify_all()
        if not self._silent:
            hang_up(self._client)

    def _deliver(self, reply: bytes) -> None:
        visible = reply[: self._visible_bytes]
        try:
            self._client.sendall(visible)
        except OSError:
            self._visible_bytes = 0  # the client has gone; the server still finishes
        if self._visible_bytes is not None:
            self._visible_bytes -= len(visible)

    def _count_down(self) -> None:
        with self._changed:
            self._awaited = max(0, self._awaited - 1)  # what ends unasked was counted by nobody
            self._changed.notify_all()


def hang_up(connection: socket.socket) -> None:
    """Says no more. To refuse what still comes would also take back what was said last: so it is heard, and ignored."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)


def shut(connection: socket.socket) -> None:
    """Ends it for both sides, and wakes whoever reads it here; to close it would leave them with another's number."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def reset(connection: socket.socket) -> None:
    """Closes it by RST: at once, as a linger of no time at all says."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def ignore(said: BinaryIO) -> None:
    """Until the connection ends."""
    with suppress(OSError):
        while said.read(1):
            pass
