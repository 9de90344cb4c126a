"""The order of messages: who begins, who ends, and that each tool_use has its one tool_result right after it."""

from __future__ import annotations

from typing import Any

from ..refusal import Refusal
from ..request import Request

Json = dict[str, Any]


def check(request: Request, *, text_beside_results: bool) -> None:
    messages = request.body["messages"]
    if not any(message["role"] != "system" for message in messages):
        raise Refusal("messages: at least one user message is required")
    _check_first(messages[0])
    _check_tools_are_given(request.body, messages)
    _check_ids(messages)
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            _check_answered(messages, index)
        elif message["role"] == "user":
            _check_results(messages, index, text_beside_results)
    _check_last([message for message in messages if message["role"] != "system"][-1])


def blocks(message: Json, kind: str) -> list[Json]:
    content = message.get("content")
    return [block for block in content if block["type"] == kind] if isinstance(content, list) else []


def _check_first(first: Json) -> None:
    # A compaction block stands for the messages before it, so it may begin the conversation as the assistant's.
    begins_compacted = first["role"] == "assistant" and bool(blocks(first, "compaction"))
    if first["role"] != "user" and not begins_compacted:
        raise Refusal('messages: first message must use the "user" role')


def _check_last(last: Json) -> None:
    """Current models take no prefill: the conversation ends with the user.

    One assistant message may end it: what `pause_turn` left, a turn stopped in the middle of a server's tool,
    which is sent again unchanged to go on. It shows as a final server_tool_use or mcp_tool_use block.
    """
    if last["role"] != "assistant":
        return
    content = last["content"]
    final = {"type": "text", "text": content} if isinstance(content, str) else content[-1]
    if final["type"] in ("server_tool_use", "mcp_tool_use"):
        return
    if final["type"] == "text" and final["text"] != final["text"].rstrip():
        raise Refusal("messages: final assistant content cannot end with trailing whitespace")
    raise Refusal(
        "This model does not support assistant message prefill. The conversation must end with a user message."
    )


def _check_tools_are_given(body: Json, messages: list[Json]) -> None:
    if "tools" in body:
        return
    if any(blocks(message, kind) for message in messages for kind in ("tool_use", "tool_result")):
        raise Refusal("Requests which include `tool_use` or `tool_result` blocks must define tools")


def _check_ids(messages: list[Json]) -> None:
    seen: set[str] = set()
    for index, message in enumerate(messages):
        for block in blocks(message, "tool_use"):
            if block["id"] in seen:
                raise Refusal(f"messages.{index}: `tool_use` ids must be unique")
            seen.add(block["id"])


def _check_answered(messages: list[Json], index: int) -> None:
    asked = [block["id"] for block in blocks(messages[index], "tool_use")]
    if not asked:
        return
    after = messages[index + 1] if index + 1 < len(messages) else {"role": "nobody"}
    given = (
        {block["tool_use_id"] for block in blocks(after, "tool_result")} if after["role"] == "user" else set()
    )
    missing = [id for id in asked if id not in given]
    if missing:
        raise Refusal(
            f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the "
            "next message."
        )


def _check_results(messages: list[Json], index: int, text_beside_results: bool) -> None:
    results = blocks(messages[index], "tool_result")
    if not results:
        return
    before = messages[index - 1] if index else {"role": "nobody"}
    asked = {block["id"] for block in blocks(before, "tool_use")} if before["role"] == "assistant" else set()
    seen: set[str] = set()
    for spot, block in enumerate(messages[index]["content"]):
        where = f"messages.{index}.content.{spot}"
        if block["type"] != "tool_result":
            if text_beside_results and seen == asked:
                continue
            raise Refusal(
                f"{where}: a message that answers `tool_use` blocks must hold nothing but `tool_result` blocks, "
                f"found `{block['type']}`"
            )
        id = block["tool_use_id"]
        if id not in asked:
            raise Refusal(
                f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` "
                "block must have a corresponding `tool_use` block in the previous message."
            )
        if id in seen:
            raise Refusal(
                f"{where}: each tool_use must have a single result. Found multiple `tool_result` blocks with "
                f"id: {id}"
            )
        seen.add(id)
