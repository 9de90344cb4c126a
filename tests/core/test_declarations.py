"""A wrong declaration is found at start, all of it at once, in sentences that say what is accepted."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.agents.agent import EVERYBODY, Agent
from core.agents.mcp import McpServer
from core.agents.refusal import WrongDeclaration
from core.agents.roster import ROSTER, Roster
from core.agents.tool import Arguments, Effect, Tool, ToolContext, tool
from core.house import build_house
from core.settings import Settings, read_settings
from tests.databases import ROOT

MANAGER = Agent(key="manager", prompt="You are at the front desk.")
BILLING = Agent(key="billing", prompt="You are billing.", description="Invoices and payments.")
CALENDAR = McpServer("calendar", "https://mcp.example.com/sse")


def a_tool(name: str = "peek", time_limit_s: float = 10.0) -> Tool:
    def run(context: ToolContext, arguments: Arguments) -> str:
        return "yes"

    return Tool(name=name, description=".", effect=Effect.READ, run=run, time_limit_s=time_limit_s)


def test_the_shipped_roster_is_well_declared() -> None:
    assert ROSTER.problems() == []
    for agent in ROSTER.listed:
        for each in agent.tools:
            assert each.declaration()["input_schema"]["type"] == "object"


def test_a_roster_that_is_well_declared_has_no_problems() -> None:
    manager = replace(
        MANAGER,
        hands_over_to=("billing",),
        tools=(a_tool(), a_tool("other")),
        mcp_servers=(CALENDAR, replace(CALENDAR, name="notes", allowed_tools=("find",))),
        model="claude-test",
        lock_ttl_s=60,
        longest_turn=10,
    )
    assert Roster.of(manager, replace(BILLING, mcp_servers=(CALENDAR,))).problems(longest_call_s=10) == []


def test_who_hands_over_to_everybody_reaches_whoever_is_in_the_roster() -> None:
    roster = Roster.of(replace(MANAGER, hands_over_to=EVERYBODY), BILLING, replace(BILLING, key="parking"))
    assert roster.problems() == []
    assert roster.manager.hands_over_to == ("billing", "parking")
    offered = roster.manager.tool("hand_over")
    assert offered is not None
    assert offered.input_schema["properties"]["to"]["enum"] == ["billing", "parking"]
    assert Roster.of(replace(MANAGER, hands_over_to=EVERYBODY)).manager.hands_over_to == ()


@pytest.mark.parametrize(
    ("manager", "said"),
    [
        ({"key": "billing"}, "2 agents have the key billing; accepted: one"),
        ({"key": "Front-Desk"}, "the agent Front-Desk has a wrong key; accepted: at most 50"),
        ({"key": "a" * 51}, "has a wrong key; accepted: at most 50"),
        ({"prompt": " \n"}, "the agent manager has an empty prompt; accepted: one that tells"),
        ({"model": ""}, "has the model ''; accepted: a model's name, or None"),
        ({"lock_ttl_s": 0}, "keeps a conversation for 0 seconds; accepted: a whole number from 1"),
        ({"lock_ttl_s": -5}, "keeps a conversation for -5 seconds; accepted: a whole number from 1"),
        ({"max_tokens": 0}, "answers in at most 0 tokens; accepted: a whole number from 1"),
        ({"longest_turn": 1}, "adds at most 1 messages; accepted: a whole number from 2 to 10000"),
        ({"hands_over_to": ("biling",)}, "hands over to 'biling', which is not in the roster; accepted: billing"),
        ({"hands_over_to": ("manager",)}, "hands over to itself; accepted: any other agent"),
        ({"hands_over_to": "billing"}, "hands over to 'billing'; accepted: a tuple of keys"),
        ({"hands_over_to": ("billing", "billing")}, "has 2 handovers to billing; accepted: one"),
        ({"hands_over_to": ("mute",)}, "hands over to mute, which has no description; accepted: one that says"),
        ({"tools": (a_tool(), a_tool())}, "has 2 tools of the name peek; accepted: one"),
        ({"tools": (a_tool("hand_over"),)}, "has a tool hand_over, which is a name of ours; accepted: any but"),
        ({"tools": (a_tool("set_todos"),)}, "has a tool set_todos, which is a name of ours"),
        ({"tools": (a_tool(time_limit_s=11),)}, "has a tool peek that may take 11 seconds; accepted: at most 10"),
        ({"tools": (print,)}, "has tools that are none, or not in a tuple; accepted: tools=(one,)"),
        ({"tools": a_tool()}, "has tools that are none, or not in a tuple; accepted: tools=(one,)"),
        ({"mcp_servers": (CALENDAR, CALENDAR)}, "has 2 MCP servers of the name calendar; accepted: one"),
        (
            {"mcp_servers": (replace(CALENDAR, url="http://mcp.example.com"),)},
            "has the MCP server calendar at a wrong address; accepted: https://",
        ),
        (
            {"mcp_servers": (replace(CALENDAR, url="https://u:p@mcp.example.com"),)},
            "has the MCP server calendar at a wrong address; accepted: https:// without a user",
        ),
        ({"mcp_servers": (replace(CALENDAR, name="my calendar"),)}, "has an MCP server 'my calendar'; accepted: a name"),
        ({"mcp_servers": (replace(CALENDAR, allowed_tools=()),)}, "allows no tool of the MCP server calendar"),
        (
            {"mcp_servers": (replace(CALENDAR, url="https://elsewhere.example.com"),)},
            "the MCP server calendar has 2 addresses; accepted: one for each name",
        ),
    ],
)  # fmt: skip
def test_a_wrong_agent_is_refused_with_a_sentence(manager: dict[str, Any], said: str) -> None:
    mute = Agent(key="mute", prompt="You are mute.", mcp_servers=(CALENDAR,))
    problems = Roster.of(replace(MANAGER, **manager), BILLING, mute).problems(longest_call_s=10)
    assert any(said in problem for problem in problems), problems


def test_all_that_is_wrong_is_said_in_one_error(settings: Settings) -> None:
    manager = replace(MANAGER, hands_over_to=("nobody",), tools=(a_tool(time_limit_s=500),), lock_ttl_s=0)
    with pytest.raises(WrongDeclaration) as caught:
        build_house(settings, Roster.of(manager, replace(BILLING, prompt="")))
    assert len(caught.value.problems) == 4
    assert str(caught.value).startswith("Wrong agents:\n  the agent manager ")


def test_what_every_agent_knows_of_itself_reaches_the_model(settings: Settings) -> None:
    """The model's name and the length of a turn are the agent's where it names them, else the settings'."""
    from core.conversation import Conversation

    house = build_house(settings, Roster.of(MANAGER, replace(BILLING, model="claude-small")))
    told = [house.turns.asking.prompt(agent, Conversation()).model for agent in house.turns.roster.listed]
    assert told == [settings.anthropic_model, "claude-small"]
    house.close()


