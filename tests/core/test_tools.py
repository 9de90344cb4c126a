"""Tools run as declared: each effect class, through crashes, failures, several at once, and a person's yes or no."""

import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest

from core.agents.agent import Agent
from core.agents.refusal import WrongDeclaration
from core.agents.roster import Roster
from core.agents.tool import Arguments, ToolContext, ToolFailed
from core.content import Blocks
from core.deadline import Deadline
from core.holding import Holding
from core.house import House, build_house
from core.ids import DeviceId
from core.settings import Settings
from core.store import steps
from dev.demo_model import DemoModel, Reply
from tests.agents import Workshop, call
from tests.conversations import (
    answer,
    arrival,
    expire,
    held,
    losing_replies,
    refusals,
    taken,
)
from tests.databases import run


@pytest.fixture
def house(settings: Settings, shop: Workshop, model: DemoModel) -> Iterator[House]:
    built = build_house(settings, shop.roster(thinking=True))
    yield built
    built.close()
    assert refusals(model) == []


def results(model: DemoModel, number: int = -1) -> Blocks:
    """The last message that the model was sent, which holds nothing but results."""
    content: Blocks = model.requests[number].body["messages"][-1]["content"]
    assert {block["type"] for block in content} == {"tool_result"}
    return content


def died_after_asking(house: House, url: str, model: DemoModel, device: UUID, *tools: str) -> Holding:
    """A holder that committed the model's wish for these tools, and died before it could tell what they came to."""
    model.replies.add(Reply(call(*tools)))
    holding = held(house, arrival(device, "go", "k"))
    agent = house.turns.roster.manager
    over, _ = house.turns.story._step(holding, agent, house.turns._inline(Deadline.after(20)))
    assert not over
    expire(url)
    return holding


def test_what_a_tool_returns_reaches_the_model_and_the_client(
    house: House, model: DemoModel, shop: Workshop, device: UUID
) -> None:
    model.replies.add(Reply(call("peek")))
    turn = answer(house, arrival(device))
    assert turn.status == "completed"
    assert [b["content"] for b in results(model)] == ["peek says yes"]
    assert [(c["name"], c["effect"], c["status"]) for c in turn.tool_calls] == [("peek", "read", "done")]
    assert house.turns.look(DeviceId(device), turn.id, 0) == turn
    assert answer(house, arrival(device, "and now?")).status == "completed"


def test_several_calls_run_at_once_and_are_answered_in_one_message(
    house: House, model: DemoModel, shop: Workshop, device: UUID
) -> None:
    both = threading.Barrier(2, timeout=10)

    def meet(_: ToolContext, __: Arguments) -> str:
        both.wait()
        return "met"

    shop.does = {"peek": meet, "post": meet}
    model.replies.add(Reply(call("peek", "post")))
    turn = answer(house, arrival(device))
    assert [b["content"] for b in results(model)] == ["met", "met"]
    assert {c["name"]: c["status"] for c in turn.tool_calls} == {"peek": "done", "post": "done"}


@pytest.mark.parametrize(("tool", "runs"), [("peek", 1), ("pay", 1), ("post", 0)])
def test_after_a_crash_a_call_runs_again_as_its_effect_allows(
    house: House, model: DemoModel, shop: Workshop, database_url: str, device: UUID, tool: str, runs: int
) -> None:
    gone = died_after_asking(house, database_url, model, device, tool)
    turn = answer(house, arrival(device, "go", "k"))
    assert (turn.id, turn.status) == (gone.hold.turn_id, "completed")
    assert shop.ran[tool] == runs
    (result,) = results(model)
    assert result.get("is_error", False) is (runs == 0)
    assert ("unknown" in result["content"]) is (runs == 0)
    assert [c["status"] for c in turn.tool_calls] == ["done" if runs else "unknown"]


