"""The active-agent lock, the todos and the audit over HTTP."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from core.agents.agent import Agent
from core.agents.roster import Roster
from core.house import build_house
from core.settings import Settings
from dev.demo_model import DemoModel, Reply
from functions.app import build_app
from functions.shapes import AuditShape, SessionShape, TodosShape

ROSTER = Roster.of(
    Agent(key="manager", prompt="You route.", todos=True),
    Agent(key="billing", prompt="You bill.", description="Invoices.", lock_ttl_s=600),
)
LOCK = "/v1/session/lock"


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    house = build_house(settings, ROSTER)
    with TestClient(build_app(house, one_at_a_time=False), headers={"X-Device-ID": str(uuid4())}) as client:
        yield client
    house.close()


def send(client: TestClient, message: str = "Hello") -> dict[str, Any]:
    response = client.post("/v1/turns", json={"message": message})
    assert response.status_code == 200, response.text
    turn: dict[str, Any] = response.json()
    return turn


def test_the_lock_is_put_seen_and_deleted(client: TestClient) -> None:
    assert send(client)["agent"] == "manager"
    put = client.put(LOCK, json={"agent": "billing", "reason": "The person pressed a button."})
    assert put.status_code == 200, put.text
    SessionShape.model_validate(put.json())
    assert (put.json()["active_agent"], put.json()["session_ttl"]) == ("billing", 600)
    assert client.get("/v1/session").json()["lock_expires_at"] == put.json()["lock_expires_at"] is not None
    assert send(client)["agent"] == "billing"
    deleted = client.delete(LOCK)
    assert (deleted.status_code, deleted.json()["active_agent"]) == (200, None)
    assert send(client)["agent"] == "manager"

    first = client.get("/v1/session/audit", params={"limit": 1}).json()
    AuditShape.model_validate(first)
    ((note,), after) = (first["items"], first["next"])
    assert (note["actor"], note["action"], note["agent"], note["reason"]) == (
        "user",
        "lock_set",
        "billing",
        "The person pressed a button.",
    )
    rest = client.get("/v1/session/audit", params={"after": after}).json()
    assert [n["action"] for n in rest["items"]] == ["lock_cleared"]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"agent": "poetry"}, 422, "unknown_agent", None),
        ({}, 422, "invalid_request", "agent"),
        ({"agent": 7}, 422, "invalid_request", "agent"),
        ({"agent": "billing", "ttl_s": 0}, 422, "invalid_request", "ttl_s"),
        ({"agent": "billing", "ttl_s": True}, 422, "invalid_request", "ttl_s"),
        ({"agent": "billing", "ttl_s": 1.5}, 422, "invalid_request", "ttl_s"),
        ({"agent": "billing", "reason": "x" * 501}, 422, "invalid_request", "reason"),
        ({"agent": "billing", "until": 1}, 422, "invalid_request", "until"),
        ([], 422, "invalid_request", None),
    ],
)
def test_what_cannot_be_a_lock_is_refused(
    client: TestClient, body: object, status: int, code: str, field: str | None
) -> None:
    send(client)
    answer = client.put(LOCK, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert [e["field"] for e in answer.json().get("errors", [])] == ([field] if field else [])
    assert client.get("/v1/session/audit").json()["items"] == []


def test_a_device_without_a_conversation_has_none_of_it(client: TestClient) -> None:
    for answer in (
        client.put(LOCK, json={"agent": "billing"}),
        client.delete(LOCK),
        client.get("/v1/session/todos"),
        client.get("/v1/session/audit"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")


def test_a_reason_of_any_characters_is_kept(client: TestClient) -> None:
    send(client)
    put = client.put(LOCK, content=b'{"agent": "billing", "reason": "a \\u0000 b \\ud800"}')
    assert put.status_code == 200
    assert client.get("/v1/session/audit").json()["items"][0]["reason"] == "a  b �"


def test_the_list_of_what_is_to_be_done_is_shown(client: TestClient, model: DemoModel) -> None:
    todos = [{"content": "Call the lab", "status": "pending"}, {"content": "Greet", "status": "completed"}]
    model.replies.add(Reply([{"type": "tool_use", "name": "set_todos", "input": {"todos": todos}}]))
    send(client)
    shown = client.get("/v1/session/todos").json()
    TodosShape.model_validate(shown)
    assert [(t["position"], t["content"], t["status"]) for t in shown["items"]] == [
        (1, "Call the lab", "pending"),
        (2, "Greet", "completed"),
    ]
    stranger = client.get("/v1/session/todos", headers={"X-Device-ID": str(uuid4())})
    assert stranger.status_code == 404
