"""Bad input gets a clear problem with a code, and nothing is written."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from core.house import House, build_house
from core.settings import read_settings
from functions.app import build_app
from functions.shapes import ProblemShape
from tests.databases import run

HELLO = b'{"message": "Hello"}'
ID = "X-Device-ID"
KEY = "Idempotency-Key"


def _rows(url: str) -> list[tuple[Any, ...]]:
    tables = ("users", "connections", "conversation_states", "turns", "messages")
    return [run(url, f"SELECT count(*) FROM {table}")[0] for table in tables]


def _is_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    ProblemShape.model_validate(problem)
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["detail"].endswith(".")
    assert problem["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    return problem


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({ID: ""}, HELLO, 400, "device_id_missing"),
        ({ID: "me"}, HELLO, 400, "device_id_malformed"),
        ({ID: "{3f2b8c1e-5a4d-4c7b-9e1f-2a6d8b0c4e57}"}, HELLO, 400, "device_id_malformed"),
        ({ID: "3f2b8c1e5a4d4c7b9e1f2a6d8b0c4e57"}, HELLO, 400, "device_id_malformed"),
        ({ID: f"{UUID(int=1)}, {UUID(int=2)}"}, HELLO, 400, "device_id_malformed"),
        ({ID: str(UUID(int=0))}, HELLO, 400, "device_id_malformed"),
        ({ID: "'; DROP TABLE turns; --"}, HELLO, 400, "device_id_malformed"),
        ({KEY: ""}, HELLO, 400, "idempotency_key_malformed"),
        ({KEY: "k" * 256}, HELLO, 400, "idempotency_key_malformed"),
        ({KEY: "a\tb"}, HELLO, 400, "idempotency_key_malformed"),
        ({}, b"", 400, "bad_json"),
        ({}, b"Hello", 400, "bad_json"),
        ({}, b'{"message": "Hello"', 400, "bad_json"),
        ({}, b'{"message": "Hello"}{}', 400, "bad_json"),
        ({}, b'{"message": "a\0b"}', 400, "bad_json"),
        ({}, b'{"message": "a", "message": "b"}', 400, "bad_json"),
        ({}, b'{"message": NaN}', 400, "bad_json"),
        ({}, b'{"message": ' + b"9" * 5_000 + b"}", 400, "bad_json"),
        ({}, b"[" * 100_000, 400, "bad_json"),
        ({}, b'\xef\xbb\xbf{"message": "Hello"}', 400, "bad_json"),
        ({}, b'{"message": "\xff"}', 400, "invalid_utf8"),
        ({}, b'{"message": "\xed\xa0\x80"}', 400, "invalid_utf8"),
        ({}, '{"message": "Hello"}'.encode("utf-16"), 400, "invalid_utf8"),
        ({}, b"null", 422, "invalid_request"),
        ({}, b'["Hello"]', 422, "invalid_request"),
        ({}, b'"Hello"', 422, "invalid_request"),
        ({}, b"{}", 422, "invalid_request"),
        ({}, b'{"message": null}', 422, "invalid_request"),
        ({}, b'{"message": 7}', 422, "invalid_request"),
        ({}, b'{"message": ""}', 422, "invalid_request"),
        ({}, b'{"message": " \\n\\t "}', 422, "invalid_request"),
        ({}, b'{"message": "a\\u0000b"}', 422, "invalid_request"),
        ({}, b'{"message": [{"type": "image"}]}', 422, "invalid_request"),
        ({}, b'{"message": "Hello", "mesage": "Hello"}', 422, "invalid_request"),
        ({}, b'{"message": "Hello", "\\ud800": 1}', 422, "invalid_request"),
        ({}, json.dumps({"message": "x" * 200_000}).encode(), 413, "message_too_large"),
        ({}, b'{"message": "' + b"x" * 6_000_000 + b'"}', 413, "body_too_large"),
    ],
)
def test_a_bad_message_is_refused_and_nothing_is_written(
    client: TestClient, database_url: str, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    _is_problem(client.post("/v1/turns", content=body, headers=headers), status, code)
    assert _rows(database_url) == [(0,)] * 5


def test_a_body_that_never_ends_is_cut_off(client: TestClient, database_url: str) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        while sent < 50_000_000:
            sent += 65_536
            yield b"x" * 65_536

    _is_problem(client.post("/v1/turns", content=endless()), 413, "body_too_large")
    assert _rows(database_url) == [(0,)] * 5


def test_every_field_that_is_wrong_is_named(client: TestClient) -> None:
    problem = _is_problem(
        client.post("/v1/turns", json={"text": "Hello", "to": "you"}), 422, "invalid_request"
    )
    assert [error["field"] for error in problem["errors"]] == ["text", "to", "message"]


@pytest.mark.parametrize("text", ["\ud800", "a\udc00b", "😀 \ud83d", "שלום", '"\\\u2028'])
def test_a_text_that_json_can_carry_comes_back_exactly(client: TestClient, text: str) -> None:
    body = json.dumps({"message": f"x {text}"}).encode()
    assert client.post("/v1/turns", content=body).json()["status"] == "completed"
    items = client.get("/v1/session/messages").json()["items"]
    assert items[0]["content"] == [{"type": "text", "text": f"x {text}"}]
    assert client.post("/v1/turns", json={"message": "and on"}).json()["status"] == "completed"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/turns/", 404, "not_found"),
        ("GET", "/%00%ff", 404, "not_found"),
        ("PUT", "/v1/turns", 405, "method_not_allowed"),
        ("DELETE", "/health", 405, "method_not_allowed"),
        ("GET", "/v1/turns/not-a-uuid", 422, "invalid_request"),
        ("GET", "/v1/turns/8fc7f5a3-98c0-4426-a55c-5e4b8d18f07b", 404, "turn_not_found"),
        ("GET", "/v1/session", 404, "session_not_found"),
        ("GET", "/v1/session/messages", 404, "session_not_found"),
        ("GET", "/v1/session/messages?limit=0", 422, "invalid_request"),
        ("GET", "/v1/session/messages?limit=201", 422, "invalid_request"),
        ("GET", "/v1/session/messages?after=x", 422, "invalid_request"),
        ("GET", "/v1/session/messages?after=99999999999999999999", 422, "invalid_request"),
        ("GET", "/v1/session/messages?before=-1", 422, "invalid_request"),
        ("GET", "/v1/session/messages?before=1&after=1", 422, "invalid_request"),
    ],
)
def test_a_wrong_path_method_or_parameter_is_a_problem(
    client: TestClient, database_url: str, method: str, path: str, status: int, code: str
) -> None:
    response = client.request(method, path)
    _is_problem(response, status, code)
    if status == 405:
        assert response.headers["allow"]
    assert _rows(database_url) == [(0,)] * 5


@pytest.mark.parametrize(
    "path", ["/v1/turns/3f2b8c1e-5a4d-4c7b-9e1f-2a6d8b0c4e57", "/v1/session", "/v1/session/messages"]
)
def test_every_call_names_its_device(house: House, path: str) -> None:
    with TestClient(build_app(house, one_at_a_time=True)) as nameless:
        _is_problem(nameless.get(path), 400, "device_id_missing")
        _is_problem(nameless.get(path, headers={ID: "x"}), 400, "device_id_malformed")


def test_a_defect_of_ours_is_a_problem_and_its_traceback_is_only_in_the_log(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("hunter2")

    monkeypatch.setattr("core.store.sessions.look", broken)
    problem = _is_problem(client.get("/v1/session"), 500, "internal_error")
    assert "hunter2" not in json.dumps(problem)
    assert problem["request_id"] in [getattr(record, "request_id", None) for record in caplog.records]
    assert "ZeroDivisionError" in caplog.text


# ---- what we stand on is not there


def test_a_database_that_is_down_is_a_503_within_the_connect_timeout() -> None:
    house = build_house(
        read_settings({"ACCESS_MODE": "open", "DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/x"})
    )
    with TestClient(build_app(house, one_at_a_time=True), headers={ID: str(uuid4())}) as client:
        for response in (
            client.post("/v1/turns", json={"message": "Hi"}),
            client.get("/v1/session"),
            client.get("/ready"),
        ):
            problem = _is_problem(response, 503, "database_unavailable")
            assert int(response.headers["retry-after"]) > 0
            assert "hunter2" not in json.dumps(problem)
        assert client.get("/health").json() == {"status": "ok"}
    house.close()


def test_a_database_without_our_tables_says_what_to_run(empty_database_url: str) -> None:
    house = build_house(read_settings({"ACCESS_MODE": "open", "DATABASE_URL": empty_database_url}))
    with TestClient(build_app(house, one_at_a_time=True), headers={ID: str(uuid4())}) as client:
        for response in (client.post("/v1/turns", json={"message": "Hi"}), client.get("/ready")):
            assert "make migrate" in _is_problem(response, 503, "database_not_migrated")["detail"]
    house.close()


def test_no_database_at_all_is_said_plainly() -> None:
    house = build_house(read_settings({"ACCESS_MODE": "open"}))
    with TestClient(build_app(house, one_at_a_time=True), headers={ID: str(uuid4())}) as client:
        for response in (
            client.post("/v1/turns", json={"message": "Hi"}),
            client.get("/v1/session"),
            client.get("/ready"),
        ):
            _is_problem(response, 503, "database_not_configured")
        assert client.get("/health").status_code == 200


def test_an_older_schema_is_not_ready_and_a_newer_one_is(client: TestClient, database_url: str) -> None:
    assert client.get("/ready").json()["status"] == "ready"
    run(database_url, "UPDATE alembic_version SET version_num = '9999'")
    assert client.get("/ready").status_code == 200
    run(database_url, "UPDATE alembic_version SET version_num = '0000'")
    _is_problem(client.get("/ready"), 503, "database_not_migrated")
