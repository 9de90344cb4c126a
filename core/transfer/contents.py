"""Contents: what stands in the messages of a file, held to what is taken from clients and to what the model's API takes.

A file comes from anybody. What it says the user said must be what a user could have sent; what it says the model said is taken as it
is, if the API knows such blocks.
"""

import json
import re
from typing import Any, Final

from core.acceptance import accept
from core.content import Block, Blocks, says_something
from core.errors import LatchkeyError
from core.transfer.lines import NotALine

_SAID_BY_MODELS: Final[dict[str, dict[str, type]]] = {
    "text": {"text": str},
    "thinking": {"thinking": str, "signature": str},
    "redacted_thinking": {"data": str},
    "tool_use": {"id": str, "name": str, "input": dict},
    "server_tool_use": {"id": str, "name": str, "input": dict},
    "mcp_tool_use": {"id": str, "name": str, "server_name": str, "input": dict},
    "mcp_tool_result": {"tool_use_id": str},
    "mcp_tool_listing": {},
    "web_search_tool_result": {"tool_use_id": str},
    "web_fetch_tool_result": {"tool_use_id": str},
    "code_execution_tool_result": {"tool_use_id": str},
    "bash_code_execution_tool_result": {"tool_use_id": str},
    "text_editor_code_execution_tool_result": {"tool_use_id": str},
    "compaction": {},
}
# Of the commonest, all that there may be.
_MOST_OF: Final = {
    "text": {"type", "text", "citations"},
    "thinking": {"type", "thinking", "signature"},
    "redacted_thinking": {"type", "data"},
    "tool_use": {"type", "id", "name", "input", "caller"},
}
_RESULT: Final = {"type", "tool_use_id", "content", "is_error"}
# As the API knows them.
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_TOOL: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


def blocks(content: str | None, role: str, max_bytes: int) -> Blocks:
    """The blocks of a message's text, or a NotALine."""
    try:
        found = json.loads(content or "")
    except (ValueError, RecursionError):
        raise NotALine("content is not JSON") from None
    if not isinstance(found, list) or not found or not all(isinstance(block, dict) for block in found):
        raise NotALine("content must be a list of blocks")
    for block in found:
        if role == "user":
            _check_users(block, max_bytes)
        else:
            _check_models(block)
    return found


def summary(content: str | None) -> None:
    """What stands for the beginning is text, which a model wrote."""
    found = blocks(content, "assistant", len(content or ""))
    if not all(block["type"] == "text" and says_something(block) for block in found):
        raise NotALine("content must be texts that say something")


def _check_models(block: Block) -> None:
    needed = _SAID_BY_MODELS.get(str(block.get("type")))
    if needed is None or not all(isinstance(block.get(name), kind) for name, kind in needed.items()):
        raise NotALine(f"content holds no block that a model says: {str(block.get('type'))[:50]!r}")
    kind = str(block["type"])
    if not block.keys() <= _MOST_OF.get(kind, block.keys()):
        raise NotALine(f"content holds more in a block than a model says: {kind!r}")
    if not all(_ID.fullmatch(block[name]) for name in ("id", "tool_use_id") if name in needed):
        raise NotALine("content holds an ID that no call has")
    if kind == "tool_use" and not _TOOL.fullmatch(block["name"]):
        raise NotALine("content holds a call of what cannot be the name of a tool")
    if "cache_control" in block:
        raise NotALine("content marks what is to be cached, which is not for a conversation to say")


def _check_users(block: Block, max_bytes: int) -> None:
    if block.get("type") == "tool_result":
        _check_result(block, max_bytes)
    elif block.get("type") == "text":
        if block.keys() != {"type", "text"} or not isinstance(block["text"], str) or "\0" in block["text"]:
            raise NotALine("content holds a text that no client could have sent")
        if not says_something(block):
            raise NotALine("content holds a text that says nothing")
        if len(block["text"]) > max_bytes:
            raise NotALine(f"content holds a text of more than {max_bytes} bytes")
    else:
        _accept(block, max_bytes)


def _check_result(block: Block, max_bytes: int) -> None:
    content = block.get("content", "")
    if (
        not block.keys() <= _RESULT
        or not isinstance(block.get("tool_use_id"), str)
        or not isinstance(block.get("is_error", False), bool)
    ):
        raise NotALine("content holds a tool_result that no tool could have given")
    if isinstance(content, str):
        return
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise NotALine("content holds a tool_result that no tool could have given")
    for part in content:
        if (
            part.get("type") == "text"
            and isinstance(part.get("text"), str)
            and part.keys() == {"type", "text"}
            and says_something(part)
        ):
            continue
        _accept(part, max_bytes)


def _accept(block: Any, max_bytes: int) -> None:
    try:
        accept([block], max_bytes, max_images=1)
    except LatchkeyError as error:
        raise NotALine(f"content holds a block that is not taken: {error.detail}") from None
