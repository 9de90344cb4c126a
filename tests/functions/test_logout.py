"""DELETE /v1/session ends the device's conversation: it is gone at once, also for whoever waits for an answer in it."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from core.agents.tool import Arguments, ToolContext
from core.house import House, build_house
from core.reception import Reception
from core.settings import Settings
from core.store.turns import StoredTurn
from dev.demo_model import DemoModel, Fault, Reply
from tests.agents import Workshop, call
from tests.conversations import beside, everything, idle, until
from tests.databases import run
from tests.prove.books import find_wrong

SAY = {"message": "Hello"}


@pytest.fixture
def house(settings: Settings, shop: Workshop) -> Iterator[House]:
    built = build_house(settings, shop.roster())
    yield built
    built.close()


def _is_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    problem: dict[str, Any] = response.json()
    assert problem["code"] == code
    return problem


def _ends(client: TestClient) -> None:
    ended = client.delete("/v1/session")
    assert (ended.status_code, ended.content) == (204, b"")


def test_everything_of_it_is_gone_and_the_next_message_begins_anew(
    client: TestClient, model: DemoModel, database_url: str
) -> None:
    model.replies.add(Reply(call("burn")))
    waiting = client.post("/v1/turns", json={"message": "burn it"}).json()
    beside(database_url, UUID(waiting["session_id"]))
    asked = waiting["approvals"][0]
    _ends(client)
    for path in ("", "/messages", "/todos", "/audit"):
        _is_problem(client.get(f"/v1/session{path}"), 404, "session_not_found")
    _is_problem(client.put("/v1/session/lock", json={"agent": "manager"}), 404, "session_not_found")
    _is_problem(client.delete("/v1/session/lock"), 404, "session_not_found")
    _is_problem(client.get(f"/v1/turns/{waiting['id']}"), 404, "turn_not_found")
    _is_problem(client.post(f"/v1/turns/{waiting['id']}/cancel"), 404, "turn_not_found")
    assert client.get("/v1/approvals").json() == {"items": []}
    decision = {"decision": "approve", "input_digest": asked["input_digest"]}
    _is_problem(client.post(f"/v1/approvals/{asked['id']}", json=decision), 404, "approval_not_found")
    assert run(database_url, "SELECT count(*) FROM application_sessions") == [(0,)]
    begun = client.post("/v1/turns", json=SAY).json()
    assert (begun["status"], begun["seq"]) == ("completed", 1)
    assert begun["session_id"] != waiting["session_id"]
    assert find_wrong(database_url) == []


def test_it_can_be_sent_again_and_where_there_is_nothing(client: TestClient, database_url: str) -> None:
    before = everything(database_url)
    _ends(client)
    assert everything(database_url) == before, "no device is met by it"
    client.post("/v1/turns", json=SAY)
    _ends(client)
    _ends(client)
    assert run(database_url, "SELECT session_id FROM connections") == [(None,)]


def test_other_devices_keep_theirs(client: TestClient) -> None:
    other = {"X-Device-ID": str(uuid4())}
    client.post("/v1/turns", json=SAY)
    theirs = client.post("/v1/turns", json=SAY, headers=other).json()["session_id"]
    _ends(client)
    assert client.get("/v1/session", headers=other).json()["id"] == theirs
    _is_problem(client.delete("/v1/session", headers={"X-Device-ID": "x"}), 400, "device_id_malformed")


def test_whoever_looks_at_it_is_told_when_it_will_be_gone_and_puts_that_off(
    client: TestClient, database_url: str
) -> None:
    client.post("/v1/turns", json=SAY)
    first = client.get("/v1/session").json()
    assert _left_s(first) == 1_800
    run(
        database_url, "UPDATE conversation_states SET last_active_at = last_active_at - interval '29 minutes'"
    )
    # Whoever only reads of it does not.
    for path in ("messages", "todos", "audit"):
        assert client.get(f"/v1/session/{path}").status_code == 200
    assert run(
        database_url, "SELECT last_active_at < now() - interval '28 minutes' FROM conversation_states"
    )[0][0]
    again = client.get("/v1/session").json()
    assert _left_s(again) == 1_800
    assert again["expires_at"] > first["expires_at"]
    idle(database_url)
    problem = _is_problem(client.get("/v1/session"), 404, "session_not_found")
    assert "begun none, or the last one has ended" in problem["detail"]


def _left_s(session: dict[str, Any]) -> float:
    expires, active = (datetime.fromisoformat(session[field]) for field in ("expires_at", "last_active_at"))
    return (expires - active).total_seconds()


# ---- while somebody works on it


def test_a_client_that_waits_is_told_that_it_was_ended(
    client: TestClient, model: DemoModel, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.post, "/v1/turns", json=SAY, headers={"Idempotency-Key": "k"})
        try:
            assert model.requests.wait_for(1)
            _ends(client)
            before = everything(database_url)
        finally:
            gate.set()
        answered = slow.result(20)
    problem = _is_problem(answered, 410, "session_ended")
    assert problem["detail"].startswith("The conversation was ended while this message was being answered.")
    assert "retry-after" not in answered.headers
    assert everything(database_url) == before
    _quiet(caplog)
    again = client.post("/v1/turns", json=SAY, headers={"Idempotency-Key": "k"}).json()
    assert (again["status"], again["seq"]) == ("completed", 1)


def test_a_tool_that_runs_ends_as_it_does(
    client: TestClient,
    model: DemoModel,
    shop: Workshop,
    database_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun, gate, ended = threading.Event(), threading.Event(), threading.Event()

    def slow_post(_: ToolContext, __: Arguments) -> str:
        begun.set()
        assert gate.wait(20)
        ended.set()
        return "posted"

    shop.does["post"] = slow_post
    model.replies.add(Reply(call("post")))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.post, "/v1/turns", json=SAY)
        try:
            assert begun.wait(20)
            _ends(client)
            before = everything(database_url)
        finally:
            gate.set()
        _is_problem(slow.result(20), 410, "session_ended")
    assert ended.is_set()
    assert (shop.ran["post"], len(model.requests)) == (1, 1)
    assert everything(database_url) == before
    _quiet(caplog)


@pytest.mark.parametrize("asks", ["the message itself", "a look at its turn"])
def test_a_worker_lets_go_and_goes_on_with_others(
    house: House,
    client: TestClient,
    model: DemoModel,
    database_url: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    asks: str,
) -> None:
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    workers = house.start_workers(threads=1, sweep_every_s=60)
    try:
        with ThreadPoolExecutor(1) as pool:
            turn = client.post(
                "/v1/turns", json={**SAY, "wait_s": 0}, headers={"Idempotency-Key": "k"}
            ).json()
            looked = _looked(monkeypatch)
            if asks == "the message itself":
                given: dict[str, Any] = {"json": {**SAY, "wait_s": 20}, "headers": {"Idempotency-Key": "k"}}
                slow = pool.submit(client.post, "/v1/turns", **given)
            else:
                slow = pool.submit(client.get, f"/v1/turns/{turn['id']}", params={"wait_s": 20})
            try:
                assert looked.wait(20)
                assert model.requests.wait_for(1)
                _ends(client)
                _is_problem(slow.result(20), 410, "session_ended")
            finally:
                gate.set()
        _is_problem(client.get(f"/v1/turns/{turn['id']}"), 404, "turn_not_found")
        # The only worker answers it, so it has let go of what was ended.
        begun = client.post("/v1/turns", json={**SAY, "wait_s": 0}).json()
        until(lambda: client.get(f"/v1/turns/{begun['id']}").json()["status"] == "completed")
    finally:
        workers.stop()
    assert run(database_url, "SELECT count(*) FROM turns") == [(1,)]
    _quiet(caplog)


def _looked(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set as soon as somebody has found a turn."""
    looked, find = threading.Event(), Reception.find

    def watched(*given: Any) -> StoredTurn:
        found = find(*given)
        looked.set()
        return found

    monkeypatch.setattr(Reception, "find", watched)
    return looked


def test_a_message_that_waited_for_its_turn_is_told_too(
    client: TestClient, model: DemoModel, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, "/v1/turns", json=SAY)
        assert model.requests.wait_for(1)
        second = pool.submit(client.post, "/v1/turns", json=SAY)
        until(lambda: len(run(database_url, "SELECT 1 FROM turns")) == 2)
        _ends(client)
        _is_problem(second.result(20), 410, "session_ended")
        gate.set()
        _is_problem(first.result(20), 410, "session_ended")
    _quiet(caplog)


def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """It is nobody's defect."""
    loud = [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info]
    assert not loud, loud
