"""Each message and block by itself: roles, shapes, texts that say nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..fields import BETA_BLOCKS, BETA_SYSTEM_MESSAGE, BLOCKS, MESSAGE, RESULT_CONTENT, Shape
from ..refusal import Refusal
from ..request import Request
from . import media, shape
from .toolbox import TOOL_NAME

Json = dict[str, Any]

_ID = re.compile(r"[a-zA-Z0-9_-]+")
_USER_ONLY = frozenset({"tool_result", "image", "document", "search_result", "container_upload"})
_SYSTEM_ONLY = frozenset({"tool_addition", "tool_removal"})
_BOTH = frozenset({"text", "compaction"})
_IN_RESULT = {name: BLOCKS[name] for name in ("text", "image", "document", "search_result")} | RESULT_CONTENT


def check(request: Request) -> None:
    body = request.body
    _check_system_prompt(body.get("system", ""))
    messages = shape.array(body["messages"], "messages")
    if not messages:
        raise Refusal("messages: at least one message is required")
    known = {**BLOCKS, **BETA_BLOCKS} if request.betas else BLOCKS
    for index, message in enumerate(messages):
        _check_message(shape.obj(message, f"messages.{index}"), f"messages.{index}", request, known)
    media.check_together(list(_images(messages)))


def _images(messages: list[Json]) -> Iterator[tuple[str, Json]]:
    for index, message in enumerate(messages):
        content = message.get("content")
        for spot, block in enumerate(content if isinstance(content, list) else []):
            if block["type"] == "image":
                yield f"messages.{index}.content.{spot}", block


def _check_system_prompt(system: object) -> None:
    if isinstance(system, str):
        return  # an empty prompt is no prompt
    for index, block in enumerate(shape.array(system, "system")):
        where = f"system.{index}"
        if shape.obj(block, where).get("type") != "text":
            raise Refusal(f"{where}.type: Input should be 'text'")
        shape.fields(block, BLOCKS["text"], where)
        _check_text(block, where, "system")


def _check_message(message: dict[str, Any], where: str, request: Request, known: dict[str, Shape]) -> None:
    role = message.get("role")
    # Any name of the family will do, as its dates and features change: mid-conversation-system-…, -tool-changes-…
    if role == "system" and request.has_beta("mid-conversation"):
        shape.fields(message, BETA_SYSTEM_MESSAGE, where)
    else:
        shape.fields(message, MESSAGE, where)
        if role not in ("user", "assistant"):
            raise Refusal(f"{where}.role: Input should be 'user' or 'assistant'")
    content = message.get("content", [])
    if isinstance(content, str):
        content = [{"type": "text", "text": content}] if content else []
    if not shape.array(content, f"{where}.content") and not (
        role == "system" and message.get("output_config")
    ):
        raise Refusal(f"{where}: {role} messages must have non-empty content")
    for index, block in enumerate(content):
        spot = f"{where}.content.{index}"
        kind = shape.tagged(shape.obj(block, spot), known, spot)
        _check_role(kind, str(role), spot)
        _check_block(kind, block, f"{spot}.{kind}")


def _check_role(kind: str, role: str, where: str) -> None:
    if kind in _BOTH:
        return
    home = "user" if kind in _USER_ONLY else "system" if kind in _SYSTEM_ONLY else "assistant"
    if role != home:
        raise Refusal(f"{where}: `{kind}` blocks can only be in `{home}` messages")


def _check_block(kind: str, block: dict[str, Any], where: str) -> None:
    match kind:
        case "text":
            _check_text(block, where, "messages")
        case "thinking":
            shape.string(block["thinking"], f"{where}.thinking")
            shape.string(block["signature"], f"{where}.signature")
        case "redacted_thinking":
            shape.string(block["data"], f"{where}.data")
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            shape.matching(block["id"], _ID, f"{where}.id")
            shape.matching(block["name"], TOOL_NAME, f"{where}.name")
            shape.obj(block["input"], f"{where}.input")
        case "tool_result":
            _check_result(block, where)
        case "image":
            media.check_image(block, where)
        case "document":
            media.check_document(block, where)


def _check_text(block: dict[str, Any], where: str, part: str, *, blank_is_fine: bool = False) -> None:
    text = shape.string(block["text"], f"{where}.text")
    if not text and block.get("cache_control") is not None:
        raise Refusal(f"{where}: cache_control cannot be set for empty text blocks")
    if not text:
        raise Refusal(f"{part}: text content blocks must be non-empty")
    if not blank_is_fine and not text.strip():
        raise Refusal(f"{part}: text content blocks must contain non-whitespace text")


def _check_result(block: dict[str, Any], where: str) -> None:
    shape.matching(block["tool_use_id"], _ID, f"{where}.tool_use_id")
    if "is_error" in block:
        shape.boolean(block["is_error"], f"{where}.is_error")
    content = block.get("content", "")
    if isinstance(content, str):
        return  # a tool may well return nothing
    for index, part in enumerate(shape.array(content, f"{where}.content")):
        spot = f"{where}.content.{index}"
        kind = shape.tagged(shape.obj(part, spot), _IN_RESULT, spot)
        if kind == "text":
            # What a tool prints may be blank lines; only nothing at all is refused.
            _check_text(part, f"{spot}.{kind}", "messages", blank_is_fine=True)
        else:
            _check_block(kind, part, f"{spot}.{kind}")
