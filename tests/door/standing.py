"""A server for the fuzz to try: the application under uvicorn, on a real Postgres of its own, with the demo model."""

import contextlib
import logging
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import uvicorn

from core.house import build_house
from core.settings import read_settings
from dev.demo_model import DemoModel
from dev.postgres import EmbeddedPostgres
from functions.app import build_app
from tests.databases import migrate


@dataclass(frozen=True, slots=True)
class Standing:
    url: str
    # A device of its own, and its token where one is asked for.
    device: UUID
    token: str | None
    operator: str


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    home = Path(tempfile.mkdtemp(prefix="latchkey-fuzz-"))
    server = EmbeddedPostgres(home, options={"fsync": "off", "full_page_writes": "off"}, keep=False)
    with server:
        migrate(server.url())
        yield server.url()


@contextlib.contextmanager
def serving(database_url: str, mode: str) -> Iterator[Standing]:
    for noisy in ("core", "functions", "uvicorn.error", "anthropic", "httpx2"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    operator = secrets.token_hex(32)
    with DemoModel() as model, socket.socket() as listening, contextlib.ExitStack() as running:
        listening.bind(("127.0.0.1", 0))
        listening.listen(256)
        house = build_house(
            read_settings(
                {
                    "DATABASE_URL": database_url,
                    "DATABASE_POOL_SIZE": "16",
                    "ACCESS_MODE": mode,
                    "DEVICE_TOKEN_KEYS": f'{{"fuzz": "{secrets.token_hex(32)}"}}',
                    "JWT_KEYS": f'{{"fuzz": "{secrets.token_hex(32)}"}}',
                    "ADMIN_TOKEN": operator,
                    "RATE_DEVICE_PER_MINUTE": "0",
                    "RATE_ADDRESS_PER_MINUTE": "0",
                    "ANTHROPIC_API_KEY": "demo",
                    "ANTHROPIC_BASE_URL": model.url,
                }
            )
        )
        running.callback(house.close)
        running.callback(house.start_workers(threads=1).stop)
        app = build_app(house, one_at_a_time=False)
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        running.callback(_stop, server, thread)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        _await(f"{url}/ready")
        device = uuid4()
        yield Standing(url, device, None if mode == "open" else _registered(url, device), operator)


def _stop(server: uvicorn.Server, thread: threading.Thread) -> None:
    server.should_exit = True
    thread.join(10)


def _await(url: str) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(url).status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError("the server did not come up")


def _registered(url: str, device: UUID) -> str:
    answer = httpx2.post(
        f"{url}/v1/devices",
        json={"secret": secrets.token_urlsafe(32)},
        headers={"X-Device-ID": str(device)},
    )
    assert answer.status_code in (200, 201), answer.text
    return str(answer.json()["token"])
