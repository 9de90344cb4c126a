"""The demo model as a server on 127.0.0.1: a thread that accepts, and one for each connection.

A thread a connection is enough for some hundreds of clients, and a fault may then simply block: it waits on its own
socket, and `stop` shuts that socket down.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType

from .delivery import send_error
from .faults import Fault
from .prompt_cache import PromptCache
from .record import Record
from .script import Queue, Reply
from .service import Service, Settings
from .wire import Connection, Malformed

HOST = "127.0.0.1"
BACKLOG = 1024


class DemoModel:
    """See the package's docstring."""

    def __init__(
        self,
        port: int = 0,
        *,
        delay_s: float = 0.0,
        minimum_cache_tokens: int = 1024,
        clock: Callable[[], float] = time.monotonic,
        keep_requests: int = 10_000,
        text_beside_results: bool = False,
    ) -> None:
        self.requests = Record(keep_requests)
        self.faults: Queue[Fault] = Queue()
        self.replies: Queue[Reply] = Queue()
        self._service = Service(
            Settings(delay_s, text_beside_results),
            PromptCache(clock, minimum_cache_tokens),
            self.faults,
            self.replies,
            self.requests,
        )
        self._port = port
        self._listener: socket.socket | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[Connection, threading.Thread] = {}
        self._acceptor: threading.Thread | None = None

    @property
    def url(self) -> str:
        if self._listener is None:
            raise RuntimeError("the demo model is not started")
        return f"http://{HOST}:{self._port}"

    def start(self) -> DemoModel:
        """Listen; OSError if the port is taken."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, self._port))
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
        self._port = listener.getsockname()[1]
        self._stopping.clear()
        self._listener = listener
        self._acceptor = threading.Thread(
            target=self._accept, args=(listener,), name="demo-model", daemon=True
        )
        self._acceptor.start()
        return self

    def stop(self) -> None:
        """Close everything, also what hangs; may be called twice."""
        listener, self._listener = self._listener, None
        if listener is None or self._acceptor is None:
            return
        self._stopping.set()
        # A connection of our own wakes the acceptor on every system; closing the listener does not.
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, self._port), timeout=1).close()
        self._acceptor.join(5)
        listener.close()
        with self._lock:
            threads = dict(self._open)
        for connection in threads:
            connection.interrupt()
        for thread in threads.values():
            thread.join(5)

    def __enter__(self) -> DemoModel:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                # Out of file descriptors, or a client that left before it was accepted: go on, but not in a hot loop.
                self._stopping.wait(0.01)
                continue
            if self._stopping.is_set():
                sock.close()
                return
            connection = Connection(sock, self._stopping)
            thread = threading.Thread(target=self._serve, args=(connection,), name="demo-model", daemon=True)
            with self._lock:
                self._open[connection] = thread
            thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            while not self._stopping.is_set() and self._serve_one(connection):
                pass
        except OSError:
            pass  # the client has gone, as clients do
        finally:
            with self._lock:
                self._open.pop(connection, None)
            connection.close()

    def _serve_one(self, connection: Connection) -> bool:
        try:
            raw = connection.read_request()
        except Malformed as malformed:
            send_error(connection, "invalid_request_error", f"not HTTP: {malformed}", "req_none", 400)
            return False
        return raw is not None and self._service.handle(connection, raw) and raw.keeps_alive
