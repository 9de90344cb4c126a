"""Approvals over HTTP: what a person is shown, and what each way to decide is answered with."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from core.digest import digest
from core.house import House, build_house
from core.settings import Settings
from dev.demo_model import DemoModel, Reply
from functions.shapes import ApprovalShape, ApprovalsShape, TurnShape
from tests.agents import Workshop
from tests.conversations import everything, refusals
from tests.databases import run

ARGUMENTS = {"pile": "old letters", "é": 1.50, "count": 3}


@pytest.fixture
def house(settings: Settings, shop: Workshop, model: DemoModel) -> Iterator[House]:
    built = build_house(settings, shop.roster())
    yield built
    built.close()
    assert refusals(model) == []


def ask(client: TestClient, model: DemoModel, device: UUID | None = None, count: int = 1) -> dict[str, Any]:
    """A turn that waits for a person; as it is answered."""
    wish = [{"type": "tool_use", "name": "burn", "input": {**ARGUMENTS, "n": n}} for n in range(count)]
    model.replies.add(Reply([{"type": "text", "text": "I would burn them."}, *wish]))
    headers = {"X-Device-ID": str(device)} if device else {}
    answered = client.post("/v1/turns", json={"message": "burn it"}, headers=headers)
    assert answered.status_code == 202
    turn: dict[str, Any] = answered.json()
    TurnShape.model_validate(turn)
    return turn


@pytest.fixture
def asked(client: TestClient, model: DemoModel) -> dict[str, Any]:
    ask(client, model)
    (approval,) = listed(client)
    return approval


def listed(client: TestClient, device: UUID | None = None, **query: Any) -> list[dict[str, Any]]:
    headers = {"X-Device-ID": str(device)} if device else {}
    found = client.get("/v1/approvals", params=query, headers=headers)
    assert found.status_code == 200
    ApprovalsShape.model_validate(found.json())
    items: list[dict[str, Any]] = found.json()["items"]
    return items


def decide(client: TestClient, asked: dict[str, Any], decision: str, **body: Any) -> Response:
    return client.post(f"/v1/approvals/{asked['id']}", json={"decision": decision, **body})


def yes(client: TestClient, asked: dict[str, Any]) -> Response:
    return decide(client, asked, "approve", input_digest=asked["input_digest"])


def test_the_exact_arguments_are_shown_with_their_digest(
    client: TestClient, model: DemoModel, asked: dict[str, Any]
) -> None:
    assert (asked["kind"], asked["tool"], asked["agent"], asked["role"]) == (
        "call",
        "burn",
        "manager",
        "owner",
    )
    assert (asked["status"], asked["decided_at"]) == ("pending", None)
    assert list(asked["arguments"].items()) == list({**ARGUMENTS, "n": 0}.items())
    text = json.dumps(asked["arguments"], ensure_ascii=False, separators=(",", ":"))
    assert asked["input_digest"] == digest(text)
    turn = client.get(f"/v1/turns/{asked['turn_id']}").json()
    assert turn["approvals"] == [asked]


def test_a_yes_lets_the_call_run_once(
    client: TestClient, shop: Workshop, database_url: str, asked: dict[str, Any]
) -> None:
    approved = yes(client, asked)
    assert approved.status_code == 200
    assert {**approved.json(), "status": "pending", "decided_at": None} == asked
    assert approved.json()["status"] == "approved"
    assert listed(client) == []
    before = everything(database_url)
    again = yes(client, asked)
    assert (again.status_code, again.json()) == (200, approved.json())
    assert everything(database_url) == before
    turn = client.get(f"/v1/turns/{asked['turn_id']}?wait_s=20").json()
    assert (turn["status"], shop.ran["burn"]) == ("completed", 1)
    assert [approval["status"] for approval in turn["approvals"]] == ["approved"]
    otherwise = decide(client, asked, "deny")
    assert (otherwise.status_code, otherwise.json()["code"]) == (409, "approval_decided")
    assert "A yes was on record already" in otherwise.json()["detail"]


def test_a_no_may_carry_a_note(
    client: TestClient, model: DemoModel, shop: Workshop, asked: dict[str, Any]
) -> None:
    denied = decide(client, asked, "deny", note="  Keep the blue one. ")
    assert (denied.json()["status"], denied.json()["note"]) == ("denied", "Keep the blue one.")
    turn = client.get(f"/v1/turns/{asked['turn_id']}?wait_s=20").json()
    assert (turn["status"], shop.ran["burn"]) == ("completed", 0)
    (result,) = model.requests[-1].body["messages"][-1]["content"]
    assert result["content"].endswith("They said: Keep the blue one.")


def test_another_digest_than_that_of_the_call_is_refused(
    client: TestClient, database_url: str, asked: dict[str, Any]
) -> None:
    before = everything(database_url)
    changed = decide(client, asked, "approve", input_digest="0" * 64)
    assert (changed.status_code, changed.json()["code"]) == (409, "approval_changed")
    assert "read the approval again" in changed.json()["detail"]
    assert everything(database_url) == before


def test_one_whose_time_is_over_is_gone(
    client: TestClient, database_url: str, asked: dict[str, Any], shop: Workshop
) -> None:
    run(database_url, "UPDATE approvals SET expires_at = now() - interval '1 second'")
    assert listed(client) == []
    late = yes(client, asked)
    assert (late.status_code, late.json()["code"]) == (410, "approval_expired")
    turn = client.get(f"/v1/turns/{asked['turn_id']}?wait_s=20").json()
    assert (turn["status"], shop.ran["burn"]) == ("completed", 0)


def test_what_is_not_yours_is_not_there(
    client: TestClient, model: DemoModel, database_url: str, asked: dict[str, Any]
) -> None:
    stranger = {"X-Device-ID": str(uuid4())}
    client.post("/v1/turns", json={"message": "Hi"}, headers=stranger)
    before = everything(database_url)
    body = {"decision": "approve", "input_digest": asked["input_digest"]}
    there = client.post(f"/v1/approvals/{asked['id']}", json=body, headers=stranger)
    nowhere = client.post(f"/v1/approvals/{uuid4()}", json=body, headers=stranger)
    assert (there.status_code, there.json()["code"]) == (404, "approval_not_found")
    told = ("status", "code", "title", "detail")
    assert [there.json()[field] for field in told] == [nowhere.json()[field] for field in told]
    assert client.get("/v1/approvals", headers=stranger).json() == {"items": []}
    assert client.get("/v1/approvals", headers={"X-Device-ID": str(uuid4())}).json() == {"items": []}
    assert everything(database_url) == before


def test_a_member_whose_role_is_too_small_is_told_so(
    client: TestClient, database_url: str, asked: dict[str, Any]
) -> None:
    friend = {"X-Device-ID": str(uuid4())}
    client.post("/v1/turns", json={"message": "Hi"}, headers=friend)
    user = "SELECT user_id FROM connections WHERE device_id = %s"
    add = f"INSERT INTO members (session_id, user_id, role) VALUES (%s, ({user}), 'viewer')"
    run(database_url, add, asked["session_id"], friend["X-Device-ID"])
    refused = client.post(f"/v1/approvals/{asked['id']}", json={"decision": "deny"}, headers=friend)
    assert (refused.status_code, refused.json()["code"]) == (403, "role_too_small")
    assert "for owners of the conversation, and you are its viewer" in refused.json()["detail"]
    run(database_url, "UPDATE members SET role = 'owner'")
    assert client.get("/v1/approvals", headers=friend).json()["items"] == [asked]
    denied = client.post(f"/v1/approvals/{asked['id']}", json={"decision": "deny"}, headers=friend)
    ApprovalShape.model_validate(denied.json())
    assert denied.status_code == 200


def test_the_newest_conversation_comes_first_and_no_more_than_asked_for(
    client: TestClient, model: DemoModel, database_url: str
) -> None:
    """Three devices of one user."""
    devices = [uuid4() for _ in range(3)]
    turns = [ask(client, model, device, count=2) for device in devices]
    first = "(SELECT user_id FROM connections WHERE device_id = %s)"
    for table in ("conversation_states", "connections"):
        run(database_url, f"UPDATE {table} SET user_id = {first}", str(devices[0]))
    found = listed(client, devices[1])
    assert [item["session_id"] for item in found[::2]] == [turn["session_id"] for turn in reversed(turns)]
    assert [item["session_id"] for item in found[1::2]] == [turn["session_id"] for turn in reversed(turns)]
    assert listed(client, devices[1], limit=3) == found[:3]


@pytest.mark.parametrize("limit", ["0", "201", "x"])
def test_a_list_without_end_is_not_to_be_had(client: TestClient, limit: str) -> None:
    assert client.get(f"/v1/approvals?limit={limit}").status_code == 422


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "decision"),
        ({"decision": "yes"}, "decision"),
        ({"decision": None}, "decision"),
        ({"decision": ["deny"]}, "decision"),
        ({"decision": "approve"}, "input_digest"),
        ({"decision": "approve", "input_digest": 7}, "input_digest"),
        ({"decision": "deny", "note": "x" * 501}, "note"),
        ({"decision": "deny", "note": "a\0b"}, "note"),
        ({"decision": "deny", "note": "\ud800"}, "note"),
        ({"decision": "deny", "note": 7}, "note"),
        ({"decision": "deny", "why": "because"}, "why"),
        ({"decision": "happened"}, "decision"),
        ({"decision": "did_not_happen"}, "decision"),
    ],
    ids=str,
)
def test_what_cannot_be_a_decision_is_refused(
    client: TestClient, database_url: str, asked: dict[str, Any], body: dict[str, Any], field: str
) -> None:
    before = everything(database_url)
    refused = client.post(f"/v1/approvals/{asked['id']}", content=json.dumps(body))
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert field in [error["field"] for error in refused.json()["errors"]]
    assert everything(database_url) == before


def test_a_yes_with_a_note_is_refused(client: TestClient, asked: dict[str, Any]) -> None:
    refused = decide(client, asked, "approve", input_digest=asked["input_digest"], note="Fine.")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "note")


@pytest.mark.parametrize("body", ["[]", '"deny"', "null"])
def test_a_body_that_is_no_object_is_refused(client: TestClient, body: str) -> None:
    assert client.post(f"/v1/approvals/{uuid4()}", content=body).status_code == 422


def test_what_came_of_a_call_is_said_through_the_same_door(
    client: TestClient, house: House, model: DemoModel, database_url: str, asked: dict[str, Any]
) -> None:
    """`burn` is a `once` call: its function died after the yes, and nobody knows."""
    yes(client, asked)
    ((session,),) = run(database_url, "SELECT id FROM conversation_states")
    run(database_url, "UPDATE tool_calls SET status = 'started'")
    turn = client.get(f"/v1/turns/{asked['turn_id']}?wait_s=20").json()
    assert turn["status"] == "completed"
    (question,) = listed(client)
    assert (question["kind"], question["arguments"]) == ("outcome", asked["arguments"])
    assert [approval["kind"] for approval in turn["approvals"]] == ["call", "outcome"]
    wrong = decide(client, question, "approve", input_digest=question["input_digest"])
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "decision")
    run(database_url, "UPDATE conversation_states SET lease_expires_at = now() + interval '1 minute'")
    busy = decide(client, question, "happened")
    assert (busy.status_code, busy.json()["code"], busy.headers["retry-after"]) == (409, "session_busy", "1")
    run(database_url, "UPDATE conversation_states SET lease_expires_at = NULL")
    settled = decide(client, question, "happened", note="The ashes are cold.")
    assert (settled.status_code, settled.json()["status"]) == (200, "approved")
    last = client.get("/v1/session/messages").json()["items"][-1]
    assert last["turn_id"] == asked["turn_id"]
    assert "call burn of earlier" in last["content"][0]["text"]
    assert str(session) == asked["session_id"]
