"""What becomes of a message that comes while its conversation is busy, and of a wish to stop."""

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from core.deadline import Deadline
from core.house import House, build_house
from core.ids import DeviceId
from core.model.bill import Bill
from core.model.prompt import Prompt
from core.model.reply import ModelReply
from core.settings import Settings
from core.shown import Turn
from dev.demo_model import DemoModel, Fault, Reply
from tests.agents import Workshop, call
from tests.conversations import answer, arrival, dead, refusals, sent, statuses, until
from tests.databases import run


@pytest.fixture
def house(settings: Settings, shop: Workshop, model: DemoModel) -> Iterator[House]:
    """With workers, and a lease so short that a stop is heard within half a second."""
    built = build_house(settings, shop.roster())
    built.turns.reception = dataclasses.replace(built.turns.reception, lease_ttl_s=2.0, lease_margin_s=0.5)
    workers = built.start_workers(threads=2, sweep_every_s=0.2)
    yield built
    workers.stop()
    built.close()
    assert refusals(model) == []


@pytest.fixture
def busy(house: House, model: DemoModel, device: UUID) -> Iterator[tuple[Future[Turn], threading.Event]]:
    """A first message, whose model is at a gate."""
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(answer, house, arrival(device, "first", "first"))
        assert model.requests.wait_for(1)
        yield first, gate
        gate.set()


def say(house: House, device: UUID, text: str, on_busy: str) -> Turn:
    return answer(house, arrival(device, text, text, on_busy), 0)


def over(house: House, device: UUID, turn: Turn) -> Turn:
    return house.turns.look(DeviceId(device), turn.id, 20)


Busy = tuple["Future[Turn]", threading.Event]


def test_queued_messages_are_answered_in_their_order(
    house: House, model: DemoModel, database_url: str, device: UUID, busy: Busy
) -> None:
    waiting = [say(house, device, text, "queue") for text in ("second", "third")]
    assert [turn.status for turn in waiting] == ["queued", "queued"]
    busy[1].set()
    assert [over(house, device, turn).status for turn in waiting] == ["completed", "completed"]
    assert [texts[0] for role, texts in sent(model) if role == "user"] == ["first", "second", "third"]
    assert statuses(database_url) == [("completed", None)] * 3


def test_three_quick_texts_become_one(
    house: House, model: DemoModel, database_url: str, device: UUID, busy: Busy
) -> None:
    made = [say(house, device, text, "merge") for text in ("one", "two", "three")]
    assert len({turn.id for turn in made}) == 1
    busy[1].set()
    assert over(house, device, made[0]).status == "completed"
    assert sent(model)[-1] == ("user", ["one", "two", "three"])
    assert len(model.requests) == 2


def test_the_latest_takes_the_place_of_those_that_wait(
    house: House, model: DemoModel, database_url: str, device: UUID, busy: Busy
) -> None:
    made = [say(house, device, text, "latest") for text in ("one", "two", "three")]
    busy[1].set()
    assert [over(house, device, turn).status for turn in made] == ["cancelled", "cancelled", "completed"]
    assert [texts for role, texts in sent(model) if role == "user"] == [["first"], ["three"]]
    assert statuses(database_url)[1] == ("cancelled", "turn_replaced")