@pytest.mark.parametrize(
    ("tool", "status", "told"),
    [
        ("post", "unknown", "unknown"),
        ("pay", "failed", "not certain"),
        ("peek", "dropped", "no tool of this name"),
    ],
)
def test_a_call_whose_tool_a_release_took_away_is_not_said_not_to_have_run(
    house: House,
    model: DemoModel,
    database_url: str,
    device: UUID,
    settings: Settings,
    tool: str,
    status: str,
    told: str,
) -> None:
    """It was on record as started by a function that died."""
    died_after_asking(house, database_url, model, device, tool)
    smaller = build_house(settings, Roster.of(Agent(key="manager", prompt="You are one.")))
    assert answer(smaller, arrival(device, "go", "k")).status == "completed"
    smaller.close()
    (result,) = results(model)
    assert result["is_error"] is True
    assert told in result["content"]
    assert run(database_url, "SELECT status FROM tool_calls") == [(status,)]


def test_an_idempotent_call_gets_the_same_key_each_time(
    house: House, model: DemoModel, shop: Workshop, database_url: str, device: UUID
) -> None:
    gone = died_after_asking(house, database_url, model, device, "pay")
    for _ in range(2):
        holding = taken(house, gone.hold.session_id)
        from core import toolwork

        agent = house.turns.roster.manager
        toolwork._run(holding, agent, holding.conversation.last.tool_calls, Deadline.after(20), keep=False)
        expire(database_url)
    assert len(shop.keys) == 2
    assert len(set(shop.keys)) == 1


def test_what_a_once_call_returned_is_kept_while_others_still_run(
    house: House, model: DemoModel, shop: Workshop, database_url: str, device: UUID
) -> None:
    """The function dies while `peek` runs; `post` is done, and is neither run again nor called unknown."""
    gate = threading.Event()

    def stay(_: ToolContext, __: Arguments) -> str:
        assert gate.wait(20)
        return "late"

    shop.does = {"peek": stay}
    model.replies.add(Reply(call("peek", "post")))
    answering = threading.Thread(target=answer, args=(house, arrival(device, "go", "k")))
    answering.start()
    deadline = Deadline.after(20)
    while not run(database_url, "SELECT 1 FROM tool_calls WHERE status = 'done'"):
        assert deadline.left_s()
    expire(database_url)
    shop.does = {}
    turn = answer(house, arrival(device, "go", "k"))
    gate.set()
    answering.join(20)
    assert turn.status == "completed"
    assert (shop.ran["post"], shop.ran["peek"]) == (1, 2)
    assert [b["content"] for b in results(model)] == ["peek says yes", "post says yes"]


def fail_in_words(_: ToolContext, __: Arguments) -> str:
    raise ToolFailed("There is no slot on Sunday.")


def fail_somehow(_: ToolContext, __: Arguments) -> str:
    raise ValueError("password=hunter2")


def say_nothing(_: ToolContext, __: Arguments) -> str:
    return " \n"


@pytest.mark.parametrize(
    ("does", "told", "is_error"),
    [
        (fail_in_words, "There is no slot on Sunday.", True),
        (fail_somehow, "failed unexpectedly", True),
        (say_nothing, "returned nothing", False),
    ],
)
def test_how_a_call_ends_is_told_to_the_model(
    house: House, model: DemoModel, shop: Workshop, device: UUID, does: object, told: str, is_error: bool
) -> None:
    shop.does = {"pay": does}  # type: ignore[dict-item]  # of the shape that it takes
    model.replies.add(Reply(call("pay")))
    turn = answer(house, arrival(device))
    assert turn.status == "completed"
    (result,) = results(model)
    assert told in result["content"]
    assert result.get("is_error", False) is is_error
    assert "hunter2" not in result["content"]
    assert turn.tool_calls[0]["status"] == ("failed" if is_error else "done")


def test_a_call_that_does_not_end_is_left_at_its_time_limit(
    settings: Settings, model: DemoModel, database_url: str, device: UUID
) -> None:
    shop, gate = Workshop(), threading.Event()

    def stay(_: ToolContext, __: Arguments) -> str:
        gate.wait(20)
        return "late"

    shop.does = {"peek": stay, "post": stay}
    house = build_house(settings, shop.roster(time_limit_s=0.2))
    model.replies.add(Reply(call("peek", "post")))
    turn = answer(house, arrival(device))
    gate.set()
    assert turn.status == "completed"
    assert {c["name"]: c["status"] for c in turn.tool_calls} == {"peek": "failed", "post": "unknown"}
    assert all(block["is_error"] for block in results(model))
    house.close()


