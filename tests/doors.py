"""Doors for tests: the application in a mode of its own, devices that are let in, and tokens of every wrong kind."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import jwt
from httpx2 import Response
from starlette.testclient import TestClient

from core.house import House, build_house
from core.settings import Secret, Settings
from functions.app import build_app

OLD_KEY, NEW_KEY, USER_KEY, OTHER_KEY = ("o" * 40, "n" * 40, "u" * 40, "x" * 40)
ISSUER, AUDIENCE = "https://people.example.com/", "latchkey"
SECRET = "s" * 43


def settings_of(settings: Settings, mode: str, **more: Any) -> Settings:
    return replace(
        settings,
        access_mode=mode,
        device_token_keys={"old": Secret(OLD_KEY)},
        jwt_keys={"users": Secret(USER_KEY)},
        jwt_issuer=ISSUER,
        jwt_audience=AUDIENCE,
        **more,
    )


@dataclass(frozen=True, slots=True)
class Door:
    client: TestClient
    house: House

    def call(
        self,
        method: str,
        path: str,
        device: UUID | None = None,
        token: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> Response:
        given = {} if device is None else {"X-Device-ID": str(device)}
        given |= {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.client.request(method, path, headers={**given, **(headers or {})}, **more)

    def register(self, device: UUID, secret: str = SECRET) -> dict[str, Any]:
        answer = self.call("POST", "/v1/devices", device, json={"secret": secret})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def say(self, device: UUID, token: str | None = None, text: str = "Hello") -> dict[str, Any]:
        answer = self.call("POST", "/v1/turns", device, token, json={"message": text})
        assert answer.status_code == 200, answer.text
        turn: dict[str, Any] = answer.json()
        return turn

    def link(self, device: UUID, token: str | None, user_token: str) -> Response:
        return self.call("POST", "/v1/devices/link", device, token, json={"user_token": user_token})


@contextmanager
def opened(settings: Settings) -> Iterator[Door]:
    house = build_house(settings)
    try:
        with TestClient(build_app(house, one_at_a_time=False)) as client:
            yield Door(client, house)
    finally:
        house.close()


def signed(
    claims: dict[str, Any], key: str, *, kid: str | None, algorithm: str = "HS256", **header: Any
) -> str:
    named = header if kid is None else {"kid": kid, **header}
    return jwt.encode(claims, key, algorithm, headers=named)


def device_token(
    device: UUID, version: int = 0, *, key: str = OLD_KEY, kid: str | None = "old", **claims: Any
) -> str:
    now = int(time.time())
    given = {"aud": "urn:latchkey:device", "sub": str(device), "ver": version, "iat": now, "exp": now + 600}
    return signed({**given, **claims}, key, kid=kid, typ="device+jwt")


def user_token(name: str = "ada", *, key: str = USER_KEY, kid: str | None = "users", **claims: Any) -> str:
    given = {"iss": ISSUER, "aud": AUDIENCE, "sub": name, "exp": int(time.time()) + 600}
    return signed(
        {key: value for key, value in {**given, **claims}.items() if value is not None}, key, kid=kid
    )


def problem(answer: Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    return answer.status_code, answer.json()["code"]


def new_device() -> UUID:
    return uuid4()