def test_an_interrupted_turn_stops_soon_and_keeps_what_it_did(
    house: House, model: DemoModel, shop: Workshop, database_url: str, device: UUID
) -> None:
    gate = threading.Event()
    model.replies.add(Reply(call("post")))
    model.faults.add(Fault.delay(0), Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(answer, house, arrival(device, "first"))
        assert model.requests.wait_for(2)
        second = say(house, device, "second", "interrupt")
        assert first.result(20).status == "cancelled", "though its model is still at the gate"
        assert over(house, device, second).status == "completed"
        gate.set()
    assert shop.ran["post"] == 1
    assert [role for role, _ in sent(model)] == ["user", "assistant", "user", "user"]
    assert statuses(database_url) == [("cancelled", "turn_interrupted"), ("completed", None)]


def test_a_turn_that_was_rolled_back_is_not_told_to_the_model_and_stays_in_the_audit(
    house: House, model: DemoModel, shop: Workshop, database_url: str, device: UUID
) -> None:
    answer(house, arrival(device, "before"))
    gate = threading.Event()
    model.replies.add(Reply(call("post")))
    model.faults.add(Fault.delay(0), Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(answer, house, arrival(device, "first"))
        assert model.requests.wait_for(3)
        second = say(house, device, "second", "rollback")
        assert first.result(20).status == "cancelled"
        assert over(house, device, second).status == "completed"
        gate.set()
    assert [texts[0] for role, texts in sent(model) if role == "user"] == ["before", "second"]
    assert run(database_url, "SELECT count(*) FROM messages") == [(7,)]
    assert answer(house, arrival(device, "third")).status == "completed"
    assert [texts[0] for role, texts in sent(model) if role == "user"] == ["before", "second", "third"]


def test_a_steering_message_enters_before_the_model_is_asked_next(
    house: House, model: DemoModel, shop: Workshop, database_url: str, device: UUID
) -> None:
    entered, gate = threading.Event(), threading.Event()

    def stay(_: object, __: object) -> str:
        entered.set()
        assert gate.wait(20)
        return "done"

    shop.does = {"post": stay}
    model.replies.add(Reply(call("post")))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(answer, house, arrival(device, "first"))
        assert entered.wait(20)
        steered = [say(house, device, text, "steer") for text in ("mind the dog", "and the cat")]
        gate.set()
        done = first.result(20)
    assert {turn.id for turn in steered} == {done.id}
    assert sent(model)[-2:] == [("user", ["tool_result"]), ("user", ["mind the dog", "and the cat"])]
    assert len(model.requests) == 2
    assert done.status == "completed"


@pytest.mark.parametrize("beats", [0.0, 1.2], ids=["at the last moment", "heard by the heartbeat"])
def test_a_steering_message_that_comes_while_the_model_answers_is_answered_too(
    house: House, model: DemoModel, device: UUID, busy: Busy, beats: float
) -> None:
    assert say(house, device, "mind the dog", "steer").status == "running"
    threading.Event().wait(beats)
    busy[1].set()
    done = busy[0].result(20)
    assert done.status == "completed"
    assert [role for role, _ in sent(model)] == ["user", "assistant", "user"]
    assert sent(model)[-1] == ("user", ["mind the dog"])


# ---- cancel


def test_a_turn_that_waits_its_turn_is_cancelled_at_once(
    house: House, model: DemoModel, device: UUID, busy: Busy
) -> None:
    waiting = say(house, device, "second", "queue")
    assert house.turns.cancel(DeviceId(device), waiting.id).status == "cancelled"
    busy[1].set()
    assert busy[0].result(20).status == "completed"
    assert answer(house, arrival(device, "third")).status == "completed"
    assert [texts[0] for role, texts in sent(model) if role == "user"] == ["first", "third"]


def test_a_running_turn_stops_though_its_model_does_not_answer(
    house: House, model: DemoModel, device: UUID, busy: Busy
) -> None:
    turn = say(house, device, "first", "queue")
    assert turn.status == "running"
    assert house.turns.cancel(DeviceId(device), turn.id).status in ("running", "cancelled")
    stopped = busy[0].result(20)
    assert (stopped.status, stopped.error and stopped.error["code"]) == ("cancelled", "turn_cancelled")
    assert answer(house, arrival(device, "next")).status == "completed"


def test_a_model_that_was_left_is_told_so(
    house: House, model: DemoModel, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    bills: list[Bill] = []
    ask = house.turns.asking.model.ask

    def noting(
        prompt: Prompt, deadline: Deadline, bill: Bill | None = None, sink: Any = None
    ) -> "Future[ModelReply]":
        assert bill is not None
        bills.append(bill)
        return ask(prompt, deadline, bill, sink)

    monkeypatch.setattr(house.turns.asking.model, "ask", noting)
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(answer, house, arrival(device, "first", "k"))
        assert model.requests.wait_for(1)
        assert not bills[0].is_left
        house.turns.cancel(DeviceId(device), answer(house, arrival(device, "first", "k"), 0).id)
        assert first.result(20).status == "cancelled"
    gate.set()
    assert bills[0].is_left


def test_a_turn_whose_function_died_is_cancelled_by_whoever_asks(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    gone = dead(house, database_url, arrival(device))
    assert house.turns.cancel(DeviceId(device), gone.hold.turn_id).status == "cancelled"
    assert len(model.requests) == 0


def test_a_turn_that_is_over_stays_what_it_is(house: House, device: UUID) -> None:
    done = answer(house, arrival(device))
    assert house.turns.cancel(DeviceId(device), done.id) == done


# ---- hand-over and recovery


def test_what_a_request_cannot_end_a_worker_does(
    settings: Settings, model: DemoModel, database_url: str, device: UUID
) -> None:
    gate = threading.Event()
    model.faults.add(Fault.gate(gate), Fault.gate(gate))
    house = build_house(dataclasses.replace(settings, turn_budget_s=2))
    workers = house.start_workers(sweep_every_s=60)
    turn = answer(house, arrival(device, "slow", "k"), 2)
    assert turn.status in ("queued", "running")
    assert model.requests.wait_for(2), "the worker asks again"
    gate.set()
    assert house.turns.look(DeviceId(device), turn.id, 20).status == "completed"
    assert run(database_url, "SELECT count(*) FROM messages") == [(2,)]
    workers.stop()
    house.close()


def test_without_a_worker_what_takes_too_long_fails_in_time(
    settings: Settings, model: DemoModel, device: UUID
) -> None:
    model.faults.add(Fault.hang())
    house = build_house(dataclasses.replace(settings, turn_budget_s=1))
    turn = answer(house, arrival(device))
    assert (turn.status, turn.error and turn.error["code"]) == ("failed", "model_timeout")
    house.close()


def test_the_sweep_finds_what_nobody_was_woken_for(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    """A dead holder, and a message queued behind it by a function that died before it could wake anybody."""
    dead(house, database_url, arrival(device, "first"))
    until(lambda: statuses(database_url) == [("completed", None)])
