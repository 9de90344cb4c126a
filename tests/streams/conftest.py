"""Real server processes on one database."""

import http.client
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from dev.demo_model import DemoModel
from tests.conversations import until
from tests.nursery import Child, Nursery


@dataclass(slots=True)
class Server:
    port: int
    process: Child

    def is_up(self) -> bool:
        assert not self.process.is_over(), "the server has ended"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


Serve = Callable[..., list[Server]]


@pytest.fixture
def serve(nursery: Nursery, database_url: str, model: DemoModel) -> Iterator[Serve]:
    """Starts so many servers, with these settings beside the usual ones."""
    started: list[Server] = []

    def start(count: int, module: str = "tests.streams.server", **more: str) -> list[Server]:
        environ = environ_of(database_url, model, **more)
        fresh = [_start(nursery, environ, module) for _ in range(count)]
        started.extend(fresh)
        for server in fresh:
            until(server.is_up, 60)
        return fresh

    yield start
    for server in started:
        server.process.kill()


def _start(nursery: Nursery, environ: dict[str, str], module: str) -> Server:
    port = free_port()
    return Server(port, nursery.start(module, str(port), **environ))


def environ_of(database_url: str, model: DemoModel, **more: str) -> dict[str, str]:
    """What a server of the tests knows of the world."""
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "DATABASE_POOL_SIZE": "8",
        "ACCESS_MODE": "open",
        "RATE_DEVICE_PER_MINUTE": "0",
        "RATE_ADDRESS_PER_MINUTE": "0",
        "ANTHROPIC_API_KEY": "demo",
        "ANTHROPIC_BASE_URL": model.url,
        "NO_PROXY": "127.0.0.1",
        **more,
    }


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
