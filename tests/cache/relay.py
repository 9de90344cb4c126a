"""What stands between the native client and a Redis, and can be told to behave badly.

    relay.behave("well")              bytes go both ways
    relay.behave("hang")              takes connections and bytes, answers nothing
    relay.behave("drip")              the answer one byte at a time, every `drip_s`
    relay.behave("reset")             each connection ends by RST as soon as something is asked
    relay.behave("half")              half of the answer, and the connection ends
    relay.behave("say", b"-OOM\\r\\n")  says that, whatever is asked; with `times=1` once, and then nothing
    relay.refuse()                    nobody listens, until it is told to behave again

Each change ends the connections there are, unless it is made with `cut=False`.
"""

import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from core.settings import Secret
from dev.redis import EmbeddedRedis

_ANSWERS = {"well", "drip", "half"}


class Relay:
    def __init__(self, redis: EmbeddedRedis) -> None:
        self._redis = redis
        self._behaviour, self._words, self._times = "well", b"", 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self.drip_s = 0.1

    def url(self, host: str = "127.0.0.1") -> Secret:
        password = urlsplit(self._redis.url).password
        return Secret(f"redis://:{password}@{host}:{self.port}/0")

    def behave(self, how: str, words: bytes = b"", *, times: int = 1_000_000, cut: bool = True) -> None:
        self._behaviour, self._words, self._times = how, words, times
        if self._listener.fileno() == -1:
            self._listener = self._listen(self.port)
            self._accept()
        if cut:
            self.cut()

    def refuse(self) -> None:
        """A listening socket that another thread waits for is not closed before it is shut down."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        with self._lock:
            for held in self._open:
                with suppress(OSError):
                    held.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._accept()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self.refuse()
        for thread in self._threads:
            thread.join()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        return listener

    def _accept(self) -> None:
        self._start(self._take_connections, self._listener)

    def _start(self, work: object, *given: object) -> None:
        thread = threading.Thread(target=work, args=given, name="relay")  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _take_connections(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                self.connections += 1
                self._start(self._attend, client)

    def _attend(self, client: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as server, client, suppress(OSError):
            with self._lock:
                self._open |= {client, server}
            try:
                server.connect(str(self._redis.socket_path))
                answers = threading.Thread(target=self._answer, args=(server, client), name="relay")
                answers.start()
                try:
                    self._ask(client, server)
                finally:
                    for held in (client, server):
                        with suppress(OSError):
                            held.shutdown(socket.SHUT_RDWR)
                    answers.join()
            finally:
                with self._lock:
                    self._open -= {client, server}

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        while said := client.recv(65536):
            if self._behaviour in _ANSWERS:
                server.sendall(said)
            elif self._behaviour == "say" and self._times > 0:
                self._times -= 1
                client.sendall(self._words)
            elif self._behaviour == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                return

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while said := server.recv(65536):
                if self._behaviour == "half":
                    client.sendall(said[: len(said) // 2])
                    client.shutdown(socket.SHUT_RDWR)
                elif self._behaviour == "drip":
                    self._drip(client, said)
                else:
                    client.sendall(said)

    def _drip(self, client: socket.socket, said: bytes) -> None:
        for byte in said:
            client.sendall(bytes([byte]))
            if self._stopped.wait(self.drip_s):
                return
