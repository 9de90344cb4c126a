"""The HTTP interface of a conversation: its shapes, its pages, its ownership."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from dev.demo_model import DemoModel, Fault
from functions.shapes import MessagesShape, SessionShape, TurnShape
from tests.databases import run


def _send(client: TestClient, message: object = "Hello", **headers: str) -> dict[str, Any]:
    response = client.post("/v1/turns", json={"message": message}, headers=headers)
    assert response.status_code == 200, response.text
    turn: dict[str, Any] = response.json()
    return turn


def test_every_answer_has_the_shape_that_openapi_tells(client: TestClient, model: DemoModel) -> None:
    done = _send(client)
    model.faults.add(Fault.status(402))
    failed = _send(client)
    assert (done["status"], failed["status"]) == ("completed", "failed")
    for turn in (done, failed, client.get(f"/v1/turns/{done['id']}").json()):
        TurnShape.model_validate_json(TurnShape.model_validate(turn).model_dump_json())
        assert set(turn) == set(TurnShape.model_fields)
    session = client.get("/v1/session").json()
    SessionShape.model_validate(session)
    assert set(session) == set(SessionShape.model_fields)
    MessagesShape.model_validate(client.get("/v1/session/messages").json())


def test_openapi_tells_the_whole_call(client: TestClient) -> None:
    told = client.get("/openapi.json").json()
    send = told["paths"]["/v1/turns"]["post"]
    assert {p["name"].lower() for p in send["parameters"]} == {
        "x-device-id",
        "x-share-link",
        "idempotency-key",
    }
    assert send["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/TurnBody")
    body = told["components"]["schemas"]["TurnBody"]
    assert body["required"] == ["message"]
    assert client.post("/v1/turns", json=body["examples"][0]).status_code == 200
    for path, calls in told["paths"].items():
        for call in calls.values():
            assert call["summary"], path
            for status, answer in call["responses"].items():
                shapes = set(answer.get("content", {}))
                assert status < "400" or shapes == {"application/problem+json"}, f"{path} {status}: {shapes}"


def test_a_turn_can_be_looked_at_again(client: TestClient) -> None:
    turn = _send(client)
    assert client.get(f"/v1/turns/{turn['id']}").json() == turn


def test_a_conversation_goes_on_with_all_that_was_said(client: TestClient, model: DemoModel) -> None:
    _send(client, "My name is Ada.")
    turn = _send(client, [{"type": "text", "text": "What is my name?"}])
    assert "Your name is Ada" in turn["reply"]
    assert [m["role"] for m in model.requests[-1].body["messages"]] == ["user", "assistant", "user"]
    session = client.get("/v1/session").json()
    assert session["id"] == turn["session_id"]
    assert session["busy"] is False
    assert session["usage"]["output_tokens"] > turn["usage"]["output_tokens"] > 0


def test_the_prompt_cache_is_read_from_the_second_turn_on(client: TestClient, model: DemoModel) -> None:
    _send(client, "word " * 2_000)
    assert _send(client, "and on")["usage"]["cache_read_tokens"] > 2_000


def test_pages_go_both_ways_and_miss_nothing(client: TestClient) -> None:
    for number in range(4):
        _send(client, f"m{number}")
    whole = client.get("/v1/session/messages").json()
    assert [item["seq"] for item in whole["items"]] == list(range(1, 9))
    assert whole["next"] is None

    forwards: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = client.get(f"/v1/session/messages?after={after}&limit=3").json()
        forwards += page["items"]
        after = page["next"]
    assert forwards == whole["items"]

    backwards: list[Any] = []
    before: int | None = 10**9
    while before is not None:
        page = client.get(f"/v1/session/messages?before={before}&limit=3").json()
        backwards = page["items"] + backwards
        before = page["next"]
    assert backwards == whole["items"]
    assert client.get("/v1/session/messages?after=8").json() == {"items": [], "next": None}


def test_what_is_not_yours_does_not_exist(client: TestClient) -> None:
    turn = _send(client)
    stranger = {"X-Device-ID": str(uuid4())}
    theirs = client.get(f"/v1/turns/{turn['id']}", headers=stranger).json()
    nowhere = client.get(f"/v1/turns/{uuid4()}").json()
    assert {**theirs, "request_id": ""} == {**nowhere, "request_id": ""}
    _send(client, "Hello", **stranger)
    assert client.get(f"/v1/turns/{turn['id']}", headers=stranger).status_code == 404
    assert client.get("/v1/session", headers=stranger).json()["id"] != turn["session_id"]


def test_upper_and_lower_case_are_the_same_device(client: TestClient) -> None:
    device = str(uuid4())
    first = _send(client, "Hello", **{"X-Device-ID": device.upper()})
    assert _send(client, "Hello", **{"X-Device-ID": device})["session_id"] == first["session_id"]


def test_the_lock_of_an_agent_is_shown_until_its_time_is_over(client: TestClient, database_url: str) -> None:
    _send(client)
    run(
        database_url,
        "UPDATE conversation_states SET active_agent = 'manager', locked_at = now(), session_ttl = 60",
    )
    session = client.get("/v1/session").json()
    assert session["active_agent"] == "manager"
    assert session["lock_expires_at"] > session["locked_at"]
    run(database_url, "UPDATE conversation_states SET locked_at = now() - interval '61 seconds'")
    session = client.get("/v1/session").json()
    assert (session["active_agent"], session["locked_at"], session["lock_expires_at"]) == (None, None, None)


def test_every_answer_has_a_request_id_of_its_own(client: TestClient) -> None:
    ids = {client.get("/health").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_no_log_line_holds_what_was_said_or_who_said_it(
    client: TestClient, model: DemoModel, caplog: pytest.LogCaptureFixture
) -> None:
    device = str(uuid4())
    caplog.set_level("DEBUG", "core")
    caplog.set_level("DEBUG", "functions")
    model.faults.add(Fault.status(402))
    _send(client, "my secret is hunter2", **{"X-Device-ID": device})
    client.post("/v1/turns", json={"message": 1}, headers={"X-Device-ID": device})
    assert caplog.records
    assert "hunter2" not in caplog.text
    assert device not in caplog.text
    assert UUID(device).hex not in caplog.text
