"""Thinking blocks are bound to everything before them."""

import copy
from typing import Any

import anthropic
import pytest

from dev.demo_model import DemoModel, Reply
from tests.demo_model.raw import TOOL, ask

Json = dict[str, Any]

THINKING = {"type": "adaptive"}


@pytest.fixture
def history(sdk: anthropic.Anthropic) -> Json:
    """A request whose history holds thinking, text and a tool call, all as the SDK gives them back."""
    body = ask("What is the weather in Oslo?", tools=[TOOL], system="Be brief.", thinking=THINKING)
    with sdk.messages.stream(**body) as stream:
        content = stream.get_final_message().to_dict()["content"]
    assert isinstance(content, list)
    assert [block["type"] for block in content] == ["thinking", "text", "tool_use"]
    result = {"type": "tool_result", "tool_use_id": content[2]["id"], "content": "Sun"}
    body["messages"] += [{"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    return body


def test_a_thinking_block_can_be_sent_back(sdk: anthropic.Anthropic, history: Json) -> None:
    first = sdk.messages.create(**history)
    history["messages"] += [{"role": "assistant", "content": first.to_dict()["content"]}]
    history["messages"] += [{"role": "user", "content": "Thanks"}]
    assert sdk.messages.create(**history).content[0].type == "thinking"


def _marked(body: Json) -> None:
    mark = {"type": "ephemeral"}
    body["cache_control"] = mark
    body["system"] = [{"type": "text", "text": body["system"], "cache_control": mark}]
    body["tools"][0]["cache_control"] = mark


def _as_blocks(body: Json) -> None:
    body["messages"][0]["content"] = [{"type": "text", "text": body["messages"][0]["content"]}]


def _reordered_fields(body: Json) -> None:
    body["messages"][1]["content"] = [
        dict(sorted(block.items(), reverse=True)) for block in body["messages"][1]["content"]
    ]


def _later(body: Json) -> None:
    body["messages"][2]["content"][0]["content"] = "Snow"


def _split(body: Json) -> None:
    thinking, *rest = body["messages"][1]["content"]
    body["messages"][1:2] = [
        {"role": "assistant", "content": [thinking]},
        {"role": "assistant", "content": rest},
    ]


@pytest.mark.parametrize("change", [_marked, _as_blocks, _reordered_fields, _later, _split])
def test_what_means_the_same_or_comes_later_leaves_it_valid(
    sdk: anthropic.Anthropic, history: Json, change: Any
) -> None:
    change(history)
    assert sdk.messages.create(**history).stop_reason == "end_turn"


def _system(body: Json) -> None:
    body["system"] = "Be very brief."


def _model(body: Json) -> None:
    body["model"] = "claude-other"


def _tool(body: Json) -> None:
    body["tools"] = [{**TOOL, "description": "The weather."}]


def _order_in_schema(body: Json) -> None:
    body["tools"] = [{**TOOL, "input_schema": dict(reversed(TOOL["input_schema"].items()))}]


def _message(body: Json) -> None:
    body["messages"][0]["content"] += " "


def _thought(body: Json) -> None:
    body["messages"][1]["content"][0]["thinking"] += "!"


def _moved(body: Json) -> None:
    body["messages"][1]["content"].reverse()


@pytest.mark.parametrize("change", [_system, _model, _tool, _order_in_schema, _message, _thought, _moved])
def test_a_changed_prefix_is_refused(sdk: anthropic.Anthropic, history: Json, change: Any) -> None:
    changed = copy.deepcopy(history)
    change(changed)
    with pytest.raises(anthropic.BadRequestError) as refused:
        sdk.messages.create(**changed)
    place = "messages.1.content.2" if change is _moved else "messages.1.content.0"
    assert refused.value.api_message == f"{place}: Invalid `signature` in `thinking` block"
    del changed["messages"][1]["content"][2 if change is _moved else 0]
    if change is not _moved:
        assert sdk.messages.create(**changed).stop_reason == "end_turn"


def test_numbers_and_key_order_of_an_earlier_tool_input_are_bound(
    model: DemoModel, sdk: anthropic.Anthropic
) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"a": -0.0, "b": 1.0}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Sun"}
    said = [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    body = ask("Weather?", *said, tools=[TOOL], thinking=THINKING)
    body["messages"] += [{"role": "assistant", "content": sdk.messages.create(**body).to_dict()["content"]}]
    body["messages"] += [{"role": "user", "content": "Thanks"}]
    assert sdk.messages.create(**body).stop_reason == "end_turn"
    for other in ({"a": 0.0, "b": 1.0}, {"a": -0.0, "b": 1}, {"b": 1.0, "a": -0.0}):
        call["input"] = other
        with pytest.raises(anthropic.BadRequestError):
            sdk.messages.create(**body)


@pytest.mark.parametrize("streams", [False, True])
def test_scripted_thinking_between_other_blocks_can_be_sent_back(
    model: DemoModel, sdk: anthropic.Anthropic, streams: bool
) -> None:
    model.replies.add(
        Reply(
            [
                {"type": "thinking", "thinking": "One."},
                {"type": "redacted_thinking"},
                {"text": "Aloud.", "type": "text"},
                {"type": "thinking", "thinking": "Two."},
                {"type": "tool_use", "name": "get_weather", "input": {"b": -0.0, "a": 1}},
            ]
        )
    )
    body = ask("Go", tools=[TOOL], thinking=THINKING)
    if streams:
        with sdk.messages.stream(**body) as stream:
            content: Any = stream.get_final_message().to_dict()["content"]
    else:
        content = sdk.messages.create(**body).to_dict()["content"]
    result = {"type": "tool_result", "tool_use_id": content[4]["id"], "content": "Sun"}
    body["messages"] += [{"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    assert sdk.messages.create(**body).stop_reason == "end_turn"
    del content[1]
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.1\.content\.2: Invalid `signature`"):
        sdk.messages.create(**body)


def test_omitted_thinking_has_a_signature_and_no_text(sdk: anthropic.Anthropic) -> None:
    block = sdk.messages.create(**ask(thinking={"type": "adaptive", "display": "omitted"})).content[0]
    assert block.type == "thinking"
    assert block.thinking == ""
    assert block.signature


@pytest.mark.parametrize("thinking", [{"type": "disabled"}, {"type": "between_tools"}, None])
def test_without_thinking_there_is_none(sdk: anthropic.Anthropic, thinking: Json | None) -> None:
    assert [block.type for block in sdk.messages.create(**ask(thinking=thinking)).content] == ["text"]
