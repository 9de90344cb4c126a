"""A request as one chain of blocks in the order tools, system, messages: what caches and signatures bind to.

Each link's digest covers every block up to it, so a request of a thousand messages is hashed once, block by block,
and "everything before this block" is one value. Two requests share a digest exactly as far as they say the same:

- `cache_control` is left out, as markers move between requests;
- a text given as a plain string equals the same text as a single block;
- the role is part of a link and the message is not, as consecutive messages of one role are combined;
- the fields of a block itself may come in any order and as null instead of absent (the API reads them by name, and
  SDKs write them in their own order), but what is inside a value (a tool's input, a schema) keeps its order of keys,
  its floats (-0.0, 1.0) and its strings to the letter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import picture

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Link:
    place: str
    block: Json
    before: bytes
    digest: bytes
    tokens: int
    ttl: str | None


def chain(body: Json) -> list[Link]:
    automatic = body.get("cache_control")
    target = automatic_place(body) if automatic is not None else None
    digest = root(str(body["model"]))
    links = []
    for place, role, block in blocks(body):
        mark = _mark(block) or (automatic if place == target else None)
        written = canonical(block) if role != "tools" else _dump(_unmarked(block))
        after = step(digest, role, written)
        ttl = mark.get("ttl", "5m") if mark else None
        links.append(Link(place, block, digest, after, count_tokens(block, written), ttl))
        digest = after
    return links


def root(model: str) -> bytes:
    return hashlib.blake2b(model.encode(), digest_size=20).digest()


def step(before: bytes, role: str, written: str) -> bytes:
    return hashlib.blake2b(before + f"{role}\0{written}".encode(), digest_size=20).digest()


def blocks(body: Json) -> Iterator[tuple[str, str, Json]]:
    """Every block with its place and role; tools and the system prompt have those as their roles."""
    for index, tool in enumerate(body.get("tools", [])):
        yield f"tools.{index}", "tools", tool
    for index, block in enumerate(_as_blocks(body.get("system", ""))):
        yield f"system.{index}", "system-prompt", block
    for number, message in enumerate(body["messages"]):
        for index, block in enumerate(_as_blocks(message.get("content", ""))):
            yield f"messages.{number}.content.{index}", message["role"], block


def canonical(block: Json) -> str:
    return _dump(_normal(block))


def count_tokens(block: Json, written: str) -> int:
    """Characters divided by four, rounded up: near enough to English, and the same on every run."""
    match block.get("type"):
        case "image":
            return picture.tokens(block)
        case "text":
            size = len(block["text"])
        case "thinking":
            size = len(block["thinking"])
        case _:
            size = len(written)
    return -(-size // 4)


def automatic_place(body: Json) -> str | None:
    """Where the top-level `cache_control` puts its breakpoint: the last block that can be cached.

    That is the last block of all: the only kind that cannot be cached is thinking, and no request ends with it.
    """
    last = None
    for place, _, _ in blocks(body):
        last = place
    return last


def marked_places(body: Json) -> list[tuple[str, Any]]:
    marks = []
    for place, _, block in blocks(body):
        for index, part in enumerate(_parts(block)):
            if part.get("cache_control") is not None:
                marks.append((f"{place}.content.{index}", part["cache_control"]))
        if block.get("cache_control") is not None:
            marks.append((place, block["cache_control"]))
    return marks


def _mark(block: Json) -> Json | None:
    held = [
        part["cache_control"] for part in [*_parts(block), block] if part.get("cache_control") is not None
    ]
    return held[-1] if held else None


def _parts(block: Json) -> list[Json]:
    content = block.get("content") if block.get("type") == "tool_result" else None
    return content if isinstance(content, list) else []


def _as_blocks(content: Any) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)


def _unmarked(block: Json) -> Json:
    return {name: value for name, value in block.items() if name != "cache_control"}


def _normal(block: Json) -> Json:
    named = {
        name: block[name] for name in sorted(block) if name != "cache_control" and block[name] is not None
    }
    if named.get("type") == "tool_result" and "content" in named:
        named["content"] = [_normal(part) for part in _as_blocks(named["content"])]
    return named


def _dump(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"))
