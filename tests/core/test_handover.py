"""A conversation is handed over in the turn that asks for it, and stays with whoever has it, on whatever function it lands."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from core.agents.agent import Agent
from core.agents.builtin import clean
from core.agents.roster import Roster
from core.agents.tool import Effect, Tool
from core.content import Blocks
from core.deadline import Deadline
from core.holding import HoldLost
from core.house import House, build_house
from core.ids import DeviceId
from core.settings import Settings
from core.store import claims, steps
from dev.demo_model import DemoModel, Reply
from tests.agents import call
from tests.conversations import answer, arrival, expire, held, losing_replies, refusals, taken, until
from tests.databases import run

ROOT = Path(__file__).parents[2]
PEEK = Tool(name="peek", description="Looks.", effect=Effect.READ, run=lambda _, __: "seen")
MANAGER = Agent(
    key="manager",
    prompt="You route.",
    description="Everything else.",
    hands_over_to=("billing", "scheduling"),
    thinking=True,
    tools=(PEEK,),
)
SCHEDULING = Agent(
    key="scheduling",
    prompt="You schedule.",
    description="Appointments.",
    hands_over_to=("billing", "manager"),
    lock_ttl_s=3_600,
    thinking=True,
    todos=True,
)
REFUND = Tool(
    name="refund",
    description="Gives it back.",
    effect=Effect.ONCE,
    run=lambda _, __: "refunded",
    needs_approval=True,
)
MAIL = Tool(name="mail", description="Sends it.", effect=Effect.ONCE, run=lambda _, __: "sent")
BILLING = Agent(
    key="billing",
    prompt="You bill.",
    description="Invoices.",
    hands_over_to=("scheduling",),
    thinking=True,
    tools=(REFUND, MAIL),
)
ROSTER = Roster.of(MANAGER, SCHEDULING, BILLING)
HOUR = Agent(key="hour", prompt="You tell the hour.")


@pytest.fixture
def house(settings: Settings, model: DemoModel) -> Iterator[House]:
    built = build_house(replace(settings, session_ttl_s=86_400), ROSTER)
    yield built
    built.close()
    assert refusals(model) == []


def to(agent: str, reason: str = "An appointment.") -> dict[str, object]:
    return {"type": "tool_use", "name": "hand_over", "input": {"to": agent, "reason": reason}}


def lock(url: str) -> tuple[str | None, int]:
    ((agent, ttl_s),) = run(url, "SELECT active_agent, session_ttl FROM conversation_states")
    return agent, ttl_s


def notes(url: str) -> list[tuple[str, str, str | None, str | None]]:
    return [tuple(row) for row in run(url, "SELECT actor, action, agent, reason FROM audit_log ORDER BY id")]


def asked(model: DemoModel) -> list[str]:
    """Who was asked, request by request."""
    return [request.body["system"][0]["text"] for request in model.requests]


def results(model: DemoModel) -> Blocks:
    found: Blocks = model.requests[-1].body["messages"][-1]["content"]
    return found


def test_a_specialist_answers_in_the_same_turn_and_alone_from_then_on(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    thought = {"type": "thinking", "thinking": "Somebody wants to see a doctor."}
    model.replies.add(Reply([thought, to("scheduling")]), Reply("When would it suit you?"))
    turn = answer(house, arrival(device, "I want to see a doctor"))
    assert (turn.status, turn.agent, turn.reply) == ("completed", "scheduling", "When would it suit you?")
    assert asked(model) == ["You route.", "You schedule."]
    assert results(model)[0]["content"].startswith("scheduling goes on with this conversation")
    assert lock(database_url) == ("scheduling", 3_600)
    assert notes(database_url) == [("agent:manager", "lock_set", "scheduling", "An appointment.")]
    ((until_, at, noted)) = run(
        database_url,
        "SELECT a.until, s.locked_at, a.turn_id FROM audit_log a JOIN conversation_states s ON s.id = a.session_id",
    )[0]
    assert (until_ - at, noted) == (timedelta(seconds=3_600), str(turn.id))

    assert answer(house, arrival(device, "Tomorrow")).agent == "scheduling"
    assert asked(model)[2:] == ["You schedule."]


def test_after_its_time_the_manager_answers_again(
    house: House, model: DemoModel, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.replies.add(Reply([to("scheduling")]), Reply("When?"))
    answer(house, arrival(device))
    later = datetime.now(UTC) + timedelta(seconds=3_590)
    monkeypatch.setattr(claims, "claim", partial(claims.claim, now=later))
    assert answer(house, arrival(device)).agent == "scheduling"
    monkeypatch.setattr(claims, "claim", partial(claims.claim, now=later + timedelta(seconds=20)))
    assert answer(house, arrival(device)).agent == "manager"


_FUNCTION = """
import sys
from uuid import UUID
from core.deadline import Deadline
from core.house import build_house
from core.settings import read_settings
from tests.conversations import arrival
from tests.core.test_handover import ROSTER
house = build_house(read_settings(), ROSTER)
house.turns.answer(arrival(UUID(sys.argv[1]), "I want to see a doctor", "k"), 25)
"""


def test_a_function_that_is_killed_leaves_the_conversation_with_its_owner(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    """It dies while the specialist thinks. The next message, on another function, is one call to the specialist."""
    model.replies.add(Reply([to("scheduling")]), Reply("Too late", delay_s=30))
    function = subprocess.Popen(
        [sys.executable, "-c", _FUNCTION, str(device)],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": database_url,
            "ANTHROPIC_API_KEY": "demo",
            "ANTHROPIC_BASE_URL": model.url,
        },
    )
    until(lambda: len(model.requests) == 2 or function.poll() is not None)
    function.send_signal(signal.SIGKILL)
    assert function.wait(20) == -signal.SIGKILL
    expire(database_url)
    model.requests.clear()

    turn = answer(house, arrival(device, "I want to see a doctor", "k"))
    assert (turn.status, turn.agent) == ("completed", "scheduling")
    assert asked(model) == ["You schedule."]
    assert answer(house, arrival(device, "Tomorrow")).agent == "scheduling"
    assert asked(model) == ["You schedule."] * 2
    assert len(notes(database_url)) == 1


def test_it_can_be_handed_on_and_back(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    model.replies.add(
        Reply([to("scheduling")]), Reply([to("billing", "The bill.")]), Reply("You owe nothing.")
    )
    assert answer(house, arrival(device)).agent == "billing"
    assert lock(database_url) == ("billing", 86_400)
    model.replies.add(Reply([to("scheduling")]), Reply([to("manager", "All done.")]), Reply("What else?"))
    assert answer(house, arrival(device)).agent == "manager"
    assert lock(database_url)[0] is None
    assert notes(database_url)[-1] == ("agent:scheduling", "lock_cleared", "scheduling", "All done.")


def test_it_does_not_go_to_and_fro_for_ever(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    model.replies.add(Reply([to("scheduling")]))
    for _ in range(4):
        model.replies.add(Reply([to("billing")]), Reply([to("scheduling")]))
    turn = answer(house, arrival(device))
    assert turn.status == "completed"
    handed = [c["status"] for c in turn.tool_calls if c["name"] == "hand_over"]
    assert handed.count("done") == house.settings.most_handovers
    assert (
        "too often"
        in model.requests[house.settings.most_handovers + 1].body["messages"][-1]["content"][0]["content"]
    )
    assert len(notes(database_url)) == house.settings.most_handovers
    # The next message may be handed over again.
    model.replies.clear()
    model.replies.add(Reply([to("billing" if turn.agent == "scheduling" else "scheduling")]))
    assert answer(house, arrival(device)).agent != turn.agent


@pytest.mark.parametrize(
    ("calls", "told"),
    [
        ([to("poetry")], ["There is no colleague of that name. You can hand over to: billing, scheduling."]),
        ([to("manager")], ["There is no colleague of that name. You can hand over to: billing, scheduling."]),
        ([{**to("x"), "input": {}}], ["There is no colleague of that name."]),
    ],
)
def test_a_wish_that_cannot_be_met_is_told_and_changes_nothing(
    house: House,
    model: DemoModel,
    device: UUID,
    database_url: str,
    calls: list[dict[str, object]],
    told: list[str],
) -> None:
    model.replies.add(Reply(calls))
    turn = answer(house, arrival(device))
    assert (turn.status, turn.agent) == ("completed", "manager")
    for block, words in zip(results(model), told, strict=True):
        assert block["is_error"] is True
        assert block["content"].startswith(words)
    assert lock(database_url)[0] is None
    assert notes(database_url) == []


def test_of_two_wishes_at_once_the_first_counts_and_other_calls_run(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    model.replies.add(
        Reply([to("billing"), {"type": "tool_use", "name": "peek", "input": {}}, to("scheduling")])
    )
    turn = answer(house, arrival(device))
    assert turn.agent == "billing"
    assert [b.get("is_error", False) for b in results(model)] == [False, False, True]
    assert results(model)[1]["content"] == "seen"
    assert lock(database_url)[0] == "billing"


def test_what_a_reason_holds_does_not_stop_the_turn(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    model.replies.add(Reply([to("billing", "a \0 b c" + "x" * 900)]))
    assert answer(house, arrival(device)).agent == "billing"
    reason = notes(database_url)[0][3]
    assert reason is not None
    assert reason.startswith("a  b c")
    assert len(reason) == 500


def test_an_agent_that_a_release_no_longer_has_gives_way_to_the_manager(
    house: House, model: DemoModel, device: UUID, database_url: str, settings: Settings
) -> None:
    model.replies.add(Reply([to("scheduling")]), Reply("When?"))
    answer(house, arrival(device))
    smaller = build_house(settings, Roster.of(Agent(key="manager", prompt="You are alone.")))
    assert answer(smaller, arrival(device)).agent == "manager"
    assert answer(smaller, arrival(device)).agent == "manager"
    smaller.close()
    assert lock(database_url)[0] is None
    assert notes(database_url)[1:] == [
        (
            "system",
            "agent_missing",
            "scheduling",
            "This release has no agent scheduling; the manager answers.",
        )
    ]
    assert asked(model)[-1] == "You are alone."


def test_who_asked_for_a_call_sees_it_through_though_its_time_is_over(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    """A person's yes comes when the specialist no longer holds the conversation: the call runs, and the manager goes on."""
    model.replies.add(Reply([to("billing")]), Reply(call("refund")))
    turn = answer(house, arrival(device, "I want my money back"))
    assert turn.status == "waiting"
    run(database_url, "UPDATE conversation_states SET locked_at = now() - interval '2 days'")
    house.turns.decide(DeviceId(device), turn.approvals[0].id, yes=True)
    turn = house.turns.look(DeviceId(device), turn.id, 25)
    assert (turn.status, turn.agent) == ("completed", "manager")
    assert results(model)[0]["content"] == "refunded"
    assert asked(model)[-1] == "You route."


