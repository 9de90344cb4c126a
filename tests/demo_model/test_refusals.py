"""Each rule of the API that a request can break, and its answer."""

import base64
import json
from typing import Any

import pytest

from dev.demo_model import DemoModel, Fault, Reply
from tests.demo_model.raw import TOOL, Raw, ask, assistant, called, text, tool_result, tool_use, user
from tests.images import png

Json = dict[str, Any]

PNG = base64.b64encode(png()).decode()
MARK = {"type": "ephemeral"}
LONG_MARK = {"type": "ephemeral", "ttl": "1h"}
MCP = "mcp-client-2025-11-20"
SERVER = {"type": "url", "name": "files", "url": "https://mcp.example.com"}


def image(data: str = PNG, media_type: str = "image/png") -> Json:
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def tool(**fields: Any) -> Json:
    return {**TOOL, **fields}


def system(*marks: Json | None) -> list[Json]:
    return [text("Rule.", cache_control=mark) if mark else text("Rule.") for mark in marks]


# A name, the request, a part of the message; all are 400 invalid_request_error.
REFUSED: list[tuple[str, Json, str]] = [
    ("no model", ask(model=None), "model: Field required"),
    ("no max_tokens", ask(max_tokens=None), "max_tokens: Field required"),
    ("no messages", ask() | {"messages": []}, "messages: at least one message"),
    ("messages missing", {"model": "claude-x", "max_tokens": 1}, "messages: Field required"),
    ("max_tokens zero", ask(max_tokens=0), "max_tokens: Input should be greater than or equal to 1"),
    ("max_tokens text", ask(max_tokens="5"), "max_tokens: Input should be a valid integer"),
    ("max_tokens true", ask(max_tokens=True), "max_tokens: Input should be a valid integer"),
    ("max_tokens float", ask(max_tokens=1.5), "max_tokens: Input should be a valid integer"),
    ("stream text", ask(stream="yes"), "stream: Input should be a valid boolean"),
    ("unknown field", ask(colour="red"), "colour: Extra inputs are not permitted"),
    ("null field", ask() | {"system": None}, "system: Input should not be null"),
    ("beta field", ask(context_management={"edits": []}), "context_management: Extra inputs"),
    ("mcp without beta", ask(mcp_servers=[SERVER]), "mcp_servers: Extra inputs"),
    ("temperature high", ask(temperature=1.1), "temperature: Input should be less than or equal to 1"),
    ("temperature low", ask(temperature=-0.1), "temperature: Input should be greater than or equal to 0"),
    ("blank stop", ask(stop_sequences=[" "]), "stop_sequences: each stop sequence must contain"),
    # Messages
    ("assistant first", ask(assistant(text("Hi")), user(text("Hi"))), "first message must use the"),
    (
        "role",
        ask({"role": "robot", "content": "Hi"}),
        "messages.0.role: Input should be 'user' or 'assistant'",
    ),
    (
        "system role",
        ask("Hi", {"role": "system", "content": "Be brief."}),
        "messages.1.role: Input should be",
    ),
    ("message field", ask({"role": "user", "content": "Hi", "id": "1"}), "messages.0.id: Extra inputs"),
    ("no content", ask({"role": "user"}), "messages.0.content: Field required"),
    ("empty string", ask(""), "messages.0: user messages must have non-empty content"),
    ("empty list", ask(user()), "messages.0: user messages must have non-empty content"),
    ("empty text", ask(user(text(""))), "text content blocks must be non-empty"),
    ("blank text", ask("Hi", "Hello", " \n"), "text content blocks must contain non-whitespace text"),
    ("empty system block", ask(system=[text("")]), "system: text content blocks must be non-empty"),
    ("block field", ask(user(text("Hi", parsed=1))), "messages.0.content.0.text.parsed: Extra inputs"),
    ("block type", ask(user({"type": "poem"})), "messages.0.content.0: Input tag 'poem' found using 'type'"),
    ("no block type", ask(user({"text": "Hi"})), "messages.0.content.0.type: Field required"),
    ("beta block", ask(user({"type": "compaction"})), "Input tag 'compaction'"),
    ("null caller", called(user(tool_result()), before=assistant(tool_use(caller=None))), "caller: Input"),
    ("user calls", ask(user(tool_use()), tools=[TOOL]), "`tool_use` blocks can only be in `assistant`"),
    ("prefill", ask("Hi", "The answer is"), "does not support assistant message prefill"),
    (
        "trailing space",
        ask("Hi", "The answer is "),
        "final assistant content cannot end with trailing whitespace",
    ),
    # Tool calls and their results
    ("not answered", called(user(text("Hi"))), "messages.1: `tool_use` ids were found without `tool_result`"),
    (
        "half answered",
        called(user(tool_result()), before=assistant(tool_use(), tool_use("toolu_2"))),
        "immediately after: toolu_2.",
    ),
    (
        "answered in two messages",
        called(
            user(tool_result()),
            user(tool_result("toolu_2")),
            before=assistant(tool_use(), tool_use("toolu_2")),
        ),
        "immediately after: toolu_2.",
    ),
    ("answered late", called(user(text("Wait")), user(tool_result())), "ids were found without"),
    (
        "text after",
        called(user(tool_result(), text("Well?"))),
        "messages.2.content.1: a message that answers",
    ),
    (
        "text before",
        called(user(text("Here:"), tool_result())),
        "messages.2.content.0: a message that answers",
    ),
    (
        "orphan result",
        ask("Hi", "Hello", user(tool_result()), tools=[TOOL]),
        "messages.2.content.0: unexpected `tool_use_id`",
    ),
    ("first orphan", ask(user(tool_result()), tools=[TOOL]), "messages.0.content.0: unexpected"),
    (
        "doubled result",
        called(user(tool_result(), tool_result())),
        "messages.2.content.1: each tool_use must have a single",
    ),
    (
        "doubled id",
        called(user(tool_result()), assistant(tool_use()), user(tool_result())),
        "messages.3: `tool_use` ids must be unique",
    ),
    (
        "id",
        called(user(tool_result()), before=assistant(tool_use("a b"))),
        "tool_use.id: String should match",
    ),
    ("name", called(user(tool_result()), before=assistant(tool_use(name="a b"))), "tool_use.name: String"),
    ("input", called(user(tool_result()), before=assistant(tool_use(input="x"))), "tool_use.input: Input"),
    (
        "result content",
        called(user(tool_result(content=5))),
        "tool_result.content: Input should be a valid list",
    ),
    (
        "result block",
        called(user(tool_result(content=[tool_use()]))),
        "tool_result.content.0: Input tag 'tool_use'",
    ),
    (
        "result empty text",
        called(user(tool_result(content=[text("")]))),
        "text content blocks must be non-empty",
    ),
    ("is_error", called(user(tool_result(is_error="no"))), "is_error: Input should be a valid boolean"),
    # Tools
    ("tool name", ask(tools=[tool(name="a.b")]), "tools.0.custom.name: String should match pattern"),
    ("long tool name", ask(tools=[tool(name="a" * 129)]), "tools.0.custom.name: String should match pattern"),
    ("tool names", ask(tools=[TOOL, TOOL]), "tools: Tool names must be unique."),
    ("no schema", ask(tools=[{"name": "a"}]), "tools.0.custom.input_schema: Field required"),
    ("schema type", ask(tools=[tool(input_schema={})]), "tools.0.custom.input_schema.type: Field required"),
    ("schema array", ask(tools=[tool(input_schema={"type": "array"})]), "Input should be 'object'"),
    ("tool field", ask(tools=[tool(returns="x")]), "tools.0.custom.returns: Extra inputs are not permitted"),
    ("tool type", ask(tools=[{"type": "web_search_1", "name": "a"}]), "tools.0: Input tag 'web_search_1'"),
    (
        "choice",
        ask(tools=[TOOL], tool_choice={"type": "tool", "name": "b"}),
        "Tool 'b' not found in provided",
    ),
    ("choice type", ask(tools=[TOOL], tool_choice={"type": "some"}), "tool_choice: Input tag 'some'"),
    ("choice alone", ask(tool_choice={"type": "auto"}), "tool_choice may only be specified while providing"),
    # Thinking
    (
        "small budget",
        ask(thinking={"type": "enabled", "budget_tokens": 1023}),
        "greater than or equal to 1024",
    ),
    (
        "large budget",
        ask(max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 2000}),
        "`max_tokens` must be greater than `thinking.budget_tokens`",
    ),
    ("no budget", ask(thinking={"type": "enabled"}), "thinking.enabled.budget_tokens: Field required"),
    ("adaptive budget", ask(thinking={"type": "adaptive", "budget_tokens": 1}), "Extra inputs"),
    ("thinking type", ask(thinking={"type": "deep"}), "thinking: Input tag 'deep'"),
    (
        "thinking and a forced tool",
        ask(tools=[TOOL], tool_choice={"type": "any"}, thinking={"type": "adaptive"}),
        "Thinking may not be enabled when tool_choice forces",
    ),
    (
        "foreign thinking",
        ask("Hi", assistant({"type": "thinking", "thinking": "Hm", "signature": "x"}, text("Hi")), "Go"),
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    ),
    (
        "foreign redacted thinking",
        ask("Hi", assistant({"type": "redacted_thinking", "data": "x"}, text("Hi")), "Go"),
        "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
    ),
    # Cache breakpoints
    (
        "five marks",
        ask(user(text("Hi", cache_control=MARK)), system=system(MARK, MARK, MARK, MARK)),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    ("automatic is the fifth", ask(cache_control=MARK, system=system(MARK, MARK, MARK, MARK)), "Found 5."),
    ("1h after 5m", ask(system=system(MARK, LONG_MARK)), "system.1.cache_control.ttl: a ttl='1h'"),
    (
        "1h in messages after 5m in tools",
        ask(user(text("Hi", cache_control=LONG_MARK)), tools=[tool(cache_control=MARK)]),
        "messages.0.content.0.cache_control.ttl: a ttl='1h'",
    ),
    ("automatic 1h after 5m", ask(cache_control=LONG_MARK, system=system(MARK)), "must not come after"),
    (
        "automatic over another",
        ask(user(text("Hi", cache_control=LONG_MARK)), cache_control=MARK),
        "Top-level cache_control has ttl='5m'",
    ),
    ("mark on empty text", ask(user(text("", cache_control=MARK))), "cannot be set for empty text blocks"),
    (
        "mark on thinking",
        ask(
            "Hi",
            assistant({"type": "thinking", "thinking": "H", "signature": "s", "cache_control": MARK}),
            "Go",
        ),
        "thinking.cache_control: Extra inputs are not permitted",
    ),
    ("mark type", ask(user(text("Hi", cache_control={"type": "forever"}))), "Input should be 'ephemeral'"),
    ("mark ttl", ask(user(text("Hi", cache_control=MARK | {"ttl": "2h"}))), "Input should be '5m' or '1h'"),
    # Images and documents
    ("media type", ask(user(image(media_type="image/bmp"))), "media_type: Input should be 'image/jpeg'"),
    ("not base64", ask(user(image("%%%"))), "image.source.base64.data: invalid base64 data"),
    ("not an image", ask(user(image(base64.b64encode(b"words").decode()))), "Could not process image"),
    ("other image", ask(user(image(media_type="image/gif"))), "appears to be a image/png image"),
    ("assistant's image", ask("Hi", assistant(image()), "Go"), "`image` blocks can only be in `user`"),
    ("image source", ask(user({"type": "image", "source": {"type": "disk"}})), "source: Input tag 'disk'"),
]


