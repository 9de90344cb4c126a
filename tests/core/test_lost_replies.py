"""A statement is committed and its reply is lost: each of them counts once. (The claim's and the ends' are in test_retry.)"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from core.house import House, build_house
from core.ids import DeviceId
from core.settings import Settings
from core.store import admissions, approvals, ends, steps
from dev.demo_model import DemoModel, Fault, Reply
from tests.agents import Workshop, call
from tests.conversations import answer, arrival, dead, losing_replies, refusals, sent, statuses
from tests.databases import run


@pytest.fixture
def house(settings: Settings, shop: Workshop, model: DemoModel) -> Iterator[House]:
    built = build_house(settings, shop.roster())
    yield built
    built.close()
    assert refusals(model) == []


def numbers(url: str) -> list[int]:
    return [seq for (seq,) in run(url, "SELECT seq FROM messages ORDER BY seq")]


def asked(house: House, model: DemoModel, device: UUID, *tools: str) -> UUID:
    """The first approval that a turn waits for."""
    model.replies.add(Reply(call(*tools)))
    assert answer(house, arrival(device, "burn it", "k")).status == "waiting"
    return approvals.pending(house.database, DeviceId(device))[0].id


def test_a_steering_message_is_taken_in_once(
    house: House, model: DemoModel, database_url: str, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = losing_replies(monkeypatch, steps._ABSORB, 2)
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(answer, house, arrival(device, "first"))
        try:
            assert model.requests.wait_for(1)
            answer(house, arrival(device, "mind the dog", on_busy="steer"), 0)
        finally:
            gate.set()
        assert first.result(20).status == "completed"
    assert len(lost) == 2
    assert sent(model)[-1] == ("user", ["mind the dog"])
    assert numbers(database_url) == [1, 2, 3, 4]


def test_a_call_that_was_allowed_runs_once(
    house: House,
    model: DemoModel,
    shop: Workshop,
    database_url: str,
    device: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house.turns.decide(DeviceId(device), asked(house, model, device, "burn"), yes=True)
    lost = losing_replies(monkeypatch, steps._START, 2)
    assert answer(house, arrival(device, "burn it", "k")).status == "completed"
    assert len(lost) == 2
    assert shop.ran["burn"] == 1
    assert run(database_url, "SELECT status FROM tool_calls") == [("done",)]


def test_a_result_that_is_kept_is_kept_once(
    house: House,
    model: DemoModel,
    shop: Workshop,
    database_url: str,
    device: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = losing_replies(monkeypatch, steps._KEEP, 2)
    approval = asked(house, model, device, "post", "burn")
    assert len(lost) == 2
    house.turns.decide(DeviceId(device), approval, yes=False)
    assert answer(house, arrival(device, "burn it", "k")).status == "completed"
    assert shop.ran["post"] == 1
    assert numbers(database_url) == [1, 2, 3, 4]


def test_a_decision_whose_reply_was_lost_is_carried_out(
    house: House, model: DemoModel, shop: Workshop, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    approval = asked(house, model, device, "burn")
    lost = losing_replies(monkeypatch, approvals._DECIDE)
    house.turns.decide(DeviceId(device), approval, yes=True)
    assert lost
    assert answer(house, arrival(device, "burn it", "k")).status == "completed"
    assert shop.ran["burn"] == 1


def test_a_cancel_whose_reply_was_lost_is_one_cancel(
    house: House, model: DemoModel, database_url: str, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = dead(house, database_url, arrival(device))
    lost = losing_replies(monkeypatch, admissions._STOP)
    assert house.turns.cancel(DeviceId(device), gone.hold.turn_id).status == "cancelled"
    assert lost
    assert statuses(database_url) == [("cancelled", "turn_cancelled")]
    assert len(model.requests) == 0


def test_a_function_that_could_not_let_go_is_followed_when_its_lease_is_over(
    house: House, database_url: str, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(type(house.turns.story), "_ask", broken)
        lost = losing_replies(patched, ends._GIVE_UP)
        with pytest.raises(ZeroDivisionError):
            answer(house, arrival(device, "Hello", "k"))
    assert lost
    assert answer(house, arrival(device, "Hello", "k")).status == "completed"
    assert run(database_url, "SELECT crashes FROM turns") == [(1,)]


def test_a_beat_whose_reply_was_lost_costs_nothing(
    house: House, database_url: str, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding = dead(house, database_url, arrival(device))
    lost = losing_replies(monkeypatch, steps._RENEW)
    holding.beat()
    holding.beat()
    assert lost
    ahead = "SELECT lease_expires_at > now() + interval '25 seconds' FROM conversation_states"
    assert run(database_url, ahead) == [(True,)]
