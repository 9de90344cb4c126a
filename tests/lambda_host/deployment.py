"""Latchkey on the host, as tests talk to it: devices that register and speak."""

import http.client
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from dev.demo_model import DemoModel
from dev.lambda_host.service import LambdaService
from dev.postgres.processes import until

KEYS = {"of tests": "k" * 32}
ORIGIN = "https://app.example.com"


@dataclass(frozen=True, slots=True)
class Device:
    """One that has registered. `url` is the gateway's."""

    url: str
    id: str = field(default_factory=lambda: str(uuid4()))
    token: list[str] = field(default_factory=list)

    def register(self) -> "Device":
        status, welcome = self.call("POST", "/v1/devices", {"secret": secrets.token_urlsafe(32)})
        assert status == 200, welcome
        self.token.append(welcome["token"])
        return self

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        headers = {"X-Device-ID": self.id, "Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {self.token[-1]}"} if self.token else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        content = json.loads(answer.read() or b"null")
        connection.close()
        return answer.status, content

    def say(self, message: str, **more: Any) -> Any:
        status, turn = self.call("POST", "/v1/turns", {"message": message, **more})
        assert status in (200, 202), turn
        return turn

    def turn(self, turn_id: str, wait_s: int = 0) -> Any:
        status, turn = self.call("GET", f"/v1/turns/{turn_id}?wait_s={wait_s}")
        assert status == 200, turn
        return turn

    def ended(self, turn_id: str, timeout_s: float = 60.0) -> Any:
        """The turn, once it is over."""
        found: list[Any] = []

        def is_over() -> bool:
            found.append(self.turn(turn_id, wait_s=2))
            return found[-1]["status"] in ("completed", "failed", "cancelled")

        assert until(is_over, timeout_s), found[-1]
        return found[-1]


@dataclass(frozen=True, slots=True)
class Deployment:
    service: LambdaService
    database_url: str
    model: DemoModel

    def device(self) -> Device:
        return Device(self.service.url).register()


@contextmanager
def deployed(
    task_root: Path,
    python: Path,
    database_url: str,
    *,
    settings: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[Deployment]:
    """Migrated by its function, and open."""
    with DemoModel() as model:
        environ = {
            "DATABASE_URL": database_url,
            "ANTHROPIC_API_KEY": "demo",
            "ANTHROPIC_BASE_URL": model.url,
            "DEVICE_TOKEN_KEYS": json.dumps(KEYS),
            "CORS_ORIGINS": ORIGIN,
            "RATE_ADDRESS_PER_MINUTE": "0",
            **(settings or {}),
        }
        # Other tests run beside this one, and a start may take longer than it ever does on Lambda.
        with LambdaService(task_root, environ, python=python, init_timeout_s=60, **options) as service:
            service.migrate()
            service.open()
            yield Deployment(service, database_url, model)
