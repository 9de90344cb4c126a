"""What the real SDK makes of the answers."""

import json
from typing import Any

import anthropic
import pytest
from anthropic.types import TextBlock, ToolUseBlock

from dev.demo_model import DemoModel, Reply
from tests.demo_model.raw import TOOL, Raw, ask

Json = dict[str, Any]

# Emoji, right-to-left text, a line separator that is no line's end in SSE, a NUL and quotes.
STRANGE = 'Grüße 👩‍👩‍👧 שלום "مرحبا"\u2028next\x85line\x00 \\ end'


def only_text(message: anthropic.types.Message) -> str:
    (block,) = message.content
    assert isinstance(block, TextBlock)
    return block.text


def streamed(sdk: anthropic.Anthropic, body: Json) -> anthropic.types.Message:
    with sdk.messages.stream(**body) as stream:
        return stream.get_final_message()


def test_a_streamed_reply_is_the_same_message_as_a_plain_one(sdk: anthropic.Anthropic) -> None:
    body = ask("What is the weather in Oslo?", tools=[TOOL], thinking={"type": "adaptive"})
    plain, stream = sdk.messages.create(**body).to_dict(), streamed(sdk, body).to_dict()
    stream.pop("stop_details")  # the SDK sets it to None when it puts a stream together
    assert plain == stream
    assert plain["stop_reason"] == "tool_use"


def test_two_servers_say_the_same_to_the_same_request(raw: Raw) -> None:
    body = ask("Hi", tools=[TOOL], thinking={"type": "adaptive"})
    with DemoModel() as other, Raw(other.url) as twin:
        assert raw.send(body).data == twin.send(body).data


def test_the_events_come_in_the_order_of_the_api(model: DemoModel, raw: Raw) -> None:
    model.replies.add(
        Reply([{"type": "text", "text": "One two three four five."}, _call({"a": 1.5, "b": -0.0})])
    )
    answer = raw.send(ask(stream=True))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    kinds = [event["type"] for event in answer.events]
    assert kinds[:2] == ["message_start", "ping"]
    assert kinds[-2:] == ["message_delta", "message_stop"]
    starts = [event for event in answer.events if event["type"] == "content_block_start"]
    assert [event["index"] for event in starts] == [0, 1]
    assert starts[1]["content_block"]["input"] == {}


def test_text_and_arguments_come_in_parts_and_the_first_of_the_arguments_is_empty(
    model: DemoModel, raw: Raw
) -> None:
    arguments = {"a": 1.5, "b": -0.0, "c": STRANGE}
    model.replies.add(Reply([{"type": "text", "text": STRANGE}, _call(arguments)]))
    deltas = [
        event["delta"] for event in raw.send(ask(stream=True)).events if "index" in event and "delta" in event
    ]
    texts = [delta["text"] for delta in deltas if delta["type"] == "text_delta"]
    parts = [delta["partial_json"] for delta in deltas if delta["type"] == "input_json_delta"]
    assert len(texts) > 1
    assert "".join(texts) == STRANGE
    assert (parts[0], len(parts) > 3) == ("", True)
    assert json.dumps(json.loads("".join(parts))) == json.dumps(arguments)


@pytest.mark.parametrize("streams", [False, True])
def test_text_goes_out_as_utf_8_and_not_as_escapes(raw: Raw, streams: bool) -> None:
    data = raw.send(ask("שלום", stream=streams)).data
    assert "שלום".encode() in data
    assert b"\\u" not in data


@pytest.mark.parametrize("streams", [False, True])
def test_strange_text_survives_the_sdk(model: DemoModel, sdk: anthropic.Anthropic, streams: bool) -> None:
    model.replies.add(Reply([{"type": "text", "text": STRANGE}, _call({"-": -0.0, "text": STRANGE})]))
    body = ask()
    text, call = (streamed(sdk, body) if streams else sdk.messages.create(**body)).content
    assert isinstance(text, TextBlock)
    assert text.text == STRANGE
    assert isinstance(call, ToolUseBlock)
    assert json.dumps(call.input) == json.dumps({"-": -0.0, "text": STRANGE})


def test_a_tool_is_called_answered_and_told_about(sdk: anthropic.Anthropic) -> None:
    body = ask("What is the weather in Oslo tomorrow?", tools=[TOOL])
    message = streamed(sdk, body)
    call = message.content[-1]
    assert isinstance(call, ToolUseBlock)
    assert (message.stop_reason, call.name, call.input) == ("tool_use", "get_weather", {"city": "Oslo"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Rain, 6 degrees."}
    body["messages"] += [
        {"role": "assistant", "content": message.to_dict()["content"]},
        {"role": "user", "content": [result]},
    ]
    told = streamed(sdk, body).content[0]
    assert isinstance(told, TextBlock)
    assert told.text == 'The tool get_weather returned: "Rain, 6 degrees.".'


def test_a_failed_tool_is_told_as_failed(raw: Raw) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
    failed = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "No such city", "is_error": True}
    told = raw.send(
        ask(
            "Hi",
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [failed]},
            tools=[TOOL],
        )
    )
    assert told.body["content"][0]["text"] == 'The tool get_weather reported an error: "No such city".'


def test_a_scripted_reply_comes_once_and_as_written(model: DemoModel, sdk: anthropic.Anthropic) -> None:
    model.replies.add(
        Reply("Half", "max_tokens", usage={"output_tokens": 77}),
        Reply([{"type": "server_tool_use", "name": "web_search", "input": {"query": "x"}}], "pause_turn"),
    )
    first, second, third = (sdk.messages.create(**ask()) for _ in range(3))
    assert (first.stop_reason, first.usage.output_tokens, first.content[0].to_dict()["text"]) == (
        "max_tokens", 77, "Half",
    )  # fmt: skip
    assert (second.stop_reason, second.content[0].type) == ("pause_turn", "server_tool_use")
    assert third.stop_reason == "end_turn"
    assert len({first.id, second.id, third.id}) == 3


def test_a_reply_that_is_too_long_ends_on_max_tokens(sdk: anthropic.Anthropic) -> None:
    message = streamed(sdk, ask("Hi", max_tokens=5))
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 5)
    assert len(only_text(message)) == 20


def test_a_reply_stops_at_a_stop_sequence(sdk: anthropic.Anthropic) -> None:
    message = streamed(sdk, ask("Hi", stop_sequences=["Claude", "demo"]))
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "demo")
    assert only_text(message).endswith("I am the ")


def test_count_tokens_is_what_the_message_then_costs(sdk: anthropic.Anthropic) -> None:
    body = ask("How many?", system="Count.", tools=[TOOL])
    used = sdk.messages.create(**body).usage.input_tokens
    del body["max_tokens"]
    assert sdk.messages.count_tokens(**body).input_tokens == used > 0


def test_the_beta_client_is_served_too(model: DemoModel, sdk: anthropic.Anthropic) -> None:
    body = ask(context_management={"edits": []}, betas=["context-management-2025-06-27"])
    assert sdk.beta.messages.create(**body).stop_reason == "end_turn"
    assert model.requests[0].headers["anthropic-beta"] == "context-management-2025-06-27"


def test_the_query_that_older_clients_send_for_betas_is_no_other_endpoint(raw: Raw) -> None:
    assert raw.send(ask(), path="/v1/messages?beta=true").status == 200


def _call(arguments: Json) -> Json:
    return {"type": "tool_use", "name": "get_weather", "input": arguments}
