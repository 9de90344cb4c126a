"""What a tool returns may be anything; the turn goes on, and the model is sent what it can read."""

import dataclasses
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from core.agents.tool import Arguments, ToolContext, ToolFailed
from core.house import House, build_house
from core.ids import DeviceId
from core.settings import Settings
from dev.demo_model import DemoModel, Reply
from tests.agents import Workshop, call
from tests.conversations import answer, arrival, refusals
from tests.databases import run


@pytest.fixture
def house(settings: Settings, shop: Workshop, model: DemoModel) -> Iterator[House]:
    # Some of what is returned here would be summed up before the next turn.
    built = build_house(dataclasses.replace(settings, compact_at_tokens=900_000), shop.roster())
    yield built
    built.close()
    assert refusals(model) == []


def told(model: DemoModel) -> dict[str, Any]:
    """The only result in the last message that the model was sent."""
    (block,) = model.requests[-1].body["messages"][-1]["content"]
    assert block["type"] == "tool_result"
    found: dict[str, Any] = block
    return found


@pytest.mark.parametrize(
    "returned",
    [{"Sunday"}, b"Sunday", float("nan"), {"Sunday": object()}],
    ids=["set", "bytes", "nan", "object"],
)
def test_what_cannot_be_sent_is_a_failure_of_the_tool_and_not_of_the_turn(
    house: House, model: DemoModel, shop: Workshop, device: UUID, database_url: str, returned: Any
) -> None:
    shop.does = {"post": lambda _, __: returned}
    model.replies.add(Reply(call("post")))
    turn = answer(house, arrival(device))
    assert turn.status == "completed"
    assert [c["status"] for c in turn.tool_calls] == ["failed"]
    assert told(model)["is_error"] is True
    assert "Sunday" not in told(model)["content"]
    assert run(database_url, "SELECT crashes FROM turns") == [(0,)]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    "text", ["a \ud800 b", "a \0 b", "\udcff.txt", 'quotes " \\ \u2028', "x" * 20_000], ids=ascii
)
def test_a_text_that_python_can_hold_reaches_the_model(
    house: House, model: DemoModel, shop: Workshop, device: UUID, text: str, fails: bool
) -> None:
    def run_it(_: ToolContext, __: Arguments) -> str:
        if fails:
            raise ToolFailed(text)
        return text

    shop.does = {"peek": run_it}
    model.replies.add(Reply(call("peek")))
    turn = answer(house, arrival(device))
    assert turn.status == "completed", turn.error
    assert told(model)["content"] == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    first = model.requests[-1].body["messages"]
    house.turns.reception.memory.of_device(DeviceId(device))
    assert answer(house, arrival(device)).status == "completed"
    assert model.requests[-1].body["messages"][: len(first)] == first, "read from the store it is the same"


def test_what_a_tool_says_of_its_failure_is_limited_too(
    house: House, model: DemoModel, shop: Workshop, device: UUID
) -> None:
    def run_it(_: ToolContext, __: Arguments) -> str:
        raise ToolFailed("x" * 30_000)

    shop.does = {"peek": run_it}
    model.replies.add(Reply(call("peek")))
    assert answer(house, arrival(device)).status == "completed"
    assert told(model)["content"].startswith(
        "x" * 20_000 + "\n\n(This result was cut: it has 30000 characters"
    )


@pytest.mark.parametrize("said", ["", " \n "])
def test_a_failure_without_words_is_not_an_empty_text(
    house: House, model: DemoModel, shop: Workshop, device: UUID, said: str
) -> None:
    def run_it(_: ToolContext, __: Arguments) -> str:
        raise ToolFailed(said)

    shop.does = {"peek": run_it}
    model.replies.add(Reply(call("peek")))
    assert answer(house, arrival(device)).status == "completed"
    assert told(model)["content"].strip()