@pytest.mark.parametrize(
    ("body", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_request_that_breaks_a_rule_is_refused_in_the_words_of_the_api(
    strict: Raw, body: Json, message: str
) -> None:
    answer = strict.send(body)
    assert answer.status == 400, answer.body
    assert answer.body["type"] == "error"
    assert answer.error["type"] == "invalid_request_error"
    assert message in answer.error["message"]
    assert answer.body["request_id"] == answer.headers["request-id"]


ACCEPTED: list[tuple[str, Json, Json]] = [
    ("plain", ask(), {}),
    ("same role twice", ask(user(text("Hi")), user(text("There"))), {}),
    ("tool no longer offered", called(user(tool_result())) | {"tools": [tool(name="other")]}, {}),
    ("tools given as none", called(user(tool_result())) | {"tools": []}, {}),
    ("a text in the next user message", called(user(tool_result()), user(text("And?"))), {}),
    ("results in any order", called(
        user(tool_result("toolu_2"), tool_result()), before=assistant(tool_use(), tool_use("toolu_2"))
    ), {}),
    ("an empty result", called(user({"type": "tool_result", "tool_use_id": "toolu_1"})), {}),
    ("an image as result", called(user(tool_result(content=[image(), text(" ")]))), {}),
    ("what pause_turn left", ask("Find", assistant(
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    )), {}),
    ("four marks", ask(system=system(LONG_MARK, LONG_MARK, MARK), cache_control=MARK), {}),
    ("null mark", ask(user(text("Hi", cache_control=None))), {}),
    ("system role with its beta", ask("Hi", {"role": "system", "content": "Brief."}),
     {"anthropic_beta": "mid-conversation-tool-changes-2026-07-01"}),
    ("context management", ask(context_management={"edits": []}),
     {"anthropic_beta": "context-management-2025-06-27"}),
    ("compaction", ask(context_management={"edits": []}), {"anthropic_beta": "other,compact-2026-01-12"}),
    ("mcp", ask(mcp_servers=[SERVER], tools=[{"type": "mcp_toolset", "mcp_server_name": "files"}]),
     {"anthropic_beta": MCP}),
    ("bearer", ask(), {"without": "x-api-key", "authorization": "Bearer token"}),
    ("temperature", ask(temperature=1), {}),
    ("budget", ask(max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1024}), {}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "how"), [case[1:] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED])
def test_a_request_that_keeps_the_rules_is_answered(strict: Raw, body: Json, how: dict[str, str]) -> None:
    answer = strict.send(body, **how)
    assert answer.status == 200, answer.body
    counted = {name: value for name, value in body.items() if name != "max_tokens"}
    assert strict.send(counted, path="/v1/messages/count_tokens", **how).body["input_tokens"] > 0


@pytest.mark.parametrize(
    ("servers", "tools", "message"),
    [
        ([SERVER], [], "must be referenced by exactly one mcp_toolset"),
        ([], [{"type": "mcp_toolset", "mcp_server_name": "files"}], "is not in mcp_servers"),
        ([{**SERVER, "url": "http://x"}], [], "must start with https://"),
    ],
)
def test_mcp_servers_and_toolsets_come_in_pairs(
    strict: Raw, servers: list[Json], tools: list[Json], message: str
) -> None:
    answer = strict.send(ask(mcp_servers=servers, tools=tools), anthropic_beta=MCP)
    assert (answer.status, message in answer.error["message"]) == (400, True)


def test_tool_blocks_without_any_tools_given_are_refused(strict: Raw) -> None:
    body = called(user(tool_result()))
    del body["tools"]
    answer = strict.send(body)
    assert (answer.status, "must define tools" in answer.error["message"]) == (400, True)


def test_no_key_is_a_401_and_no_version_a_400(strict: Raw) -> None:
    keyless = strict.send(ask(), without="x-api-key")
    assert (keyless.status, keyless.error["type"]) == (401, "authentication_error")
    versionless = strict.send(ask(), without="anthropic-version")
    assert (versionless.status, versionless.error["message"]) == (
        400,
        "anthropic-version: header is required",
    )


def test_an_unknown_model_is_a_404(strict: Raw) -> None:
    answer = strict.send(ask(model="gpt-x"))
    assert (answer.status, answer.error) == (404, {"type": "not_found_error", "message": "model: gpt-x"})


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/messages"), ("POST", "/v1/complete"), ("GET", "/")]
)
def test_any_other_endpoint_is_a_404_that_names_the_ones_there_are(
    strict: Raw, method: str, path: str
) -> None:
    answer = strict.send(ask(), path=path, method=method)
    assert (answer.status, answer.error["type"]) == (404, "not_found_error")
    assert "POST /v1/messages" in answer.error["message"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"model": NaN}',
        b'{"model": "\xff"}',
        b"[" * 100_000,
        json.dumps(ask("\ud83d")).encode(),
        json.dumps(ask("\udc00 alone")).encode(),
    ],
    ids=["nothing", "half", "a list", "NaN", "bad UTF-8", "too deep", "high surrogate", "low surrogate"],
)
def test_a_body_that_is_no_json_is_refused(strict: Raw, data: bytes) -> None:
    answer = strict.send(data)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert answer.error["message"].startswith("The request body is not valid JSON")


