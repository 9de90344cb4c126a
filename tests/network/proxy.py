"""A network between a client and Postgres or Redis that can be told what to do wrong."""

import itertools
import random
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Literal, Self

from tests.network.faults import Fault, Faults, RandomFaults, Record
from tests.network.line import Dialect, Line, ignore, shut
from tests.network.protocol import Address, Postgres
from tests.network.redis_protocol import Redis, RedisAddress


class _Listener(socketserver.ThreadingTCPServer):
    """Closing it waits for the threads of all connections."""

    daemon_threads = False
    request_queue_size = 128


class FaultyProxy:
    """Stands between a client and the server of `url`, a postgresql:// or redis:// one; `self.url` is where the client goes instead.

    Faults that the test adds come before those that chance brings. `done` says what was done to which statement.
    """

    def __init__(self, url: str, *, random_faults: RandomFaults | None = None) -> None:
        self.faults = Faults()
        self.done = Record()
        self._random_faults = random_faults
        speaks_redis = url.startswith(("redis:", "unix:"))
        self._server = RedisAddress.of(url) if speaks_redis else Address.of(url)
        self._dialect: Dialect = Redis() if speaks_redis else Postgres()
        self._door: Literal["open", "refusing", "hanging"] = "open"
        self._cuts: set[Callable[[], None]] = set()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                proxy._attend(self.request)

        self._listener = _Listener(("127.0.0.1", 0), Handler)
        self._accepting = threading.Thread(target=self._listener.serve_forever, args=(0.01,))
        self.url = self._server.through(self._listener.server_address[1])

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self._listener.shutdown()
        self._listener.server_close()
        self._accepting.join()

    def refuse(self) -> None:
        """A database that is down: connections are cut, and new ones closed at once, until `accept()`."""
        with self._lock:
            self._door = "refusing"
            cuts = list(self._cuts)
        for cut in cuts:
            cut()

    def hang_connects(self) -> None:
        """New connections are taken and never answered. Those that hang stay so after `accept()`."""
        self._door = "hanging"

    def accept(self) -> None:
        self._door = "open"

    def _attend(self, client: socket.socket) -> None:
        door = self._door
        if door == "hanging":
            with self._listed(partial(shut, client)), client.makefile("rb") as said:
                ignore(said)
        elif door == "open":
            with suppress(OSError), self._server.connect() as server:  # no server: the client is closed too
                line = Line(self._dialect, client, server, self._chance(), self.done)
                with self._listed(line.cut):
                    line.run()

    @contextmanager
    def _listed(self, cut: Callable[[], None]) -> Iterator[None]:
        with self._lock:
            self._cuts.add(cut)
            too_late = self._door == "refusing"
        if too_late:
            cut()
        try:
            yield
        finally:
            with self._lock:
                self._cuts.remove(cut)

    def _chance(self) -> Callable[[str], Fault | None]:
        """What decides for the statements of one connection."""
        chances = self._random_faults
        number = next(self._numbers)
        if chances is None:
            return self.faults.take
        dice: random.Random = chances.dice(number)
        return lambda sql: self.faults.take(sql) or chances.roll(dice)
