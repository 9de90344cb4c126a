"""A server on 127.0.0.1: a thread that accepts, and one for each connection.

A thread a connection is enough for some hundreds of clients, and a fault may then simply block: it waits on its own
socket, and `stop` shuts that socket down.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from .wire import Connection, Malformed, RawRequest

HOST = "127.0.0.1"
BACKLOG = 1024


class Listener:
    """`answer` answers one request, and tells whether the connection can serve another; `refuse` answers what is no HTTP.

    `wake` interrupts answers that wait for something else than their client, once the server stops.
    """

    def __init__(
        self,
        name: str,
        answer: Callable[[Connection, RawRequest], bool],
        refuse: Callable[[Connection, Malformed], None],
        *,
        most_body_bytes: int,
        port: int = 0,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._answer = answer
        self._refuse = refuse
        self._wake = wake
        self._most_body_bytes = most_body_bytes
        self._port = port
        self._listener: socket.socket | None = None
        self._kept: socket.socket | None = None
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[Connection, threading.Thread] = {}
        self._acceptor: threading.Thread | None = None

    @property
    def url(self) -> str:
        if self._listener is None and self._kept is None:
            raise RuntimeError(f"the {self._name} is not started")
        return f"http://{HOST}:{self._port}"

    def start(self) -> None:
        """Listen; OSError if the port is taken."""
        listener, self._kept = self._kept or self._bound(), None
        listener.listen(BACKLOG)
        self.stopping.clear()
        self._listener = listener
        self._acceptor = threading.Thread(target=self._accept, args=(listener,), name=self._name, daemon=True)
        self._acceptor.start()

    def stop(self, *, keep_port: bool = False) -> None:
        """Close everything, also what hangs; may be called twice. A port that is kept refuses, until the next start."""
        self._stop_listening()
        with self._lock:
            threads = dict(self._open)
        for connection in threads:
            connection.interrupt()
        self._wake()
        for thread in threads.values():
            thread.join(5)
        if keep_port:
            self._kept = self._kept or self._bound()
        elif self._kept is not None:
            self._kept.close()
            self._kept = None

    def _bound(self) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, self._port))
        except BaseException:
            listener.close()
            raise
        self._port = listener.getsockname()[1]
        return listener

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is None or self._acceptor is None:
            return
        self.stopping.set()
        # A connection of our own wakes the acceptor on every system; closing the listener does not.
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, self._port), timeout=1).close()
        self._acceptor.join(5)
        listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while not self.stopping.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                # Out of file descriptors, or a client that left before it was accepted: go on, but not in a hot loop.
                self.stopping.wait(0.01)
                continue
            if self.stopping.is_set():
                sock.close()
                return
            connection = Connection(sock, self.stopping, self._most_body_bytes)
            thread = threading.Thread(target=self._serve, args=(connection,), name=self._name, daemon=True)
            with self._lock:
                self._open[connection] = thread
            thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            while not self.stopping.is_set() and self._serve_one(connection):
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
            self._refuse(connection, malformed)
            return False
        return raw is not None and self._answer(connection, raw) and raw.keeps_alive
