"""What operators do to one conversation: clear its lock, cancel, recover, end; in each state, twice, and beside whoever else is at it."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from core.agents.agent import Agent
from core.agents.roster import Roster
from core.agents.tool import Arguments, ToolContext
from core.errors import SessionEnded
from core.house import House, build_house
from core.ids import SessionId
from core.settings import Secret, Settings
from core.store import operators
from dev.demo_model import DemoModel, Fault, Reply
from functions.app import build_app
from tests.agents import Workshop, call
from tests.bells import Bell, Deaf
from tests.cleaning import clean
from tests.conversations import (
    arrival,
    beside,
    dead,
    everything,
    held,
    history,
    idle,
    in_the_way,
    losing_replies,
    refusals,
    row_held,
    statuses,
    until,
    wait_for_locks,
)
from tests.databases import run
from tests.doors import OTHER_KEY, opened, problem, settings_of, user_token
from tests.operators import SHOWN, TOKEN, Operator, noted
from tests.prove.books import find_wrong


@pytest.fixture
def house(settings: Settings, shop: Workshop, model: DemoModel) -> Iterator[House]:
    built = build_house(replace(settings, admin_token=Secret(TOKEN)), shop.roster())
    yield built
    built.close()
    assert refusals(model) == []


@pytest.fixture
def operator(client: TestClient) -> Operator:
    return Operator(client)


def say(client: TestClient, text: str = "Hello", **more: Any) -> dict[str, Any]:
    answered: dict[str, Any] = client.post("/v1/turns", json={"message": text, **more}).json()
    return answered


def lock(client: TestClient) -> None:
    assert client.put("/v1/session/lock", json={"agent": "manager"}).status_code == 200


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opens = threading.Event()
    yield opens
    opens.set()


@pytest.fixture
def running(
    client: TestClient, house: House, model: DemoModel, gate: threading.Event, database_url: str
) -> Iterator["Running"]:
    """A conversation whose turn waits at the model's gate, under a lease so short that a stop is heard within half a second; and what
    its client is told in the end.
    """
    house.turns.reception = replace(house.turns.reception, lease_ttl_s=2.0, lease_margin_s=0.5)
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(say, client, "first")
        assert model.requests.wait_for(1)
        yield conversation(database_url), lambda: first.result(20)
        gate.set()


@pytest.fixture
def working(
    client: TestClient, model: DemoModel, shop: Workshop, gate: threading.Event, database_url: str
) -> Iterator["Running"]:
    """The same of one whose tool is at the gate: what a tool has begun it ends, so no stop is heard before."""
    begun = threading.Event()

    def post(_context: ToolContext, _arguments: Arguments) -> str:
        begun.set()
        assert gate.wait(20)
        return "posted"

    shop.does["post"] = post
    model.replies.add(Reply(call("post")))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(say, client, "post it")
        assert begun.wait(20)
        yield conversation(database_url), lambda: first.result(20)
        gate.set()


def conversation(url: str) -> str:
    ((session,),) = run(url, "SELECT id::text FROM conversation_states")
    return str(session)


Running = tuple[str, Callable[[], dict[str, Any]]]


# ---- the lock


def test_a_lock_is_cleared_once_and_the_audit_says_by_whom(client: TestClient, operator: Operator) -> None:
    session = say(client)["session_id"]
    lock(client)
    done = operator.clear(session)
    assert (done["outcome"], done["turns"], done["held_until"]) == ("cleared", 0, None)
    assert (done["session"]["active_agent"], done["session"]["lock_is_held"]) == (None, False)
    assert done["session"] == {**operator.see(session), "as_of": done["session"]["as_of"]}
    assert client.get("/v1/session").json()["active_agent"] is None, "its owner is shown so at once"
    assert operator.clear(session)["outcome"] == "nothing_to_clear"
    assert noted(operator.see(session)) == [("user", "lock_set", None), ("operator", "lock_cleared", None)]


def test_an_operator_keeps_no_conversation_alive(
    client: TestClient, operator: Operator, database_url: str
) -> None:
    session = say(client)["session_id"]
    lock(client)
    idle(database_url)
    used = "SELECT last_active_at FROM conversation_states"
    before = run(database_url, used)
    assert operator.clear(session)["outcome"] == "cleared"
    operator.cancel(session)
    operator.recover(session)
    assert run(database_url, used) == before
    assert client.get("/v1/session").status_code == 404


def test_of_an_owner_who_sets_and_an_operator_who_clears_at_once_the_last_in_the_audit_holds(
    client: TestClient, operator: Operator, database_url: str
) -> None:
    session = say(client)["session_id"]
    lock(client)
    with ThreadPoolExecutor(2) as pool:
        with row_held(database_url):
            owners = pool.submit(lock, client)
            by_operator = pool.submit(operator.clear, session)
            wait_for_locks(database_url, 2)
        owners.result(20)
        assert by_operator.result(20)["outcome"] == "cleared"
    shown = operator.see(session)
    first, *changes = noted(shown)
    assert first == ("user", "lock_set", None)
    assert sorted(changes) == [("operator", "lock_cleared", None), ("user", "lock_set", None)]
    assert shown["active_agent"] == ("manager" if changes[-1][0] == "user" else None)


def test_a_running_turn_goes_on_when_the_lock_is_cleared(
    client: TestClient, operator: Operator, running: Running, gate: threading.Event, database_url: str
) -> None:
    session, told = running
    run(database_url, "UPDATE conversation_states SET active_agent = 'manager', locked_at = now()")
    assert operator.clear(session)["outcome"] == "cleared"
    gate.set()
    assert told()["status"] == "completed"
    assert operator.see(session)["active_agent"] is None


@pytest.mark.parametrize("first", ["operator", "agent"])
def test_of_a_clearing_and_a_hand_over_in_one_turn_the_last_in_the_audit_holds(
    settings: Settings, model: DemoModel, gate: threading.Event, database_url: str, first: str
) -> None:
    """While the agent that hands over is at work, or after it has."""
    roster = Roster.of(
        Agent(key="manager", prompt="You route.", hands_over_to=("billing",)),
        Agent(key="billing", prompt="You bill.", description="Invoices."),
    )
    house = build_house(replace(settings, admin_token=Secret(TOKEN)), roster)
    hands_over = {"type": "tool_use", "name": "hand_over", "input": {"to": "billing", "reason": "an invoice"}}
    with (
        TestClient(build_app(house, one_at_a_time=False), headers={"X-Device-ID": str(uuid4())}) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        operator = Operator(client)
        session = say(client)["session_id"]
        lock(client)
        model.replies.add(Reply([hands_over]))
        model.faults.add(Fault.gate(gate))
        turn = pool.submit(say, client, "my invoice")
        assert model.requests.wait_for(2)
        if first == "operator":
            assert operator.clear(session)["outcome"] == "cleared"
            gate.set()
            assert turn.result(20)["agent"] == "billing"
        else:
            gate.set()
            assert turn.result(20)["agent"] == "billing"
            assert operator.clear(session)["outcome"] == "cleared"
        shown = operator.see(session)
    house.close()
    by_operator, by_agent = ("operator", "lock_cleared"), ("agent:manager", "lock_set")
    changes = [by_operator, by_agent] if first == "operator" else [by_agent, by_operator]
    assert [(actor, action) for actor, action, _ in noted(shown)] == [("user", "lock_set"), *changes]
    assert shown["active_agent"] == ("billing" if first == "operator" else None)


def test_a_clearing_whose_reply_is_lost_is_made_once(
    client: TestClient, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = say(client)["session_id"]
    lock(client)
    losing_replies(monkeypatch, operators._CLEAR_LOCK)
    assert operator.clear(session)["session"]["active_agent"] is None
    assert noted(operator.see(session)).count(("operator", "lock_cleared", None)) == 1


# ---- cancel


def test_a_running_turn_is_asked_to_stop_and_those_behind_it_are_over(
    client: TestClient,
    operator: Operator,
    house: House,
    model: DemoModel,
    working: Running,
    gate: threading.Event,
    database_url: str,
) -> None:
    session, told = working
    house.turns.wakeups = Deaf()
    waits = [say(client, text, wait_s=0) for text in ("second", "third")]
    done = operator.cancel(session)
    assert (done["outcome"], done["turns"]) == ("stopping", 3)
    first, *others = done["session"]["turns"]
    assert (first["status"], first["stop"]) == ("running", "cancel")
    assert [(one["status"], one["error_code"]) for one in others] == [("cancelled", "turn_cancelled")] * 2
    again = operator.cancel(session)
    assert (again["outcome"], again["turns"]) == ("stopping", 0)
    gate.set()
    assert told()["status"] == "cancelled"
    shown = operator.cancel(session)
    assert shown["outcome"] == "nothing_to_cancel"
    assert [one["status"] for one in shown["session"]["turns"][0]["calls"]] == ["done"], (
        "what it began it ended"
    )
    assert len(model.requests) == 1, "and the model was not asked again"
    ids = [first["id"], *(turn["id"] for turn in waits)]
    assert noted(shown["session"]) == [("operator", "turn_cancelled", id_) for id_ in ids]
    assert statuses(database_url) == [("cancelled", "turn_cancelled")] * 3
    assert find_wrong(database_url) == []


def test_a_turn_whose_model_is_being_asked_does_not_wait_for_it(operator: Operator, running: Running) -> None:
    session, told = running
    assert operator.cancel(session)["outcome"] in ("stopping", "cancelled")
    assert told()["status"] == "cancelled", "though its model is still at the gate"


def test_one_turn_is_cancelled_and_the_others_are_answered(
    client: TestClient, operator: Operator, running: Running, gate: threading.Event, database_url: str
) -> None:
    session, told = running
    second, third = (client.post("/v1/turns", json={"message": t, "wait_s": 0}).json() for t in ("2", "3"))
    done = operator.cancel(session, second["id"])
    assert (done["outcome"], done["turns"]) == ("cancelled", 1)
    gate.set()
    assert told()["status"] == "completed"
    assert client.get(f"/v1/turns/{third['id']}?wait_s=20").json()["status"] == "completed"
    assert [status for status, _ in statuses(database_url)] == ["completed", "cancelled", "completed"]
    again = operator.cancel(session, second["id"])
    assert (again["outcome"], again["turns"]) == ("nothing_to_cancel", 0)
    assert noted(operator.see(session)) == [("operator", "turn_cancelled", second["id"])]


def test_a_turn_that_waits_for_a_person_ends_and_its_questions_are_withdrawn(
    client: TestClient, operator: Operator, model: DemoModel, shop: Workshop, database_url: str
) -> None:
    model.replies.add(Reply(call("burn")))
    turn = say(client, "burn it")
    done = operator.cancel(turn["session_id"])
    assert (done["outcome"], done["turns"]) == ("cancelled", 1)
    (one,) = done["session"]["turns"]
    assert (one["status"], one["error_code"]) == ("cancelled", "turn_cancelled")
    assert [(a["status"], a["decided_at"] is None) for a in one["approvals"]] == [("withdrawn", False)]
    assert [c["status"] for c in one["calls"]] == ["dropped"]
    assert shop.ran["burn"] == 0
    assert sorted(noted(done["session"])) == [
        ("operator", "approval_withdrawn", turn["id"]),
        ("operator", "turn_cancelled", turn["id"]),
    ]
    assert say(client, "and now?")["status"] == "completed"
    assert find_wrong(database_url) == []


def test_a_turn_whose_holder_died_ends_when_it_is_cancelled(
    client: TestClient, operator: Operator, house: House, model: DemoModel, database_url: str
) -> None:
    session = dead(house, database_url, arrival(uuid4())).hold.session_id
    assert operator.cancel(session)["outcome"] == "cancelled"
    assert statuses(database_url) == [("cancelled", "turn_cancelled")]
    assert len(model.requests) == 0


def test_the_turn_that_a_message_joined_stands_for_it(
    client: TestClient, operator: Operator, house: House, database_url: str
) -> None:
    house.turns.wakeups = Deaf()
    first, *_, last = (say(client, text, on_busy="merge", wait_s=0) for text in ("one", "two", "three"))
    ((joined, into),) = run(
        database_url, "SELECT id::text, joined_to::text FROM turns WHERE status = 'joined'"
    )
    assert (joined, into) != (first["id"], last["id"])
    assert operator.cancel(first["session_id"], joined)["outcome"] == "cancelled"
    assert statuses(database_url)[1:] == [("cancelled", "turn_cancelled"), ("joined", None)]
    assert statuses(database_url)[0][0] == "queued"


def test_a_turn_that_finishes_while_it_is_cancelled_is_one_or_the_other(
    client: TestClient, operator: Operator, running: Running, gate: threading.Event, database_url: str
) -> None:
    session, told = running
    with ThreadPoolExecutor(1) as pool:
        with row_held(database_url):
            gate.set()
            wait_for_locks(database_url, 1)
            cancelled = pool.submit(operator.cancel, session)
            wait_for_locks(database_url, 2)
        done, turn = cancelled.result(20), told()
    lines = noted(operator.see(session))
    if turn["status"] == "completed":
        assert (done["outcome"], lines) == ("nothing_to_cancel", [])
    else:
        assert turn["status"] == "cancelled"
        assert (done["turns"], lines) == (1, [("operator", "turn_cancelled", turn["id"])])
    assert find_wrong(database_url) == []


def test_two_who_cancel_at_once_cancel_once(
    client: TestClient, operator: Operator, house: House, database_url: str
) -> None:
    house.turns.wakeups = Deaf()
    turn = say(client, wait_s=0)
    with ThreadPoolExecutor(2) as pool:
        with row_held(database_url):
            both = [pool.submit(operator.cancel, turn["session_id"]) for _ in range(2)]
            wait_for_locks(database_url, 2)
        told = [one.result(20) for one in both]
    assert sorted(one["turns"] for one in told) == [0, 1]
    assert noted(operator.see(turn["session_id"])) == [("operator", "turn_cancelled", turn["id"])]


def test_a_stop_whose_reply_is_lost_is_noted_once(
    client: TestClient, operator: Operator, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.turns.wakeups = Deaf()
    turn = say(client, wait_s=0)
    losing_replies(monkeypatch, operators._STOP)
    assert operator.cancel(turn["session_id"])["session"]["turns"][0]["status"] == "cancelled"
    assert noted(operator.see(turn["session_id"])) == [("operator", "turn_cancelled", turn["id"])]


def test_where_all_is_over_nothing_is_cancelled(
    client: TestClient, operator: Operator, database_url: str
) -> None:
    session = say(client)["session_id"]
    before = everything(database_url)
    assert operator.cancel(session)["outcome"] == "nothing_to_cancel"
    assert everything(database_url) == before


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"turn_id": "x"}', 422, "invalid_request"),
        (b'{"turn_id": 7}', 422, "invalid_request"),
        (b'{"turn": null}', 422, "invalid_request"),
        (b"[]", 422, "invalid_request"),
        (b"{", 400, "bad_json"),
        (b'{"turn_id": "00000000-0000-0000-0000-000000000007"}', 404, "turn_not_found"),
        (b'{"turn_id": null}', 200, None),
        (b"{}", 200, None),
        (b"", 200, None),
    ],
)
def test_what_is_no_turn_is_refused(
    client: TestClient, operator: Operator, body: bytes, status: int, code: str | None
) -> None:
    session = say(client)["session_id"]
    answered = operator.call("POST", f"sessions/{session}/cancel", content=body)
    assert (answered.status_code, answered.json().get("code")) == (status, code)


def test_a_turn_of_another_conversation_is_not_there(client: TestClient, operator: Operator) -> None:
    session = say(client)["session_id"]
    elsewhere = client.post("/v1/turns", json={"message": "x"}, headers={"X-Device-ID": str(uuid4())}).json()
    answered = operator.call("POST", f"sessions/{session}/cancel", json={"turn_id": elsewhere["id"]})
    assert problem(answered) == (404, "turn_not_found")


# ---- recover


def test_what_a_dead_holder_left_is_gone_on_with(
    client: TestClient, operator: Operator, house: House, database_url: str
) -> None:
    bell = house.turns.wakeups = Bell()
    holding = dead(house, database_url, arrival(uuid4()))
    done = operator.recover(holding.hold.session_id)
    assert (done["outcome"], done["held_until"]) == ("woken", None)
    assert (bell.woken, bell.epochs) == ([holding.hold.session_id], [holding.hold.epoch])
    assert noted(done["session"]) == [("operator", "session_woken", str(holding.hold.turn_id))]


def test_where_nobody_can_be_woken_it_is_gone_on_with_at_once(
    client: TestClient, operator: Operator, house: House, database_url: str
) -> None:
    session = dead(house, database_url, arrival(uuid4())).hold.session_id
    done = operator.recover(session)
    assert done["outcome"] == "woken"
    (turn,) = done["session"]["turns"]
    assert (turn["status"], turn["crashes"]) == ("completed", 1)
    assert operator.recover(session)["outcome"] == "nothing_to_recover"
    assert [role for _, role, _ in history(database_url)] == ["user", "assistant"]


def test_a_turn_that_was_queued_and_forgotten_is_gone_on_with(
    client: TestClient, operator: Operator, house: House
) -> None:
    house.turns.wakeups = Deaf()
    turn = say(client, wait_s=0)
    workers = house.start_workers(threads=1, sweep_every_s=3600)
    assert operator.recover(turn["session_id"])["outcome"] == "woken"
    until(lambda: bool(operator.see(turn["session_id"])["turns"][0]["status"] == "completed"))
    workers.stop()


def test_what_a_function_holds_is_left_to_it(
    client: TestClient, operator: Operator, house: House, database_url: str
) -> None:
    bell = house.turns.wakeups = Bell()
    session = held(house, arrival(uuid4())).hold.session_id
    before = everything(database_url)
    done = operator.recover(session)
    assert done["outcome"] == "is_held"
    assert done["held_until"] == done["session"]["lease_expires_at"] > done["session"]["as_of"]
    assert (bell.woken, everything(database_url)) == ([], before)


@pytest.mark.parametrize("state", ["at rest", "waiting", "empty", "queued behind one that waits"])
def test_where_nothing_could_go_on_nobody_is_woken(
    client: TestClient, operator: Operator, house: House, model: DemoModel, database_url: str, state: str
) -> None:
    if state == "empty":
        session = client.post("/v1/sessions", json={}).json()["id"]
    else:
        if state != "at rest":
            model.replies.add(Reply(call("burn")))
        session = say(client)["session_id"]
    bell = house.turns.wakeups = Bell()
    if state.startswith("queued"):
        say(client, "and this", wait_s=0)
        bell.woken.clear()
    before = everything(database_url)
    assert operator.recover(session)["outcome"] == "nothing_to_recover"
    assert (bell.woken, everything(database_url)) == ([], before)


def test_where_the_queue_is_away_that_is_said_and_nothing_noted(
    client: TestClient, operator: Operator, house: House, database_url: str
) -> None:
    class Away(Deaf):
        def recover(self, session_id: SessionId, epoch: int) -> bool:  # noqa: ARG002 - of its shape
            return False

    house.turns.wakeups = Away()
    session = dead(house, database_url, arrival(uuid4())).hold.session_id
    assert problem(operator.call("POST", f"sessions/{session}/recover")) == (503, "queue_unavailable")
    assert operator.see(session)["audit"] == []


def test_an_operator_and_the_sweep_at_once_have_it_gone_on_with_once(
    client: TestClient,
    operator: Operator,
    house: House,
    model: DemoModel,
    gate: threading.Event,
    database_url: str,
) -> None:
    session = dead(house, database_url, arrival(uuid4())).hold.session_id
    workers = house.start_workers(threads=2, sweep_every_s=3600)
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(2) as pool:
        with row_held(database_url):
            swept = pool.submit(clean, house.database, workers, key_ttl_s=60)
            woken = [pool.submit(operator.recover, session) for _ in range(2)]
            wait_for_locks(database_url, 2)
        swept.result(20)
        assert {one.result(20)["outcome"] for one in woken} <= {"woken", "is_held"}
        gate.set()
        until(lambda: statuses(database_url) == [("completed", None)])
    workers.stop()
    assert len(model.requests) == 1
    assert operator.see(session)["turns"][0]["crashes"] == 1


# ---- end


def test_it_ends_with_all_that_belongs_to_it_and_the_log_says_who_ended_it(
    client: TestClient,
    operator: Operator,
    model: DemoModel,
    database_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model.replies.add(Reply(call("burn")))
    session = say(client, "burn it")["session_id"]
    beside(database_url, UUID(session))
    with caplog.at_level(logging.INFO, "core.operating"):
        ended = operator.end(session)
    assert (ended.status_code, ended.content) == (204, b"")
    assert [record.getMessage() for record in caplog.records if record.name == "core.operating"] == [
        "a conversation was ended by an operator: the operators' token"
    ]
    assert session not in caplog.text
    tables = ("conversation_states", "turns", "messages", "approvals", "audit_log", "application_sessions")
    assert [run(database_url, f"SELECT count(*) FROM {table}") for table in tables] == [[(0,)]] * 6
    assert client.get("/v1/session").status_code == 404
    assert problem(operator.end(session)) == (404, "session_not_found")
    booked = "SELECT sum(value) FROM daily_stats WHERE name = 'sessions' AND label = 'ended'"
    assert run(database_url, booked) == [(1,)]
    begun = say(client, "and now?")
    assert (begun["status"], begun["session_id"] == session) == ("completed", False)
    assert find_wrong(database_url) == []


def test_a_running_turn_writes_nothing_more_into_what_was_ended(
    client: TestClient, operator: Operator, running: Running, gate: threading.Event, database_url: str
) -> None:
    session, told = running
    assert operator.end(session).status_code == 204
    gate.set()
    assert told()["code"] == SessionEnded.code
    assert run(database_url, "SELECT count(*) FROM messages") == [(0,)]
    assert find_wrong(database_url) == []


def test_an_owner_and_an_operator_who_end_it_at_once_end_it_once(
    client: TestClient, operator: Operator, database_url: str
) -> None:
    session = say(client)["session_id"]
    with ThreadPoolExecutor(2) as pool:
        with row_held(database_url):
            owners = pool.submit(client.delete, "/v1/session")
            by_operator = pool.submit(operator.end, session)
            wait_for_locks(database_url, 2)
        assert (owners.result(20).status_code, by_operator.result(20).status_code) == (204, 204)
    booked = "SELECT sum(value) FROM daily_stats WHERE name = 'sessions' AND label = 'ended'"
    assert run(database_url, booked) == [(1,)]


def test_an_end_whose_reply_is_lost_is_an_end(
    client: TestClient, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = say(client)["session_id"]
    losing_replies(monkeypatch, operators._END)
    assert operator.end(session).status_code == 204
    assert client.get("/v1/session").status_code == 404


# ---- one that became a part of another


def test_what_became_a_part_of_another_is_shown_and_left_alone(
    client: TestClient, operator: Operator, database_url: str
) -> None:
    source, target = (client.post("/v1/sessions", json={}).json()["id"] for _ in range(2))
    run(database_url, "UPDATE conversation_states SET merged_into = %s WHERE id = %s", target, source)
    before = everything(database_url)
    assert operator.see(source)["merged_into"] == target
    for method, more in (("DELETE", "/lock"), ("POST", "/cancel"), ("POST", "/recover"), ("DELETE", "")):
        answered = operator.call(method, f"sessions/{source}{more}")
        assert problem(answered) == (404, "session_not_found")
        assert "merged_into" in answered.json()["detail"]
    assert everything(database_url) == before


def test_one_that_becomes_a_part_of_another_while_it_is_ended_is_not_said_to_have_ended(
    client: TestClient, operator: Operator, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = (client.post("/v1/sessions", json={}).json()["id"] for _ in range(2))
    merging = f"UPDATE conversation_states SET merged_into = '{target}', version = version + 1 WHERE id = '{source}'"
    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.INFO, "core.operating"):
        with in_the_way(database_url, merging):
            ending = pool.submit(operator.end, source)
            wait_for_locks(database_url, 1)
        assert problem(ending.result(20)) == (404, "session_not_found")
    assert "was ended" not in caplog.text
    assert operator.see(source)["merged_into"] == target


# ---- who


CALLS = (
    ("GET", "search?q=0000"),
    ("GET", f"sessions/{UUID(int=7)}"),
    ("DELETE", f"sessions/{UUID(int=7)}/lock"),
    ("POST", f"sessions/{UUID(int=7)}/cancel"),
    ("POST", f"sessions/{UUID(int=7)}/recover"),
    ("DELETE", f"sessions/{UUID(int=7)}"),
)


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_nobody_else_is_let_in(client: TestClient, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer " + "y" * 42}, {"Authorization": f"Basic {TOKEN}"}):
        answered = client.request(method, f"/v1/admin/{path}", headers=headers)
        assert problem(answered) == (401, "not_admin")


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_without_operators_there_is_no_such_path(settings: Settings, method: str, path: str) -> None:
    house = build_house(settings)
    with TestClient(build_app(house, one_at_a_time=False)) as client:
        answered = client.request(method, f"/v1/admin/{path}", headers=SHOWN)
        assert problem(answered) == (404, "not_found")
    house.close()


@pytest.mark.parametrize(("method", "path"), CALLS[1:])
def test_a_conversation_that_is_not_there_is_not_found(operator: Operator, method: str, path: str) -> None:
    assert problem(operator.call(method, path)) == (404, "session_not_found")


def test_a_person_who_is_an_operator_is_named_in_the_audit(settings: Settings, database_url: str) -> None:
    device, desk = uuid4(), uuid4()
    admin = user_token("grace", latchkey_role="admin")
    with opened(settings_of(settings, "jwt", admin_token=Secret(TOKEN))) as door:
        for phone, token in ((device, user_token("ada")), (desk, admin)):
            door.link(phone, token, token)
        session = door.say(device, user_token("ada"))["session_id"]
        ((grace,),) = run(
            database_url,
            "SELECT u.id::text FROM users u JOIN connections c ON c.user_id = u.id WHERE c.device_id = %s",
            str(desk),
        )
        path = f"/v1/admin/sessions/{session}"
        by = {"known": admin, "unknown": user_token("joan", latchkey_role="admin"), "by the token": TOKEN}
        for token in by.values():
            run(
                database_url,
                "UPDATE conversation_states SET active_agent = 'manager', locked_at = now() WHERE id = %s",
                session,
            )
            assert door.call("DELETE", f"{path}/lock", token=token).json()["outcome"] == "cleared"
        lines = door.call("GET", path, token=admin).json()["audit"]
        assert [(line["actor"], line["user_id"]) for line in lines] == [
            ("operator", grace),
            ("operator", None),
            ("operator", None),
        ]
        for token, code in (
            (user_token("ada"), "not_admin"),
            (user_token("x", key=OTHER_KEY), "token_invalid"),
        ):
            assert problem(door.call("DELETE", path, token=token)) == (401, code)
        assert door.call("DELETE", path, token=admin).status_code == 204
