"""How long a client waits: `wait_s`, `Prefer: respond-async`, the long-poll; and what it wants if the conversation is busy."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from core.house import House
from dev.demo_model import DemoModel, Fault
from functions.shapes import TurnShape
from tests.conversations import statuses
from tests.databases import run

Send = Callable[..., Response]


@pytest.fixture
def gate(model: DemoModel) -> Iterator[threading.Event]:
    """The model's next answer waits for it."""
    event = threading.Event()
    model.faults.add(Fault.gate(event))
    yield event
    event.set()


@pytest.fixture
def send(client: TestClient) -> Send:
    def call(message: str, key: str | None = None, prefer: str | None = None, **body: Any) -> Response:
        headers = {"Idempotency-Key": key, "Prefer": prefer}
        return client.post(
            "/v1/turns",
            json={"message": message, **body},
            headers={name: value for name, value in headers.items() if value},
        )

    return call


@pytest.fixture
def busy(send: Send, model: DemoModel, gate: threading.Event) -> Iterator[Future[Response]]:
    """A first message, whose model is at the gate."""
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(send, "first", "first")
        assert model.requests.wait_for(1)
        yield first
        gate.set()


@pytest.fixture
def workers(house: House) -> Iterator[None]:
    started = house.start_workers(sweep_every_s=60)
    yield
    started.stop()


def test_a_message_that_will_not_wait_its_turn_is_refused_and_told_how_long_a_dead_function_blocks(
    send: Send, client: TestClient, busy: Future[Response], database_url: str
) -> None:
    refused = send("quick", on_busy="reject")
    assert (refused.status_code, refused.json()["code"]) == (409, "session_busy")
    assert refused.headers["retry-after"] == "1"
    assert re.search(r"goes on in (30|2\d) s", refused.json()["detail"])
    assert client.get("/v1/session").json()["busy"] is True
    assert run(database_url, "SELECT count(*) FROM turns") == [(1,)]


def test_a_retry_of_a_running_turn_is_told_where_to_look(
    send: Send, client: TestClient, busy: Future[Response], gate: threading.Event
) -> None:
    retry = send("first", "first", wait_s=0)
    assert (retry.status_code, retry.json()["status"], retry.json()["reply"]) == (202, "running", None)
    assert retry.headers["location"] == f"/v1/turns/{retry.json()['id']}"
    assert retry.headers["retry-after"] == "1"
    assert "preference-applied" not in retry.headers
    assert client.get(retry.headers["location"]).json()["status"] == "running"
    gate.set()
    assert busy.result(20).status_code == 200
    assert client.get(retry.headers["location"]).json() == busy.result().json()


def test_a_message_behind_a_running_turn_is_stored_and_waits(
    send: Send, client: TestClient, busy: Future[Response], gate: threading.Event, workers: None
) -> None:
    waiting = send("second", wait_s=0)
    assert (waiting.status_code, waiting.json()["status"]) == (202, "queued")
    TurnShape.model_validate(waiting.json())
    gate.set()
    done = client.get(f"{waiting.headers['location']}?wait_s=20").json()
    assert done["status"] == "completed"


@pytest.mark.parametrize("prefer", ["respond-async", "return=minimal, Respond-Async; x=1"])
def test_who_prefers_not_to_wait_gets_202_and_the_worker_answers(
    send: Send, client: TestClient, gate: threading.Event, workers: None, prefer: str
) -> None:
    begun = time.monotonic()
    turn = send("Hello", prefer=prefer)
    assert time.monotonic() - begun < 10
    assert turn.status_code == 202
    assert turn.headers["preference-applied"] == "respond-async"
    assert turn.headers["location"] == f"/v1/turns/{turn.json()['id']}"
    assert int(turn.headers["retry-after"]) > 0
    gate.set()
    assert client.get(f"{turn.headers['location']}?wait_s=20").json()["status"] == "completed"