def test_a_call_that_may_have_run_is_unknown_though_a_release_has_taken_its_tool_away(
    house: House, model: DemoModel, device: UUID, database_url: str, settings: Settings
) -> None:
    model.replies.add(Reply([to("billing")]), Reply(call("mail")))
    holding = held(house, arrival(device, "go", "k"))
    stint = house.turns._inline(Deadline.after(20))
    for agent in (
        house.turns.roster.manager,
        house.turns.roster.manager,
        house.turns.roster.agents["billing"],
    ):
        assert house.turns.story._step(holding, agent, stint) == (False, None)
    expire(database_url)
    smaller = build_house(settings, Roster.of(Agent(key="manager", prompt="You are alone.")))
    turn = answer(smaller, arrival(device, "go", "k"))
    smaller.close()
    assert [c["status"] for c in turn.tool_calls if c["name"] == "mail"] == ["unknown"]
    assert "outcome of this call is unknown" in results(model)[0]["content"]


@pytest.mark.parametrize("lost", [0, 1])
def test_an_agent_that_is_no_more_gives_way_once_and_to_whom_it_was_given_meanwhile(
    house: House,
    model: DemoModel,
    device: UUID,
    database_url: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    lost: int,
) -> None:
    model.replies.add(Reply([to("scheduling")]), Reply("When?"))
    answer(house, arrival(device))
    smaller = build_house(settings, Roster.of(Agent(key="manager", prompt="You are alone."), HOUR))
    holding = held(smaller, arrival(device))
    if lost:
        losing_replies(monkeypatch, steps._RELOCK)
    else:
        smaller.sessions.set_session_lock(DeviceId(device), "hour", actor="user")
    turn = smaller.turns.story.go_through(holding, smaller.turns._inline(Deadline.after(20)))
    smaller.close()
    assert turn is not None
    assert turn.agent == "manager"
    assert lock(database_url)[0] == (None if lost else "hour")
    said = [(actor, action) for actor, action, _, _ in notes(database_url)[1:]]
    assert said == [("system", "agent_missing") if lost else ("user", "lock_set")]


