"""One client's connection, and the server's behind it.

Statements go one way in the thread that runs the line, replies come the other way in a second one. Only the first decides:
it counts the replies that are awaited, sets how much of them the client may see, and parts with the server once that has
nothing left to do, so that a statement is always carried out or never arrives, and no connection is left behind.

`COPY ... FROM STDIN` is carried, but not with a fault that waits for its reply: its data would never be sent.
"""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

from tests.network.faults import Done, Fault, Record
from tests.network.protocol import (
    TERMINATE,
    Exchange,
    Message,
    exchanges,
    messages,
    read_startup,
    without_nagle,
)

_POLL_S = 0.01


class Line:
    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        fault_for: Callable[[str], Fault | None],
        record: Record,
    ) -> None:
        self._client = without_nagle(client)
        self._server = server
        self._fault_for = fault_for
        self._record = record
        self._silent = False
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
            ignore(said)
        replies.join()

    def cut(self) -> None:
        """From another thread: ends the line now, whatever it is at."""
        self._cut.set()
        shut(self._client)
        with self._changed:
            self._changed.notify_all()

    # --- from the client

    def _bring_statements(self, said: BinaryIO) -> None:
        self._server.sendall(read_startup(self._client, said))
        for exchange in exchanges(messages(said)):
            if exchange.raw == TERMINATE or not self._carry(exchange):
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
        self._silent = not fault.close
        if fault.kind != "drop_request":
            self._visible_bytes = fault.after_bytes if fault.kind == "cut_reply" else 0
            self._forward(exchange)
            self._wait_until_idle()

    def _part_with_server(self) -> None:
        self._wait_until_idle()
        with suppress(OSError):
            self._server.sendall(TERMINATE)
        shut(self._server)

    def _wait_until_idle(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._awaited or self._server_gone or self._cut.is_set())

    # --- from the server

    def _bring_replies(self) -> None:
        with self._server.makefile("rb") as replies:
            for message in messages(replies):
                self._deliver(message)
                if message.kind == b"Z":
                    self._count_down()
        with self._changed:
            self._server_gone = True
            self._changed.notify_all()
        if not self._silent:
            hang_up(self._client)

    def _deliver(self, message: Message) -> None:
        visible = message.raw[: self._visible_bytes]
        try:
            self._client.sendall(visible)
        except OSError:
            self._visible_bytes = 0  # the client has gone; the server still finishes
        if self._visible_bytes is not None:
            self._visible_bytes -= len(visible)

    def _count_down(self) -> None:
        with self._changed:
            self._awaited = max(0, self._awaited - 1)  # the start-up ends by a Z too, and nobody counted that
            self._changed.notify_all()


def hang_up(connection: socket.socket) -> None:
    """Says no more. To refuse what still comes would also take back what was said last: so it is heard, and ignored."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)


def shut(connection: socket.socket) -> None:
    """Ends it for both sides, and wakes whoever reads it here; to close it would leave them with another's number."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def ignore(said: BinaryIO) -> None:
    """Until the connection ends."""
    with suppress(OSError):
        while said.read(1):
            pass
