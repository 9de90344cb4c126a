"""What a turn and its conversation have cost: each answer once, the tries that came to nothing as well."""

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from core.house import House, build_house
from core.ids import DeviceId
from core.model.bill import Bill, counted
from core.settings import Settings
from core.store import sessions
from dev.demo_model import DemoModel, Fault, Reply
from functions.answers import usage_shape
from tests.agents import Workshop, call
from tests.bells import Deaf
from tests.conversations import answer, arrival

# 1,000 x $2 + 100 x $10 a million: 3,000 micro-dollars.
USAGE = {"input_tokens": 1_000, "output_tokens": 100}


@pytest.fixture
def house(settings: Settings, shop: Workshop) -> Iterator[House]:
    built = build_house(settings, shop.roster())
    yield built
    built.close()


def cost(house: House, device: UUID) -> int | None:
    session = sessions.find(house.database, DeviceId(device))
    assert session is not None
    return counted(session.usage).get("cost_micros")


def say(model: DemoModel, *replies: Reply) -> None:
    model.replies.add(*[dataclasses.replace(reply, usage=USAGE) for reply in replies])


def test_a_turn_costs_what_its_answers_do_and_a_conversation_what_its_turns_do(
    house: House, model: DemoModel, device: UUID
) -> None:
    say(model, Reply(call("peek")), Reply("Done"), Reply("Hello again"))
    assert answer(house, arrival(device)).usage["cost_micros"] == 6_000
    later = answer(house, arrival(device))
    assert later.usage["cost_micros"] == 3_000
    assert usage_shape(later.usage)["cost_usd"] == 0.003
    assert cost(house, device) == 9_000
    assert house.turns.look(DeviceId(device), later.id, 0).usage == later.usage


def test_a_try_that_broke_in_the_middle_is_paid_for(house: House, model: DemoModel, device: UUID) -> None:
    model.faults.add(Fault.cut(after=3))
    say(model, Reply("Hel"), Reply("Hello"))
    # The broken one had told of one token of output: 1,000 x 2 + 1 x 10.
    assert answer(house, arrival(device)).usage["cost_micros"] == 2_010 + 3_000
    assert cost(house, device) == 5_010


def test_so_are_the_tries_of_a_turn_that_failed(house: House, model: DemoModel, device: UUID) -> None:
    model.faults.add(*[Fault.cut(after=3) for _ in range(50)])
    say(model, *[Reply("Hel")] * 50)
    house.turns.limits = dataclasses.replace(house.turns.limits, turn_budget_s=4)
    turn = answer(house, arrival(device), 4)
    assert turn.status == "failed"
    assert turn.usage["cost_micros"] == 2_010 * len(model.requests) == cost(house, device)


def test_and_of_one_that_was_handed_over(house: House, model: DemoModel, device: UUID) -> None:
    model.faults.add(Fault.cut(after=3), Fault.status(529, retry_after=60))
    say(model, Reply("Hel"), Reply("Hello"))
    house.turns.wakeups = Deaf()
    house.turns.limits = dataclasses.replace(house.turns.limits, turn_budget_s=4)
    turn = answer(house, arrival(device), 4)
    assert turn.status == "queued"
    assert turn.usage["cost_micros"] == 2_010 == cost(house, device)
    assert turn.session_id is not None
    house.turns.work(turn.session_id)
    turn = house.turns.look(DeviceId(device), turn.id, 0)
    assert turn.status == "completed"
    assert turn.usage["cost_micros"] == 5_010 == cost(house, device)


def test_an_answer_that_did_not_come_in_time_is_paid_for_as_far_as_it_came(
    house: House, model: DemoModel, device: UUID
) -> None:
    model.faults.add(Fault.drip(0.002))
    say(model, Reply("word " * 5_000))
    house.turns.limits = dataclasses.replace(house.turns.limits, turn_budget_s=4)
    turn = answer(house, arrival(device), 4)
    assert (turn.status, turn.error and turn.error["code"]) == ("failed", "model_timeout")
    assert turn.usage["cost_micros"] == 2_010 == cost(house, device)


def test_and_one_that_was_stopped_in_the_middle(
    house: House, model: DemoModel, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, real = threading.Event(), Bill.begin

    def begin(bill: Bill, usage: dict[str, Any]) -> None:
        real(bill, usage)
        begun.set()

    monkeypatch.setattr(Bill, "begin", begin)
    house.turns.reception = dataclasses.replace(house.turns.reception, lease_ttl_s=4.0, lease_margin_s=1.0)
    model.faults.add(Fault.drip(0.002))
    say(model, Reply("word " * 5_000))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(answer, house, arrival(device, "first", "k"))
        assert begun.wait(20)
        workers, house.turns.wakeups = house.turns.wakeups, Deaf()
        waiting = answer(house, arrival(device, "first", "k"), 0)
        house.turns.cancel(DeviceId(device), waiting.id)
        house.turns.wakeups = workers
        turn = first.result(20)
    assert turn.status == "cancelled"
    assert turn.usage["cost_micros"] == 2_010 == cost(house, device)


def test_a_model_without_a_known_price_costs_nobody_knows_what(
    house: House, model: DemoModel, device: UUID
) -> None:
    known = house.turns.asking.default_model
    house.turns.asking.default_model = "claude-test"
    turn = answer(house, arrival(device))
    assert "cost_micros" not in turn.usage
    assert usage_shape(turn.usage)["cost_usd"] is None
    house.turns.asking.default_model = known
    assert answer(house, arrival(device)).usage["cost_micros"] > 0
    assert cost(house, device) is None, "and so does the conversation as a whole"
