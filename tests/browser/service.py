"""The service as a process that can be killed and started again on its port, with the model beside it, which stays."""

import http.client
import os
import socket
from dataclasses import dataclass, field

from dev.demo_model import DemoModel
from tests.conversations import until
from tests.nursery import Child, Nursery

OPERATOR = "the-operator-of-these-tests-who-is-nobody-else"


@dataclass(slots=True)
class Service:
    nursery: Nursery
    # For what a test asks the database by itself: `tests.databases.run(service.database_url, ...)`.
    database_url: str
    # What it says can be scripted (`model.replies`), slowed and cut (`model.faults`), and was asked (`model.requests`).
    model: DemoModel
    # Settings beside the usual ones.
    more: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=lambda: _free_port())
    _process: Child | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environ = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": self.database_url,
            "DATABASE_POOL_SIZE": "8",
            "ACCESS_MODE": "open",
            "ADMIN_TOKEN": OPERATOR,
            "RATE_DEVICE_PER_MINUTE": "0",
            "RATE_ADDRESS_PER_MINUTE": "0",
            "ANTHROPIC_API_KEY": "demo",
            "ANTHROPIC_BASE_URL": self.model.url,
            "NO_PROXY": "127.0.0.1",
            **self.more,
        }
        self._process = self.nursery.start("tests.streams.server", str(self.port), **environ)
        until(self._is_up, 60)

    def kill(self) -> None:
        """By SIGKILL, in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
        self._process = None

    def _is_up(self) -> bool:
        assert self._process is not None
        assert not self._process.is_over(), "the service has ended"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
