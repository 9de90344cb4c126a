"""What is not there, what is not yours and what is past its time are one and the same to whoever asks."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from core.house import build_house
from core.settings import Settings, read_settings
from dev.demo_model import DemoModel
from functions.app import build_app
from tests.databases import run
from tests.guests import known, let_in, link
from tests.wire import WireCounter

HEADERS = ("content-type", "content-length", "retry-after", "x-session-version")
# By what it asks of a conversation; {turn} and {asked} are of that conversation.
CALLS: dict[str, tuple[str, str, Any]] = {
    "look": ("GET", "/v1/sessions/{session}", None),
    "messages": ("GET", "/v1/sessions/{session}/messages", None),
    "todos": ("GET", "/v1/sessions/{session}/todos", None),
    "audit": ("GET", "/v1/sessions/{session}/audit", None),
    "lock": ("PUT", "/v1/sessions/{session}/lock", {"agent": "manager"}),
    "unlock": ("DELETE", "/v1/sessions/{session}/lock", None),
    "end": ("DELETE", "/v1/sessions/{session}", None),
    "speak": ("POST", "/v1/turns", {"message": "Hello", "session_id": "{session}", "wait_s": 0}),
    "a turn": ("GET", "/v1/turns/{turn}", None),
    "cancel": ("POST", "/v1/turns/{turn}/cancel", None),
    "decide": ("POST", "/v1/approvals/{asked}", {"decision": "deny"}),
}


class Door:
    def __init__(self, client: TestClient, wire: WireCounter, url: str) -> None:
        self.client, self.wire, self.url = client, wire, url

    def conversation(self) -> tuple[UUID, UUID, UUID]:
        """Somebody's, with a turn and a question of it."""
        device = uuid4()
        turn = self.client.post(
            "/v1/turns", json={"message": "Hello"}, headers={"X-Device-ID": str(device)}
        ).json()
        asked = uuid4()
        run(
            self.url,
            "INSERT INTO approvals (session_id, id, turn_id, tool_call_id, input_digest, status, expires_at) "
            "VALUES (%s, %s, %s, 'c', 'd', 'pending', now() + interval '1 hour')",
            turn["session_id"],
            str(asked),
            turn["id"],
        )
        return UUID(turn["session_id"]), UUID(turn["id"]), asked

    def ask(self, what: str, device: UUID, ids: tuple[UUID, UUID, UUID], secret: str | None = None) -> Any:
        """What is answered but for the request's ID, and what that took."""
        method, path, body = CALLS[what]
        names = dict(zip(("session", "turn", "asked"), map(str, ids), strict=True))
        given = (
            None
            if body is None
            else {k: v.format(**names) if isinstance(v, str) else v for k, v in body.items()}
        )
        headers = {"X-Device-ID": str(device), **({"X-Share-Link": secret} if secret else {})}
        self.client.request(method, path.format(**names), json=given, headers=headers)
        self.wire.count.clear()
        answer = self.client.request(method, path.format(**names), json=given, headers=headers)
        told = {k: v for k, v in answer.json().items() if k != "request_id"}
        shown = {name: answer.headers.get(name) for name in HEADERS}
        return answer.status_code, told, shown, len(self.wire.count.statements), self.wire.count.round_trips


@pytest.fixture
def door(database_url: str, model: DemoModel) -> Iterator[Door]:
    environ = {"ACCESS_MODE": "open", "ANTHROPIC_API_KEY": "demo", "ANTHROPIC_BASE_URL": model.url}
    with WireCounter(database_url) as wire:
        house = build_house(read_settings({"DATABASE_URL": wire.url, **environ}))
        with TestClient(build_app(house, one_at_a_time=True)) as client:
            yield Door(client, wire, database_url)
        house.close()


