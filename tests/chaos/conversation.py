"""A conversation that touches all that the cache keeps, held with two functions in turn, and all that was answered to it."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

import httpx2
from starlette.testclient import TestClient

from core.cache.allowance import one_request
from core.house import House, build_house
from core.sessions.manager import SessionManager
from core.settings import read_settings
from core.store import sessions
from functions.answers import JsonAnswer, session_shape
from functions.app import build_app

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|toolu_\w+")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
DEVICE = UUID("3f2b8c1e-5a4d-4c7b-9e1f-2a6d8b0c4e57")


@dataclass(slots=True)
class Told:
    """What was answered, with the names of a run taken out, and how long each answer took."""

    answers: list[str] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)

    def note(self, step: str, answer: httpx2.Response, took_s: float) -> None:
        told = answer.json() if answer.content else None
        if isinstance(told, dict):
            told.pop("request_id", None)
        version = answer.headers.get("x-session-version", "none")
        self.add(f"{step} -> {answer.status_code} at {version}: {json.dumps(told)}", took_s)

    def add(self, answer: str, took_s: float) -> None:
        self.answers.append(_TIME.sub("T", _UUID.sub(self._name, answer)))
        self.took_s.append(took_s)

    def _name(self, found: re.Match[str]) -> str:
        return self._names.setdefault(found[0], f"name-{len(self._names) + 1}")


@dataclass(slots=True)
class Talk:
    """A client that goes to one function after the other, and sends back the version that it was told last."""

    houses: list[House]
    functions: list[TestClient]
    # Called before each step.
    meanwhile: Callable[[], None]
    told: Told = field(default_factory=Told)
    _version: str | None = None
    _steps: int = 0

    @classmethod
    @contextmanager
    def between(cls, environ: dict[str, str], meanwhile: Callable[[], None]) -> Iterator[Self]:
        with ExitStack() as running:
            houses = [build_house(read_settings(environ)) for _ in range(2)]
            functions = []
            for house in houses:
                running.callback(house.close)
                app = build_app(house, one_at_a_time=False)
                functions.append(running.enter_context(TestClient(app, headers={"X-Device-ID": str(DEVICE)})))
            yield cls(houses, functions, meanwhile)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        self.meanwhile()
        self._steps += 1
        function = self.functions[self._steps % 2]
        if self._version is not None and path == "/v1/session":
            headers["X-Session-Version"] = self._version
        began = time.perf_counter()
        answer = function.request(method, path, json=body, headers=headers)
        self.told.note(f"{method} {_UUID.sub('ID', path)}", answer, time.perf_counter() - began)
        self._version = answer.headers.get("x-session-version", self._version)
        if method == "GET" and path == "/v1/session" and answer.status_code == 200:
            assert answer.content == self._as_it_is(), "not what Postgres says"
        return answer.json() if answer.content else None

    def _as_it_is(self) -> bytes:
        found = sessions.find(self.houses[0].database, DEVICE)  # type: ignore[arg-type]  # a plain UUID
        assert found is not None
        return bytes(JsonAnswer(session_shape(found)).body)

    def look(self, times: int = 3) -> Any:
        return [self.call("GET", "/v1/session") for _ in range(times)][-1]

    def say(self, words: str, **headers: str) -> Any:
        return self.call("POST", "/v1/turns", {"message": words}, **headers)


def hold(talk: Talk) -> None:
    """Twice, so that there are enough answers to speak of the slowest of a hundred."""
    _hold(talk)
    _pay(talk)
    _hold(talk)


def _hold(talk: Talk) -> None:
    """Each change is looked at by both functions."""
    talk.look()
    talk.say("Hello, my name is Ada.")
    talk.look(5)
    talk.call("PUT", "/v1/session/lock", {"agent": "scheduling", "ttl_s": 900, "reason": "asked for"})
    talk.look()
    talk.say("I would like an appointment with a doctor tomorrow", **{"Idempotency-Key": "once"})
    talk.look()
    talk.say("I would like an appointment with a doctor tomorrow", **{"Idempotency-Key": "once"})
    talk.look()
    talk.call("DELETE", "/v1/session/lock")
    talk.look()
    for page in ("messages", "todos", "audit"):
        talk.call("GET", f"/v1/session/{page}")
    _count(talk)
    talk.call("DELETE", "/v1/session")
    talk.look()
    talk.call("DELETE", "/v1/session")
    talk.look(2)
    talk.say("Do you know my name?")
    talk.look(4)


def _pay(talk: Talk) -> None:
    turn = talk.say("Please pay invoice 1 of 120")
    talk.look()
    (asked,) = talk.call("GET", "/v1/approvals")["items"]
    decision = {"decision": "approve", "input_digest": asked["input_digest"]}
    talk.call("POST", f"/v1/approvals/{asked['id']}", decision)
    talk.call("GET", f"/v1/turns/{turn['id']}?wait_s=20")
    talk.look()


def _count(talk: Talk) -> None:
    """Sessions of a team's own: changed by both functions in turn, and read by whoever changed them last."""
    managers: list[SessionManager[dict[str, int]]] = [
        house.session_manager(dict, namespace="count") for house in talk.houses
    ]
    made = managers[0].create(UUID(int=7), user_id=UUID(int=8), metadata={"device": "a phone"})  # type: ignore[arg-type]
    for number in range(6):
        talk.meanwhile()
        manager = managers[number % 2]
        began = time.perf_counter()
        with one_request(talk.houses[0].cache_s):
            manager.update(made.id, lambda one: one.with_state({"count": one.state.get("count", 0) + 1}))
            found = manager.get(made.id)
        assert found is not None
        talk.told.add(f"count {found.version}: {found.state} {found.metadata}", time.perf_counter() - began)
    talk.told.add(f"there {managers[1].list_for_user(UUID(int=8))}", 0)  # type: ignore[arg-type]
    talk.told.add(f"ended {managers[0].delete(made.id)} {managers[0].get(made.id)}", 0)
