"""HTTP to one service, by the standard library."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

Json = dict[str, Any]

# Longer than any `wait_s`.
_PATIENCE_S = 40


class NotThere(Exception):
    """Nothing answers at the address."""


class Refused(Exception):
    """The service's own answer that says no."""

    def __init__(self, status: int, problem: Json) -> None:
        self.status = status
        self.code = str(problem.get("code", status))
        super().__init__(str(problem.get("detail") or problem.get("title") or f"It answered {status}."))


class Calls:
    """What one device asks of one service, with what it shows of itself."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.url = url
        self.headers = headers

    def get(self, path: str) -> Json:
        return self.ask("GET", path)

    def post(self, path: str, body: Json, *, key: str | None = None) -> Json:
        # Not only messages take a key; where none is taken it says nothing.
        return self.ask("POST", path, body, key or str(uuid4()))

    def ask(self, method: str, path: str, body: Json | None = None, key: str | None = None) -> Json:
        headers = self.headers | ({"Idempotency-Key": key} if key else {})
        connection = _connection(self.url)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise NotThere(self.url) from error
        finally:
            connection.close()
        said: Json = json.loads(content) if content else {}
        if answer.status >= 400:
            raise Refused(answer.status, said)
        return said

    def events(self, path: str) -> Iterator[tuple[str, Json]]:
        """What is told of a turn, as it happens. It ends when the service ends it, or dies."""
        connection = _connection(self.url)
        try:
            connection.request("GET", path, None, {**self.headers, "Accept": "text/event-stream"})
            kind = ""
            for line in connection.getresponse():
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield kind, json.loads(value)
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()


def is_alive(url: str) -> bool:
    try:
        Calls(url, {}).get("/health")
    except (NotThere, Refused, ValueError):
        return False
    return True


def _connection(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "127.0.0.1", parts.port, timeout=_PATIENCE_S)
