"""A message comes while the turn before it waits for a person."""

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from uuid import UUID

import pytest

from core.errors import SessionBusy
from core.house import House, build_house
from core.ids import DeviceId
from core.settings import Settings
from core.shown import Turn
from core.store import approvals
from dev.demo_model import DemoModel, Fault, Reply
from tests.agents import Workshop, call
from tests.conversations import answer, arrival, everything, history, refusals, sent, statuses
from tests.databases import run


@pytest.fixture
def house(settings: Settings, shop: Workshop, model: DemoModel) -> Iterator[House]:
    built = build_house(settings, shop.roster())
    built.turns.reception = dataclasses.replace(built.turns.reception, lease_ttl_s=2.0, lease_margin_s=0.5)
    workers = built.start_workers(threads=2, sweep_every_s=60)
    yield built
    workers.stop()
    built.close()
    assert refusals(model) == []


@pytest.fixture
def asking(house: House, model: DemoModel, device: UUID) -> Turn:
    model.replies.add(Reply(call("burn", "peek")))
    turn = answer(house, arrival(device, "burn it", "k"))
    assert turn.status == "waiting"
    return turn


def decided(house: House, device: UUID, asking: Turn, *, yes: bool = True) -> Turn:
    (asked,) = approvals.pending(house.database, DeviceId(device))
    house.turns.decide(DeviceId(device), asked.id, yes=yes)
    return house.turns.look(DeviceId(device), asking.id, 20)


def over(house: House, device: UUID, turn: Turn) -> Turn:
    ended = house.turns.look(DeviceId(device), turn.id, 20)
    assert ended.is_over
    return ended


def test_who_will_not_wait_is_refused_and_is_not_told_of_a_time(
    house: House, device: UUID, asking: Turn, database_url: str
) -> None:
    """No function holds the conversation, and nobody knows when a person answers."""
    before = everything(database_url)
    with pytest.raises(SessionBusy) as refused:
        answer(house, arrival(device, "quick", on_busy="reject"), 0)
    assert " s." not in refused.value.detail
    assert everything(database_url) == before


@pytest.mark.parametrize("on_busy", ["queue", "merge", "latest"])
def test_others_wait_for_the_person_too(
    house: House, model: DemoModel, device: UUID, asking: Turn, on_busy: str
) -> None:
    behind = answer(house, arrival(device, "and then?", on_busy=on_busy), 0.3)
    assert behind.status == "queued"
    assert len(model.requests) == 1
    assert decided(house, device, asking).status == "completed"
    assert over(house, device, behind).status == "completed"
    assert [texts for role, texts in sent(model) if role == "user"] == [
        ["burn it"],
        ["tool_result", "tool_result"],
        ["and then?"],
    ]


@pytest.mark.parametrize("yes", [True, False])
def test_what_is_steered_in_comes_behind_the_results(
    house: House, model: DemoModel, shop: Workshop, device: UUID, asking: Turn, yes: bool
) -> None:
    for text in ("mind the dog", "and the cat"):
        assert answer(house, arrival(device, text, on_busy="steer"), 0).id == asking.id
    assert decided(house, device, asking, yes=yes).status == "completed"
    assert sent(model)[-2:] == [
        ("user", ["tool_result", "tool_result"]),
        ("user", ["mind the dog", "and the cat"]),
    ]
    assert len(model.requests) == 2
    assert shop.ran["burn"] == int(yes)


@pytest.mark.parametrize("on_busy", ["interrupt", "rollback"])
def test_who_interrupts_does_not_wait_for_the_person(
    house: House,
    model: DemoModel,
    shop: Workshop,
    device: UUID,
    asking: Turn,
    on_busy: str,
    database_url: str,
) -> None:
    """What the other call returned is kept for the model, unless the turn is taken back."""
    second = answer(house, arrival(device, "stop that", on_busy=on_busy))
    assert second.status == "completed"
    stopped = over(house, device, asking)
    assert stopped.status == "cancelled"
    assert {c["name"]: c["status"] for c in stopped.tool_calls} == {"burn": "dropped", "peek": "done"}
    assert [a.status for a in stopped.approvals] == ["withdrawn"]
    assert shop.ran == {"peek": 1}
    told = [texts for role, texts in sent(model) if role == "user"]
    kept = [["burn it"], ["tool_result", "tool_result"]]
    assert told == ([] if on_busy == "rollback" else kept) + [["stop that"]]
    if on_busy == "interrupt":
        burned, peeked = model.requests[-1].body["messages"][2]["content"]
        assert (burned["is_error"], peeked["content"]) == (True, "peek says yes")
    assert "burn it" in [text for _, role, text in history(database_url) if role == "user"]


@contextmanager
def beside(house: House, model: DemoModel, shop: Workshop, device: UUID) -> Iterator[Future[Turn]]:
    """One call asks for a yes. All the while another runs."""
    entered, gate = threading.Event(), threading.Event()

    def stay(_: object, __: object) -> str:
        entered.set()
        assert gate.wait(20)
        return "done"

    shop.does = {"post": stay}
    model.replies.add(Reply(call("post", "burn")))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(answer, house, arrival(device, "burn it", "k"))
        assert entered.wait(20)
        yield first
        gate.set()


def test_a_stop_that_arrives_while_the_other_calls_still_run_is_heard_before_the_turn_waits(
    house: House, model: DemoModel, shop: Workshop, device: UUID, database_url: str
) -> None:
    with beside(house, model, shop, device) as first:
        turn = answer(house, arrival(device, "burn it", "k"), 0)
        house.turns.cancel(DeviceId(device), turn.id)
    assert over(house, device, first.result(20)).status == "cancelled"
    assert run(database_url, "SELECT name, status FROM tool_calls ORDER BY name") == [
        ("burn", "dropped"),
        ("post", "done"),
    ]
    assert statuses(database_url) == [("cancelled", "turn_cancelled")]
    assert answer(house, arrival(device, "next")).status == "completed"


@pytest.mark.parametrize("yes", [True, False])
def test_a_decision_that_comes_while_the_other_calls_still_run_is_gone_on_with(
    house: House, model: DemoModel, shop: Workshop, device: UUID, yes: bool
) -> None:
    """The turn is about to wait for what is decided already: nobody would wake it."""
    with beside(house, model, shop, device) as first:
        (asked,) = approvals.pending(house.database, DeviceId(device))
        house.turns.decide(DeviceId(device), asked.id, yes=yes)
    turn = over(house, device, first.result(20))
    assert turn.status == "completed"
    assert shop.ran == {"post": 1, **({"burn": 1} if yes else {})}


def test_a_turn_that_was_taken_back_can_be_said_again_word_for_word(
    house: House, model: DemoModel, shop: Workshop, device: UUID, database_url: str
) -> None:
    """The model then says the same again, and asks for the same tool."""
    gate = threading.Event()
    model.replies.add(Reply(call("peek")))
    model.faults.add(Fault.delay(0), Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(answer, house, arrival(device, "look"))
        try:
            assert model.requests.wait_for(2)
            model.replies.add(Reply(call("peek")))
            second = answer(house, arrival(device, "look", on_busy="rollback"))
        finally:
            gate.set()
        assert first.result(20).status == "cancelled"
    assert second.status == "completed"
    assert shop.ran["peek"] == 2
    assert run(database_url, "SELECT crashes FROM turns") == [(0,), (0,)]
