"""One accepted request and the message that answers it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import persona, thinking
from .memory import Memory
from .prefix import Json, Link, canonical, count_tokens, root, step
from .prompt_cache import CacheUse
from .request import Request
from .script import Reply


@dataclass(frozen=True, slots=True)
class _Draft:
    content: list[Json]
    stop_reason: str
    stop_sequence: str | None = None


def answer(request: Request, links: Sequence[Link], cache: CacheUse, reply: Reply | None) -> Json:
    draft = _scripted(reply) if reply else _by_rule(request)
    end = links[-1].digest if links else root(request.model)
    content = _seal(draft.content, end)
    usage = {**cache.usage(), **_output_usage(content), "service_tier": "standard"}
    said = "".join(map(canonical, content))
    return {
        "id": "msg_" + _digest_id(end, said, draft.stop_reason),
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": content,
        "stop_reason": draft.stop_reason,
        "stop_sequence": draft.stop_sequence,
        "usage": {**usage, **(reply.usage or {})} if reply else usage,
    }


def _scripted(reply: Reply) -> _Draft:
    content = reply.blocks()
    calls = any(block["type"] == "tool_use" for block in content)
    return _Draft(content, reply.stop_reason or ("tool_use" if calls else "end_turn"), reply.stop_sequence)


def _by_rule(request: Request) -> _Draft:
    speech = persona.speak(request.body)
    content = speech.content
    if thinking.is_on(request.body, after_results=bool(Memory.of(request.body).results)):
        hidden = request.body["thinking"].get("display") == "omitted"
        content = [{"type": "thinking", "thinking": "" if hidden else speech.thought}, *content]
    calls = any(block["type"] == "tool_use" for block in content)
    draft = _Draft(content, "tool_use" if calls else "end_turn")
    draft = _stopped(draft, request.body.get("stop_sequences", []))
    return _cut_short(draft, request.body["max_tokens"])


def _stopped(draft: _Draft, sequences: Sequence[str]) -> _Draft:
    """The reply up to the first stop sequence, as the real model would not have written on."""
    for index, block in enumerate(draft.content):
        if block["type"] != "text":
            continue
        found = [
            (block["text"].find(sequence), sequence) for sequence in sequences if sequence in block["text"]
        ]
        if found:
            at, sequence = min(found)
            kept = [{**block, "text": block["text"][:at]}] if at else []
            return _Draft(draft.content[:index] + kept, "stop_sequence", sequence)
    return draft


def _cut_short(draft: _Draft, max_tokens: int) -> _Draft:
    kept: list[Json] = []
    left = max_tokens
    for block in draft.content:
        size = _tokens(block)
        if size > left:
            return _Draft([*kept, *_beginning(block, left)], "max_tokens")
        kept.append(block)
        left -= size
    return draft


def _beginning(block: Json, tokens: int) -> list[Json]:
    """What fits of a block; a tool_use is left out, as half its arguments would be no JSON."""
    name = block["type"]
    if not tokens or name not in ("text", "thinking"):
        return []
    return [{**block, name: block[name][: tokens * 4]}]


def _seal(content: Sequence[Json], end: bytes) -> list[Json]:
    """Ids and signatures, each from the chain of blocks before it, exactly as it will come back in the history."""
    sealed = []
    for index, draft in enumerate(content):
        block = thinking.signed(draft, end)
        if block["type"] in ("tool_use", "server_tool_use", "mcp_tool_use") and "id" not in block:
            block = _with_id(block, end, index)
        sealed.append(block)
        end = step(end, "assistant", canonical(block))
    return sealed


def _with_id(block: Json, end: bytes, index: int) -> Json:
    prefix = {"server_tool_use": "srvtoolu_", "mcp_tool_use": "mcptoolu_"}.get(block["type"], "toolu_")
    fields = {name: value for name, value in block.items() if name != "type"}
    return {"type": block["type"], "id": prefix + _digest_id(end, "tool", index), **fields}


def _output_usage(content: Sequence[Json]) -> Json:
    tokens = max(1, sum(map(_tokens, content)))
    thought = sum(_tokens(block) for block in content if "thinking" in block["type"])
    return {
        "output_tokens": tokens,
        **({"output_tokens_details": {"thinking_tokens": thought}} if thought else {}),
    }


def _tokens(block: Json) -> int:
    return count_tokens(block, canonical(block))


def _digest_id(*parts: Any) -> str:
    return "01" + hashlib.blake2b(repr(parts).encode(), digest_size=11).hexdigest()