@pytest.mark.parametrize("what", CALLS)
def test_all_that_is_not_there_for_somebody_is_answered_alike(door: Door, what: str) -> None:
    asks = known(door.url)
    theirs, dead, left = door.conversation(), door.conversation(), door.conversation()
    joined, shared = door.conversation(), door.conversation()
    let_in(door.url, dead[0], "owner", asks)
    run(
        door.url,
        "UPDATE conversation_states SET last_active_at = now() - interval '1 day' WHERE id = %s",
        str(dead[0]),
    )
    run(door.url, "DELETE FROM approvals WHERE session_id = %s", str(dead[0]))
    let_in(door.url, left[0], "owner", asks)
    run(door.url, "DELETE FROM members WHERE session_id = %s", str(left[0]))
    let_in(door.url, joined[0], "owner", asks)
    run(
        door.url,
        "UPDATE conversation_states SET merged_into = %s WHERE id = %s",
        str(theirs[0]),
        str(joined[0]),
    )
    run(door.url, "UPDATE conversation_states SET org_id = gen_random_uuid() WHERE id = %s", str(shared[0]))
    let_in(door.url, shared[0], "owner", asks)
    nowhere = (uuid4(), uuid4(), uuid4())
    due = door.ask(what, asks, nowhere)
    assert due[0] == 404
    assert door.ask(what, asks, theirs) == due, "not theirs"
    assert door.ask(what, asks, left) == due, "not theirs any more"
    assert door.ask(what, asks, joined) == due, "a part of another"
    assert door.ask(what, asks, shared) == due, "of another organisation"
    if what != "end":  # whoever owns one that is past its time may clear it away
        assert door.ask(what, asks, dead) == due, "past its time"


@pytest.mark.parametrize("what", ["look", "messages", "speak", "lock"])
def test_a_link_that_opens_nothing_is_answered_alike(door: Door, what: str) -> None:
    asks = known(door.url)
    ids, other = door.conversation(), door.conversation()
    revoked = link(door.url, ids[0], "editor", is_revoked=True)
    elsewhere = link(door.url, other[0], "editor")
    due = door.ask(what, asks, ids, f"{ids[0]}.{'x' * 43}")
    assert due[0] == 404
    assert door.ask(what, asks, ids, revoked) == due
    assert door.ask(what, asks, ids, elsewhere) == due
    nowhere = uuid4()
    assert door.ask(what, asks, (nowhere, nowhere, nowhere), f"{nowhere}.{'x' * 43}") == due


# ---- what is told of rates


def test_each_answer_to_a_message_tells_what_is_left(settings: Settings, model: DemoModel) -> None:
    house = build_house(replace(settings, rate_device_per_minute=1, rate_device_burst=3))
    with TestClient(build_app(house, one_at_a_time=True), headers={"X-Device-ID": str(uuid4())}) as client:

        def say(key: str, words: str = "Hello") -> Any:
            return client.post("/v1/turns", json={"message": words}, headers={"Idempotency-Key": key})

        def left(answer: Any) -> list[str]:
            return [answer.headers[f"RateLimit-{name}"] for name in ("Limit", "Remaining")]

        assert left(say("a")) == ["3", "2"]
        assert left(say("b")) == ["3", "1"]
        assert left(say("b")) == ["3", "1"], "a retry is free"
        reused = say("b", "Something else")
        assert (reused.status_code, left(reused)) == (422, ["3", "1"])
        assert left(say("c")) == ["3", "0"]
        refused = say("d")
        assert (refused.status_code, refused.json()["code"], left(refused)) == (
            429,
            "rate_exceeded",
            ["3", "0"],
        )
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert int(refused.headers["RateLimit-Reset"]) > 60
        assert left(say("c")) == ["3", "0"]
        streamed = client.post(
            "/v1/turns",
            json={"message": "Hello"},
            headers={"Idempotency-Key": "c", "Accept": "text/event-stream"},
        )
        assert streamed.headers["Content-Type"].startswith("text/event-stream")
        assert left(streamed) == ["3", "0"]
    house.close()


def test_registering_takes_a_place_of_the_network(settings: Settings) -> None:
    house = build_house(replace(settings, rate_address_per_minute=1, rate_address_burst=2))
    app = build_app(house, one_at_a_time=True)
    with (
        TestClient(app, client=("203.0.113.7", 1)) as here,
        TestClient(app, client=("198.51.100.7", 1)) as there,
    ):

        def register(client: TestClient) -> Any:
            body = {"secret": "x" * 43}
            return client.post("/v1/devices", json=body, headers={"X-Device-ID": str(uuid4())})

        assert [register(here).status_code for _ in range(3)] == [200, 200, 429]
        assert register(there).status_code == 200
    house.close()
