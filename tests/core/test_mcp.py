"""Remote MCP servers: the API talks to them, and what they said stays whole and is sent to nobody who may not see it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from core.agents.agent import Agent
from core.agents.mcp import McpServer
from core.agents.roster import Roster
from core.content import Message
from core.conversation import Conversation
from core.house import House, build_house
from core.model.prompt import Prompt
from core.settings import Secret, Settings, SettingsError, read_settings
from dev.demo_model import DemoModel, Reply
from tests.conversations import answer, arrival, refusals
from tests.databases import run

CALENDAR = McpServer("calendar", "https://mcp.example.com/sse", needs_token=True, allowed_tools=("find",))
NOTES = McpServer("notes", "https://notes.example.com/mcp")
WITH = Agent(key="manager", prompt="You are one.", mcp_servers=(CALENDAR, NOTES), thinking=True)
WITHOUT = replace(WITH, mcp_servers=())
TOKENS = {"MCP_TOKENS": '{"calendar": "hunter2"}'}

LISTING: dict[str, Any] = {"type": "mcp_tool_listing", "mcp_server_name": "calendar", "tools": []}
CALL: dict[str, Any] = {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "find", "server_name": "calendar", "input": {"q": -0.0}}  # fmt: skip
RESULT: dict[str, Any] = {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "is_error": False, "content": [{"type": "text", "text": "Free"}]}  # fmt: skip
SAID = {"type": "text", "text": "You are free."}
REPLY: list[dict[str, Any]] = [LISTING, {"type": "thinking", "thinking": "Hm."}, CALL, RESULT, SAID]
FULL_KINDS = ["mcp_tool_listing", "thinking", "mcp_tool_use", "mcp_tool_result", "text"]


def open_house(settings: Settings, agent: Agent) -> House:
    return build_house(replace(settings, mcp_tokens=read_settings(TOKENS).mcp_tokens), Roster.of(agent))


@pytest.fixture
def house(settings: Settings, model: DemoModel) -> Iterator[House]:
    built = open_house(settings, WITH)
    yield built
    built.close()
    assert refusals(model) == []


def kinds(message: dict[str, Any]) -> list[str]:
    return [block["type"] for block in message["content"]]


# ---- what is asked


def test_the_api_is_asked_with_the_servers_their_toolsets_and_the_token(
    house: House, model: DemoModel, device: UUID
) -> None:
    assert answer(house, arrival(device)).status == "completed"
    request = model.requests[-1]
    assert request.headers["anthropic-beta"] == "mcp-client-2026-09-15"
    assert request.body["mcp_servers"] == [
        {"type": "url", "name": "calendar", "url": CALENDAR.url, "authorization_token": "hunter2"},
        {"type": "url", "name": "notes", "url": NOTES.url},
    ]
    assert request.body["tools"] == [
        {
            "type": "mcp_toolset",
            "mcp_server_name": "calendar",
            "default_config": {"enabled": False},
            "configs": {"find": {"enabled": True}},
        },
        {"type": "mcp_toolset", "mcp_server_name": "notes"},
    ]


def test_an_agent_without_servers_asks_without_a_beta(
    settings: Settings, model: DemoModel, device: UUID
) -> None:
    house = open_house(settings, WITHOUT)
    assert answer(house, arrival(device)).status == "completed"
    house.close()
    assert "anthropic-beta" not in model.requests[-1].headers
    assert "mcp_servers" not in model.requests[-1].body


def prompt_of(agent: Agent, conversation: Conversation) -> Prompt:
    return Prompt(
        model="claude-test",
        system=agent.prompt,
        max_tokens=100,
        thinking=False,
        conversation=conversation,
        tools=tuple(server.toolset() for server in agent.mcp_servers),
        mcp_servers=tuple(server.definition() for server in agent.mcp_servers),
    )


def test_the_toolset_and_the_address_are_part_of_the_prefix_and_the_token_is_of_nothing() -> None:
    elsewhere = replace(NOTES, url="https://elsewhere.example.com")
    less = replace(NOTES, allowed_tools=("find",))
    agents = [replace(WITH, mcp_servers=servers) for servers in ((), (NOTES,), (elsewhere,), (less,))]
    prompts = [prompt_of(agent, Conversation()) for agent in agents]
    assert len({prompt.prefix_digest for prompt in prompts}) == 4
    assert "authorization_token" not in json.dumps([prompt.render() for prompt in prompts])


def test_the_token_is_in_no_row_and_no_log(
    house: House, model: DemoModel, device: UUID, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    model.replies.add(Reply(REPLY))
    assert answer(house, arrival(device)).status == "completed"
    tables = ("conversation_states", "turns", "messages")
    assert not [
        row
        for table in tables
        for row in run(database_url, f"SELECT * FROM {table}")
        if "hunter2" in str(row)
    ]
    assert "hunter2" not in caplog.text + repr(house.settings)


@pytest.mark.parametrize(
    "given", ["hunter2", "[]", '{"calendar": 7}', '{"calendar": ""}', '{"a": "hun ter2"}']
)
def test_wrong_tokens_are_refused_and_not_shown(given: str) -> None:
    with pytest.raises(SettingsError, match="MCP_TOKENS is a value that is not shown; accepted: ") as caught:
        read_settings({"MCP_TOKENS": given})
    assert "ter2" not in str(caught.value)


# ---- what it says


def test_what_a_server_said_is_stored_and_sent_back_as_it_came(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    model.replies.add(Reply(REPLY))
    turn = answer(house, arrival(device))
    assert (turn.status, turn.reply, turn.tool_calls) == ("completed", "You are free.", [])
    assert run(database_url, "SELECT count(*) FROM tool_calls") == [(0,)], "its calls are not ours to settle"
    assert answer(house, arrival(device)).status == "completed"
    back = model.requests[-1].body["messages"][1]["content"]
    assert [block["type"] for block in back] == FULL_KINDS
    assert [back[0], back[2], back[3], back[4]] == [LISTING, CALL, RESULT, SAID]
    assert json.loads(run(database_url, "SELECT content FROM messages WHERE seq = 2")[0][0]) == back
    assert str(back[2]["input"]) == "{'q': -0.0}"


def test_an_agent_without_the_server_goes_on_and_is_not_told_of_its_calls(
    settings: Settings, model: DemoModel, device: UUID
) -> None:
    """Also one that has them again: it finds them where they were."""
    model.replies.add(Reply(REPLY))
    for agent in (WITH, WITHOUT, replace(WITH, mcp_servers=(NOTES,)), WITH):
        house = open_house(settings, agent)
        assert answer(house, arrival(device)).status == "completed"
        house.close()
    assert refusals(model) == []
    assert [kinds(request.body["messages"][1]) for request in list(model.requests)[1:]] == [
        ["text"],
        ["text"],
        FULL_KINDS,
    ]


def test_an_edited_prompt_keeps_the_calls_and_asks_the_server_for_its_tools_anew(
    settings: Settings, model: DemoModel, device: UUID
) -> None:
    model.replies.add(Reply(REPLY))
    for agent in (WITH, replace(WITH, prompt="You are another.")):
        house = open_house(settings, agent)
        assert answer(house, arrival(device)).status == "completed"
        house.close()
    assert refusals(model) == []
    assert kinds(model.requests[-1].body["messages"][1]) == ["mcp_tool_use", "mcp_tool_result", "text"]


def test_a_pause_within_a_call_is_gone_on_with(house: House, model: DemoModel, device: UUID) -> None:
    model.replies.add(Reply([LISTING, SAID, CALL], stop_reason="pause_turn"), Reply([RESULT, SAID]))
    assert answer(house, arrival(device)).status == "completed"
    assert kinds(model.requests[1].body["messages"][-1]) == ["mcp_tool_listing", "text", "mcp_tool_use"]
    assert answer(house, arrival(device)).status == "completed"


def sent(agent: Agent, *said: Message) -> list[list[str]]:
    """The kinds of blocks that the model is sent, message by message."""
    hello = Message(1, "user", [{"type": "text", "text": "Hi"}])
    return [kinds(message) for message in prompt_of(agent, Conversation([hello, *said])).render()["messages"]]


def test_a_pause_that_lost_its_server_is_not_sent_at_all() -> None:
    """With its call cut out it would end in a text, which the API takes for a beginning that it does not allow."""
    paused = Message(2, "assistant", [SAID, CALL], stop_reason="pause_turn")
    done = Message(3, "assistant", [RESULT, SAID], stop_reason="end_turn")
    assert sent(WITHOUT, paused) == [["text"]]
    assert sent(WITHOUT, paused, done) == [["text"], ["text"]]
    assert sent(WITH, paused, done) == [["text"], ["text", "mcp_tool_use"], ["mcp_tool_result", "text"]]


def test_a_call_that_was_cut_off_before_its_result_is_not_sent() -> None:
    cut = Message(2, "assistant", [SAID, CALL], stop_reason="max_tokens")
    assert sent(WITH, cut) == [["text"], ["text"]]


def test_a_list_of_tools_alone_is_no_answer(house: House, model: DemoModel, device: UUID) -> None:
    model.replies.add(Reply([LISTING]))
    turn = answer(house, arrival(device))
    assert (turn.status, turn.error and turn.error["code"]) == ("failed", "model_said_nothing")
    assert answer(house, arrival(device)).status == "completed"


def test_the_stateless_answer_names_no_server(settings: Settings, model: DemoModel, device: UUID) -> None:
    """It has no tools, and the API refuses a server without its toolset."""
    away = Secret("postgresql+psycopg2://nobody@127.0.0.1:1/none")
    house = open_house(replace(settings, database_url=away, without_database="stateless"), WITH)
    turn = answer(house, arrival(device))
    assert (turn.status, turn.stateless) == ("completed", True)
    assert "mcp_servers" not in model.requests[-1].body
    house.close()