def test_a_body_above_32_mb_is_a_413(strict: Raw) -> None:
    answer = strict.send(b" " * (32 * 1024 * 1024 + 1))
    assert (answer.status, answer.error["type"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("data", "count", "said"),
    [
        (png(extra=bytes(8 * 1024 * 1024)), 1, "image exceeds 10 MB maximum"),
        (png(8_001, 1), 1, "exceed max allowed size: 8000 pixels"),
        (png(2_001, 1), 21, "max allowed size for many-image requests: 2000 pixels"),
        (png(), 101, "Too many images"),
        (png()[:-20], 1, "Could not process image"),
    ],
)
def test_images_above_the_limits_are_refused(strict: Raw, data: bytes, count: int, said: str) -> None:
    images = [image(base64.b64encode(data).decode())] * count
    answer = strict.send(ask(user(*images)))
    assert (answer.status, said in answer.error["message"]) == (400, True)


@pytest.mark.parametrize(("data", "count"), [(png(8_000, 1), 20), (png(2_000, 1), 21), (png(), 100)])
def test_images_at_the_limits_are_taken(strict: Raw, data: bytes, count: int) -> None:
    assert strict.send(ask(user(*[image(base64.b64encode(data).decode())] * count))).status == 200


def test_an_image_counts_by_its_sides_and_not_by_its_bytes(strict: Raw) -> None:
    def counted(data: bytes) -> int:
        body = ask(user(image(base64.b64encode(data).decode())), max_tokens=None)
        return int(strict.send(body, path="/v1/messages/count_tokens").body["input_tokens"])

    assert counted(png(1_000, 750)) == counted(png(1_000, 750, extra=bytes(50_000))) == 1_000
    assert counted(png(8_000, 8_000)) == 1_600
    assert counted(png()) == 1


def test_count_tokens_takes_no_max_tokens(strict: Raw) -> None:
    answer = strict.send(ask(), path="/v1/messages/count_tokens")
    assert (answer.status, answer.error["message"]) == (400, "max_tokens: Extra inputs are not permitted")


def test_a_refused_request_is_recorded_and_takes_no_fault_and_no_reply(model: DemoModel, raw: Raw) -> None:
    model.faults.add(Fault.status(529))
    model.replies.add(Reply("Scripted."))
    assert raw.send(ask(max_tokens=0)).status == 400
    assert (len(model.faults), len(model.replies)) == (1, 1)
    assert model.requests[0].refusal == "max_tokens: Input should be greater than or equal to 1"


def test_text_after_results_is_taken_where_the_server_is_told_to() -> None:
    with DemoModel(text_beside_results=True) as lenient, Raw(lenient.url) as raw:
        assert raw.send(called(user(tool_result(), text("Well?")))).status == 200
        assert raw.send(called(user(text("Here:"), tool_result()))).status == 400
