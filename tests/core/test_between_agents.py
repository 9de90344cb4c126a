"""A turn stops in the middle of a specialist's calls, and whoever goes on with it finds that another agent has the conversation."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from core.agents.agent import Agent
from core.agents.roster import Roster
from core.agents.tool import Effect, Tool
from core.house import House, build_house
from core.ids import DeviceId
from core.settings import Settings
from dev.demo_model import DemoModel, Reply
from tests.conversations import answer, arrival, asking, expire, held, refusals
from tests.databases import run


def tool(name: str, effect: Effect, *, asks: bool = False) -> Tool:
    return Tool(
        name=name,
        description=f"The tool {name}.",
        effect=effect,
        run=lambda _, __: f"{name} is done",
        needs_approval=asks,
    )


MANAGER = Agent(key="manager", prompt="You route.", description="All else.", hands_over_to=("billing",))
SCHEDULING = Agent(key="scheduling", prompt="You schedule.", description="Appointments.")
BILLING = Agent(
    key="billing",
    prompt="You bill.",
    description="Invoices.",
    hands_over_to=("scheduling",),
    tools=(
        tool("pay", Effect.IDEMPOTENT),
        tool("post", Effect.ONCE),
        tool("refund", Effect.ONCE, asks=True),
    ),
)
ROSTER = Roster.of(MANAGER, SCHEDULING, BILLING)


@pytest.fixture
def house(settings: Settings, model: DemoModel) -> Iterator[House]:
    built = build_house(settings, ROSTER)
    yield built
    built.close()
    assert refusals(model) == []


@pytest.fixture
def billed(house: House, device: UUID) -> DeviceId:
    """Whose conversation is with billing."""
    answer(house, arrival(device))
    house.sessions.set_session_lock(DeviceId(device), "billing")
    return DeviceId(device)


def use(*names: str) -> list[dict[str, Any]]:
    given = {"hand_over": {"to": "scheduling", "reason": "A time."}}
    return [{"type": "tool_use", "name": name, "input": given.get(name, {})} for name in names]


def told(model: DemoModel) -> dict[str, str]:
    """What the model was last told that its calls came to, each by its tool."""
    messages = model.requests[-1].body["messages"]
    calls = {
        b["id"]: b["name"]
        for message in messages
        for b in message["content"]
        if isinstance(b, dict) and b["type"] == "tool_use"
    }
    return {
        calls[b["tool_use_id"]]: b["content"] for b in messages[-1]["content"] if b["type"] == "tool_result"
    }


Moves = Callable[[House, DeviceId], object]
MOVES: dict[str, Moves] = {
    "cleared": lambda house, device: house.sessions.clear_session_lock(device),
    "another's": lambda house, device: house.sessions.set_session_lock(device, "scheduling"),
}


@pytest.fixture(params=list(MOVES.values()), ids=list(MOVES))
def moves(request: pytest.FixtureRequest) -> Moves:
    wanted: Moves = request.param
    return wanted


def die_in(house: House, model: DemoModel, device: DeviceId, url: str, *tools: str) -> None:
    """A function dies when its calls are on record as started."""
    holding = held(house, arrival(device, "pay", "k"))
    model.replies.add(Reply(use(*tools)))
    asking(holding, house, ROSTER.agents["billing"])
    expire(url)


def test_a_call_that_may_have_run_is_not_said_not_to_have(
    house: House, model: DemoModel, billed: DeviceId, database_url: str, moves: Moves
) -> None:
    die_in(house, model, billed, database_url, "post", "pay")
    moves(house, billed)
    assert answer(house, arrival(billed, "pay", "k")).status == "completed"
    assert "unknown" in told(model)["post"]
    assert told(model)["pay"] == "pay is done"
    assert run(database_url, "SELECT kind, status FROM approvals") == [("outcome", "pending")]


def test_what_a_person_allowed_is_run_by_whoever_asked_for_it(
    house: House, model: DemoModel, billed: DeviceId, moves: Moves
) -> None:
    model.replies.add(Reply(use("refund")))
    waiting = answer(house, arrival(billed, "refund it", "k"))
    moves(house, billed)
    house.turns.decide(billed, waiting.approvals[0].id, yes=True)
    assert answer(house, arrival(billed, "refund it", "k")).status == "completed"
    assert told(model) == {"refund": "refund is done"}


def test_a_handover_beside_a_call_that_waits_happens_once(
    house: House, model: DemoModel, billed: DeviceId, database_url: str
) -> None:
    model.replies.add(Reply(use("refund", "hand_over")))
    waiting = answer(house, arrival(billed, "refund it", "k"))
    assert waiting.status == "waiting"
    house.sessions.clear_session_lock(billed)
    house.turns.decide(billed, waiting.approvals[0].id, yes=True)
    turn = answer(house, arrival(billed, "refund it", "k"))
    assert (turn.status, turn.agent) == ("completed", "scheduling")
    assert told(model)["hand_over"].endswith("Handed over by billing: A time.")
    moved = "SELECT actor, action, agent FROM audit_log WHERE actor LIKE 'agent:%' ORDER BY id"
    assert run(database_url, moved) == [("agent:billing", "lock_set", "scheduling")]


def test_what_a_release_took_away_may_have_run_all_the_same(
    house: House, model: DemoModel, billed: DeviceId, database_url: str, settings: Settings
) -> None:
    die_in(house, model, billed, database_url, "post", "pay")
    smaller = build_house(settings, Roster.of(Agent(key="manager", prompt="You are alone.")))
    assert answer(smaller, arrival(billed, "pay", "k")).status == "completed"
    smaller.close()
    assert "unknown" in told(model)["post"]
    assert "not certain" in told(model)["pay"]
