"""Looking up names, as slow as a test likes."""

import socket
import threading

import pytest


class StuckNames:
    """Looking up a name takes as long as the test likes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self._waiting: set[int] = set()
        real = socket.getaddrinfo

        def look_up(*about: object, **more: object) -> object:
            self._waiting.add(threading.get_ident())
            self.answers.wait(60.0)
            self._waiting.discard(threading.get_ident())
            return real(*about, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    @property
    def waiting(self) -> int:
        return len(self._waiting)
