"""A client of the REST front that sends what it is told to, and hears what was said."""

import base64
import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from upstash_redis import Redis as Upstash

from dev.redis import RedisFront

WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def result(self) -> Any:
        assert self.status == 200, self
        return self.json["result"]

    @property
    def error(self) -> str:
        assert self.status >= 400, self
        assert set(self.json) == {"error"}
        return str(self.json["error"])


def call(
    front: RedisFront,
    path: str = "/",
    body: object = None,
    *,
    method: str = "POST",
    token: str | None = None,
    timeout_s: float = WAIT_S,
    **headers: str,
) -> Answer:
    """By a connection of its own. `body` is sent as JSON unless it is bytes."""
    with opened(front, timeout_s) as connection:
        return call_by(connection, front, path, body, method=method, token=token, **headers)


@contextmanager
def opened(front: RedisFront, timeout_s: float = WAIT_S) -> Iterator[http.client.HTTPConnection]:
    address = front.url.removeprefix("http://")
    with closing(http.client.HTTPConnection(address, timeout=timeout_s)) as connection:
        yield connection


def call_by(
    connection: http.client.HTTPConnection,
    front: RedisFront,
    path: str = "/",
    body: object = None,
    *,
    method: str = "POST",
    token: str | None = None,
    **headers: str,
) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token != "":
        sent.setdefault("authorization", f"Bearer {front.token if token is None else token}")
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection.request(method, path, content, sent)
    with closing(connection.getresponse()) as said:
        return Answer(said.status, {name.lower(): value for name, value in said.getheaders()}, said.read())


@contextmanager
def upstash(front: RedisFront, token: str = "", **options: Any) -> Iterator[Upstash]:
    """Upstash's own client, which asks once."""
    with Upstash(
        url=front.url, token=token or front.token, rest_retries=0, allow_telemetry=False, **options
    ) as client:
        yield client


def in_base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