def test_the_lock_moves_with_the_message_that_moved_it_or_not_at_all(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    """A function that falls asleep between the wish and its commit, and wakes when another has gone on."""
    model.replies.add(Reply([to("scheduling")]))
    sleeper = held(house, arrival(device, "go", "k"))
    turns, stint = house.turns, house.turns._inline(Deadline.after(20))
    assert turns.story._step(sleeper, ROSTER.manager, stint) == (False, None)
    assert lock(database_url)[0] is None
    expire(database_url)
    heir = taken(house, sleeper.hold.session_id)
    with pytest.raises(HoldLost):
        turns.story._settle(sleeper, ROSTER.manager, stint)
    assert lock(database_url)[0] is None
    assert notes(database_url) == []
    turn = turns.story.go_through(heir, stint)
    assert turn is None or turn.status == "completed"
    assert lock(database_url)[0] == "scheduling"
    assert len(notes(database_url)) == 1


def test_a_handover_whose_reply_was_lost_counts_once(
    house: House, model: DemoModel, device: UUID, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = losing_replies(monkeypatch, steps._RESULTS)
    model.replies.add(Reply([to("scheduling")]), Reply("When?"))
    turn = answer(house, arrival(device))
    assert lost
    assert (turn.agent, turn.reply) == ("scheduling", "When?")
    assert len(notes(database_url)) == 1


# ---- the list of what is to be done


def listing(*todos: object) -> dict[str, object]:
    return {"type": "tool_use", "name": "set_todos", "input": {"todos": list(todos)}}


def kept(url: str) -> list[tuple[int, str, str]]:
    return [tuple(row) for row in run(url, "SELECT position, content, status FROM todos ORDER BY position")]


def test_an_agent_keeps_its_list(house: House, model: DemoModel, device: UUID, database_url: str) -> None:
    answer(house, arrival(device))
    house.sessions.set_session_lock(DeviceId(device), "scheduling")
    find, book = (
        {"content": "Find a slot", "status": "completed"},
        {"content": "Book it", "status": "in_progress"},
    )
    model.replies.add(Reply([listing(find, book, {"content": "Remind", "status": "pending"})]))
    turn = answer(house, arrival(device))
    assert turn.status == "completed"
    assert kept(database_url) == [
        (1, "Find a slot", "completed"),
        (2, "Book it", "in_progress"),
        (3, "Remind", "pending"),
    ]
    assert "2 to do, 1 done" in results(model)[0]["content"]
    model.replies.add(Reply([listing({"content": "Book it", "status": "completed"})]))
    answer(house, arrival(device))
    assert kept(database_url) == [(1, "Book it", "completed")]
    model.replies.add(Reply([listing()]))
    answer(house, arrival(device))
    assert kept(database_url) == []


@pytest.mark.parametrize(
    "wrong",
    [
        [{"content": " ", "status": "pending"}],
        [{"content": "x", "status": "soon"}],
        ["x"],
        [{"content": "x", "status": "pending"}] * 101,
    ],
    ids=["blank", "status", "no object", "too many"],
)
def test_a_list_that_is_wrong_leaves_the_old_one(
    house: House, model: DemoModel, device: UUID, database_url: str, wrong: list[object]
) -> None:
    answer(house, arrival(device))
    house.sessions.set_session_lock(DeviceId(device), "scheduling")
    model.replies.add(Reply([listing({"content": "Book \0 it", "status": "pending"})]))
    answer(house, arrival(device))
    model.replies.add(Reply([listing(*wrong)]))
    assert answer(house, arrival(device)).status == "completed"
    assert "Nothing was changed" in results(model)[0]["content"]
    assert kept(database_url) == [(1, "Book  it", "pending")]


def test_an_agent_without_a_list_has_no_tool_for_one(house: House, model: DemoModel, device: UUID) -> None:
    model.replies.add(Reply([listing()]))
    assert answer(house, arrival(device)).status == "completed"
    assert "no tool of this name" in results(model)[0]["content"]
    offered = [tool["name"] for tool in model.requests[-1].body["tools"]]
    assert offered == ["peek", "hand_over"]


def test_half_a_character_is_no_text() -> None:
    assert clean("a \0 b \ud800 c", 6) == "a  b �"