def test_where_nobody_else_can_answer_the_wish_not_to_wait_is_not_said_to_be_granted(send: Send) -> None:
    turn = send("Hello", prefer="respond-async")
    assert (turn.status_code, turn.json()["status"]) == (200, "completed")
    assert "preference-applied" not in turn.headers


def test_a_long_poll_ends_as_soon_as_the_turn_does(
    send: Send, client: TestClient, busy: Future[Response], gate: threading.Event
) -> None:
    turn_id = send("first", "first", wait_s=0).json()["id"]
    begun = time.monotonic()
    assert client.get(f"/v1/turns/{turn_id}?wait_s=0.3").json()["status"] == "running"
    assert time.monotonic() - begun >= 0.3
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        poll = pool.submit(client.get, f"/v1/turns/{turn_id}?wait_s=25")
        gate.set()
        assert poll.result(20).json()["status"] == "completed"
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("wait_s", [-1, 25.1, 1e300, True, "5", None, [], {}])
def test_a_wait_that_no_gateway_would_sit_out_is_refused(
    send: Send, database_url: str, wait_s: object
) -> None:
    refused = send("Hello", wait_s=wait_s)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert [error["field"] for error in refused.json()["errors"]] == ["wait_s"]
    assert run(database_url, "SELECT count(*) FROM users") == [(0,)]


@pytest.mark.parametrize("wait_s", ["-1", "26", "x", "inf"])
def test_a_long_poll_that_no_gateway_would_sit_out_is_refused(client: TestClient, wait_s: str) -> None:
    refused = client.get(f"/v1/turns/{uuid4()}?wait_s={wait_s}")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("on_busy", ["", "Queue", "later", None, 1, True, [], {}, ["queue"]])
def test_a_policy_that_does_not_exist_is_refused(send: Send, database_url: str, on_busy: object) -> None:
    refused = send("Hello", on_busy=on_busy)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert "reject, queue, merge, latest, interrupt, rollback, steer" in refused.json()["detail"]
    assert run(database_url, "SELECT count(*) FROM users") == [(0,)]


def test_a_retry_may_wait_longer_but_not_want_something_else(send: Send) -> None:
    first = send("Hello", "k", wait_s=25)
    assert send("Hello", "k", wait_s=1).json() == first.json()
    assert send("Hello", "k", prefer="respond-async").json() == first.json()
    assert send("Hello", "k", on_busy="queue").json() == first.json(), "which is what silence says"
    other = send("Hello", "k", on_busy="latest")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_cancelling_is_202_while_its_holder_works_and_200_when_it_is_over(
    send: Send, client: TestClient, busy: Future[Response], gate: threading.Event, database_url: str
) -> None:
    turn_id = send("first", "first", wait_s=0).json()["id"]
    asked = client.post(f"/v1/turns/{turn_id}/cancel")
    assert asked.status_code in (200, 202)
    assert asked.status_code == 200 or asked.headers["location"] == f"/v1/turns/{turn_id}"
    assert busy.result(20).json()["status"] == "cancelled", "though the gate is shut"
    again = client.post(f"/v1/turns/{turn_id}/cancel")
    assert (again.status_code, again.json()["error"]["code"]) == (200, "turn_cancelled")
    assert statuses(database_url) == [("cancelled", "turn_cancelled")]


def test_a_stranger_cancels_nothing(
    send: Send, client: TestClient, busy: Future[Response], gate: threading.Event
) -> None:
    turn_id = send("first", "first", wait_s=0).json()["id"]
    stranger = {"X-Device-ID": str(uuid4())}
    assert client.post(f"/v1/turns/{turn_id}/cancel", headers=stranger).status_code == 404
    send_as_stranger = client.post("/v1/turns", json={"message": "Hi"}, headers=stranger)
    assert send_as_stranger.status_code == 200
    assert client.post(f"/v1/turns/{turn_id}/cancel", headers=stranger).status_code == 404
    gate.set()
    assert busy.result(20).json()["status"] == "completed"