def test_a_tool_that_does_not_exist_is_an_error_result(
    house: House, model: DemoModel, shop: Workshop, device: UUID
) -> None:
    model.replies.add(Reply(call("fly", "peek")))
    assert answer(house, arrival(device)).status == "completed"
    missing, there = results(model)
    assert "no tool of this name" in missing["content"]
    assert there["content"] == "peek says yes"


def test_a_call_that_was_cut_off_is_not_run(
    house: House, model: DemoModel, shop: Workshop, device: UUID
) -> None:
    model.replies.add(Reply(call("post"), stop_reason="max_tokens"))
    assert answer(house, arrival(device)).status == "completed"
    assert "cut off" in results(model)[0]["content"]
    assert shop.ran["post"] == 0


def test_a_model_that_pauses_is_sent_the_same_again(house: House, model: DemoModel, device: UUID) -> None:
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    model.replies.add(Reply([search], stop_reason="pause_turn"), Reply("Found."))
    turn = answer(house, arrival(device))
    assert (turn.status, turn.reply) == ("completed", "Found.")
    assert len(model.requests) == 2
    assert model.requests[1].body["messages"][-1]["role"] == "assistant"


def test_a_pause_that_is_never_ended_leaves_nothing_half_done(
    house: House, model: DemoModel, device: UUID
) -> None:
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    model.replies.add(Reply([search], stop_reason="pause_turn"), Reply("I won't.", stop_reason="refusal"))
    assert answer(house, arrival(device)).status == "failed"
    assert answer(house, arrival(device)).status == "completed"
    assert [m["role"] for m in model.requests[-1].body["messages"]] == ["user", "user"]


def test_nothing_more_to_say_after_the_tools_is_an_answer(
    house: House, model: DemoModel, device: UUID
) -> None:
    model.replies.add(
        Reply([{"type": "text", "text": "I do it."}, *call("pay")]), Reply([], stop_reason="end_turn")
    )
    turn = answer(house, arrival(device))
    assert (turn.status, turn.reply) == ("completed", "I do it.")
    assert answer(house, arrival(device)).status == "completed"


def test_a_turn_without_end_is_ended(house: House, model: DemoModel, shop: Workshop, device: UUID) -> None:
    model.replies.add(*[Reply(call("peek")) for _ in range(60)])
    turn = answer(house, arrival(device))
    assert (turn.status, turn.error and turn.error["code"]) == ("failed", "turn_too_long")
    assert shop.ran["peek"] <= house.settings.longest_turn
    model.replies.clear()
    assert answer(house, arrival(device)).status == "completed"


def test_an_agent_may_give_up_sooner_than_the_service(
    settings: Settings, model: DemoModel, shop: Workshop, device: UUID
) -> None:
    brief = replace(shop.roster().manager, longest_turn=4)
    house = build_house(settings, Roster.of(brief))
    model.replies.add(*[Reply(call("peek")) for _ in range(10)])
    assert (answer(house, arrival(device)).status, shop.ran["peek"]) == ("failed", 2)
    house.close()


@pytest.mark.parametrize("statement", [steps._REPLY, steps._RESULTS], ids=["reply", "results"])
def test_a_step_whose_reply_was_lost_counts_once(
    house: House,
    model: DemoModel,
    shop: Workshop,
    database_url: str,
    device: UUID,
    monkeypatch: pytest.MonkeyPatch,
    statement: object,
) -> None:
    model.replies.add(Reply(call("post")))
    lost = losing_replies(monkeypatch, statement)
    assert answer(house, arrival(device)).status == "completed"
    assert lost
    assert shop.ran["post"] == 1
    assert run(database_url, "SELECT count(*) FROM messages") == [(4,)]


def test_a_tool_that_no_worker_has_time_for_is_refused_at_start(settings: Settings) -> None:
    with pytest.raises(WrongDeclaration, match="the agent manager has a tool peek that may take 500 seconds"):
        build_house(settings, Workshop().roster(time_limit_s=500))


def test_a_tool_that_would_end_the_process_fails_its_call(
    house: House, model: DemoModel, shop: Workshop, device: UUID
) -> None:
    shop.does = {"peek": lambda _, __: sys.exit("over")}
    model.replies.add(Reply(call("peek")))
    assert answer(house, arrival(device)).tool_calls[0]["status"] == "failed"
