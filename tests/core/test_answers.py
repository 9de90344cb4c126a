"""A turn is the same to whoever looks at it: the one that answered it, a retry, a later look."""

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from core.deadline import Deadline
from core.house import House, build_house
from core.ids import DeviceId
from core.settings import Settings
from core.shown import Turn
from dev.demo_model import DemoModel, Fault, Reply
from tests.agents import Workshop, call
from tests.bells import Deaf
from tests.conversations import answer, arrival, dead, refusals, statuses


@pytest.fixture
def house(settings: Settings, shop: Workshop, model: DemoModel) -> Iterator[House]:
    built = build_house(settings, shop.roster())
    built.turns.reception = dataclasses.replace(built.turns.reception, lease_ttl_s=2.0, lease_margin_s=0.5)
    yield built
    built.close()
    assert refusals(model) == []


def same(house: House, device: UUID, turn: Turn) -> None:
    looked_at = house.turns.look(DeviceId(device), turn.id, 0)
    assert dataclasses.asdict(looked_at) == dataclasses.asdict(turn)


def test_calls_are_told_in_the_same_order(house: House, model: DemoModel, device: UUID) -> None:
    """Their IDs are random, and the model asked for them in another order."""
    calls = [
        {**block, "id": f"toolu_{letter}"}
        for block, letter in zip(call("pay", "peek", "post"), "bCa", strict=True)
    ]
    model.replies.add(Reply(calls))
    turn = answer(house, arrival(device))
    assert len(turn.tool_calls) == 3
    same(house, device, turn)


@pytest.mark.parametrize("stop", ["interrupt", "rollback", "cancel"])
def test_a_turn_that_was_stopped_before_it_said_anything(
    house: House, model: DemoModel, device: UUID, stop: str
) -> None:
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(answer, house, arrival(device, "first", "k"))
        try:
            assert model.requests.wait_for(1)
            _stop(house, device, stop)
            turn = first.result(20)
        finally:
            gate.set()
    assert turn.status == "cancelled"
    same(house, device, turn)


@pytest.mark.parametrize("stop", ["interrupt", "rollback", "cancel"])
def test_a_turn_that_was_stopped_when_the_model_had_asked_for_tools(
    house: House, model: DemoModel, shop: Workshop, device: UUID, stop: str
) -> None:
    """Heard with the commit of the reply: no tool has run, so nothing about them is unknown."""
    gate = threading.Event()
    model.replies.add(Reply(call("post")))
    model.faults.add(Fault.gate(gate))
    house.turns.reception = dataclasses.replace(house.turns.reception, lease_ttl_s=60.0)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(answer, house, arrival(device, "first", "k"))
        try:
            assert model.requests.wait_for(1)
            _stop(house, device, stop)
        finally:
            gate.set()
        turn = first.result(20)
    assert turn.status == "cancelled"
    assert shop.ran["post"] == 0
    same(house, device, turn)
    assert [c["status"] for c in turn.tool_calls] == ["dropped"]


def _stop(house: House, device: UUID, stop: str) -> None:
    workers, house.turns.wakeups = house.turns.wakeups, Deaf()
    if stop == "cancel":
        turn = answer(house, arrival(device, "first", "k"), 0)
        # As another process does: in its own it would be heard at once.
        house.turns.reception.cancel(DeviceId(device), turn.id, Deadline.after(20))
    else:
        answer(house, arrival(device, "second", on_busy=stop), 0)
    house.turns.wakeups = workers


@pytest.mark.parametrize(
    "reply",
    [
        Reply("I won't.", stop_reason="refusal"),
        Reply([], stop_reason="end_turn"),
        Reply("As far as I", stop_reason="max_tokens"),
    ],
)
def test_a_turn_that_failed_or_was_cut_short(
    house: House, model: DemoModel, device: UUID, reply: Reply
) -> None:
    model.replies.add(Reply(call("peek")), reply)
    same(house, device, answer(house, arrival(device)))


# ---- what a request must not do


def test_cancelling_a_turn_that_has_not_begun_does_not_work_on_those_before_it(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    dead(house, database_url, arrival(device, "first"))
    house.turns.wakeups = Deaf()
    waiting = answer(house, arrival(device, "second"), 0)
    assert house.turns.cancel(DeviceId(device), waiting.id).status == "cancelled"
    assert len(model.requests) == 0
    assert statuses(database_url) == [("running", None), ("cancelled", "turn_cancelled")]


def test_a_model_that_says_when_to_come_back_is_not_asked_again_by_the_request_that_handed_over(
    house: House, model: DemoModel, device: UUID
) -> None:
    model.faults.add(*[Fault.status(529, retry_after=60) for _ in range(50)])
    house.turns.limits = dataclasses.replace(house.turns.limits, turn_budget_s=4)
    house.turns.wakeups = Deaf()
    assert answer(house, arrival(device), 4).status == "queued"
    assert len(model.requests) == 1


def test_nor_by_one_who_waits_behind_it(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    dead(house, database_url, arrival(device, "first"))
    model.faults.add(*[Fault.status(529, retry_after=60) for _ in range(50)])
    house.turns.limits = dataclasses.replace(house.turns.limits, turn_budget_s=4)
    house.turns.wakeups = Deaf()
    assert answer(house, arrival(device, "second"), 4).status == "queued"
    assert statuses(database_url) == [("queued", None), ("queued", None)]
    assert len(model.requests) == 1


def test_where_there_is_no_worker_a_retry_has_the_time_of_a_turn_however_short_its_patience(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    gone = dead(house, database_url, arrival(device, "first", "k"))
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        retry = pool.submit(answer, house, arrival(device, "first", "k"), 1.5)
        assert model.requests.wait_for(1)
        threading.Event().wait(1.6)
        gate.set()
        assert (retry.result(20).id, retry.result().status) == (gone.hold.turn_id, "completed")


def test_a_short_look_does_not_fail_a_turn_for_want_of_its_own_time(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    """There is no worker, so whoever looks goes on with the turn; but not for less than a turn is given."""
    gone = dead(house, database_url, arrival(device))
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    house.turns.look(DeviceId(device), gone.hold.turn_id, 1.5)
    gate.set()
    assert statuses(database_url) != [("failed", "model_timeout")]
    assert house.turns.look(DeviceId(device), gone.hold.turn_id, 20).status == "completed"