# ---- a function that cannot be a tool


def fine(day: str) -> str:
    """Fine."""
    return day


async def late(day: str) -> str:
    """Late."""
    return day


def generated(day: str) -> Any:
    """Generated."""
    yield day


def untyped(day) -> str:  # type: ignore[no-untyped-def]
    """Untyped."""
    return str(day)


def starred(*days: str) -> str:
    """Starred."""
    return days[0]


def double_starred(**days: str) -> str:
    """Double starred."""
    return days[""]


def by_place(day: str, /) -> str:
    """By place."""
    return day


def silent(day: str) -> str:
    return day


def unknown_type(day: "Nowhere") -> str:  # type: ignore[name-defined]  # noqa: F821
    """Of a type that is not there."""
    return ""


def maybe_context(context: ToolContext | None) -> str:
    """Perhaps."""
    return str(context)


def two_contexts(one: ToolContext, other: ToolContext) -> str:
    """Two."""
    return str((one, other))


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (fine, {"effect": None}, "the tool fine declares no effect; accepted: read, idempotent, once"),
        (fine, {"effect": "twice"}, "the tool fine declares the effect 'twice'; accepted: read, idempotent, once"),
        (late, {}, "the tool late is an async function; accepted: a plain one"),
        (generated, {}, "the tool generated is a generator; accepted: a function that returns its result"),
        (untyped, {}, "the tool untyped has no type for its parameter day; accepted: an annotation, such as day: str"),
        (starred, {}, "the tool starred takes *days; accepted: parameters that have a name and a type each"),
        (double_starred, {}, "the tool double_starred takes **days; accepted: parameters"),
        (by_place, {}, "the tool by_place takes day by its position only; accepted: parameters that can be given by name"),
        (silent, {}, "the tool silent has no docstring; accepted: one that tells the model what the tool is for"),
        (unknown_type, {}, "the tool unknown_type has an annotation that cannot be read (name 'Nowhere' is not defined)"),
        (maybe_context, {}, "accepted: context: ToolContext"),
        (two_contexts, {}, "takes the context 2 times (one, other); accepted: once"),
        (lambda: "", {"description": "."}, "the tool <lambda> has a name that the model cannot call; accepted: 1 to 64"),
        (print, {}, "the tool print is made of <built-in function print>; accepted: a function"),
        (fine, {"name": "two words"}, "the tool two words has a name that the model cannot call"),
        (fine, {"time_limit_s": 0}, "has a time limit of 0; accepted: a number of seconds above 0"),
        (fine, {"time_limit_s": float("inf")}, "has a time limit of inf; accepted: a number of seconds above 0"),
        (fine, {"most_characters": 0}, "may return 0 characters; accepted: a whole number from 1"),
        (fine, {"needs_approval": "always"}, "has needs_approval='always'; accepted: True, False or a function"),
        (fine, {"approver": "boss"}, "asks 'boss' for approval; accepted: owner, editor"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_tool_is_refused_where_it_is_declared(
    function: Callable[..., object], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(WrongDeclaration) as caught:
        tool(**{"effect": Effect.READ, **options})(function)
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


def test_a_bare_decorator_is_told_that_it_says_no_effect() -> None:
    with pytest.raises(
        WrongDeclaration, match="the tool fine declares no effect; accepted: read, idempotent, once"
    ):
        tool(fine)


def test_all_that_is_wrong_with_a_tool_is_said_at_once() -> None:
    with pytest.raises(WrongDeclaration) as caught:
        tool(time_limit_s=-1, approver="boss")(untyped)
    assert len(caught.value.problems) == 4


# ---- where it is shown


WRONG = {
    "tool": "from core.agents.tool import tool\n\n\n@tool()\ndef book(slot: int) -> str:\n    'Books.'\n",
    "agent": "ROSTER = Roster.of(Agent(key='manager', prompt='', lock_ttl_s=0))\n",
}


@pytest.mark.parametrize("command", ["import functions.api", "import dev.serve; dev.serve.main()"])
@pytest.mark.parametrize("wrong", sorted(WRONG))
def test_a_wrong_declaration_stops_the_service_with_plain_lines(
    tmp_path: Path, database_url: str, command: str, wrong: str
) -> None:
    for room in ("core", "dev", "functions", "alembic"):
        shutil.copytree(ROOT / room, tmp_path / room)
    shutil.copy(ROOT / "alembic.ini", tmp_path)
    with (tmp_path / "core" / "agents" / "roster.py").open("a") as roster:
        roster.write(WRONG[wrong])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    result = subprocess.run(
        [sys.executable, "-c", command],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": database_url, "PORT": str(port)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 1, result.stdout
    assert f"latchkey  Wrong agents:\n  the {wrong} " in result.stderr
    assert "; accepted: " in result.stderr
    assert "Traceback" not in result.stderr


def test_a_token_is_there_for_each_server_that_needs_one(caplog: pytest.LogCaptureFixture) -> None:
    roster = Roster.of(replace(MANAGER, mcp_servers=(replace(CALENDAR, needs_token=True),)))
    with pytest.raises(WrongDeclaration) as caught:
        build_house(read_settings({"MCP_TOKENS": '{"calender": "hunter2"}'}), roster)
    assert caught.value.problems == [
        "the MCP server calendar needs a token; accepted: one under its name in MCP_TOKENS"
    ]
    assert "MCP_TOKENS has a token for 'calender', and no agent has" in caplog.text
    assert "hunter2" not in caplog.text
    build_house(read_settings({"MCP_TOKENS": '{"calendar": "hunter2"}'}), roster).close()
