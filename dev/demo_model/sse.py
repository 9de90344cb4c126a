"""A message as the server-sent events in which the API streams it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

_CHUNK = re.compile(r"\S{1,24}\s*|\s+")


def stream(message: Json) -> list[bytes]:
    return [encode(event) for event in events(message)]


def encode(event: Json) -> bytes:
    return f"event: {event['type']}\ndata: {dumps(event)}\n\n".encode()


def dumps(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def events(message: Json) -> Iterator[Json]:
    usage = message["usage"]
    # The details of the output are not known when a message starts, nor is more than its first token.
    early = {name: value for name, value in usage.items() if name != "output_tokens_details"}
    empty: Json = {
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**early, "output_tokens": 1},
    }
    yield {"type": "message_start", "message": {**message, **empty}}
    yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        yield from _block_events(index, block)
    final = {name: value for name, value in usage.items() if name not in ("cache_creation", "service_tier")}
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    yield {"type": "message_delta", "delta": ending, "usage": final}
    yield {"type": "message_stop"}


def _block_events(index: int, block: Json) -> Iterator[Json]:
    opening, deltas = _opened(block)
    yield {"type": "content_block_start", "index": index, "content_block": opening}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _opened(block: Json) -> tuple[Json, list[Json]]:
    match block["type"]:
        case "text":
            return {**block, "text": ""}, [
                {"type": "text_delta", "text": part} for part in pieces(block["text"])
            ]
        case "thinking":
            thoughts = [{"type": "thinking_delta", "thinking": part} for part in pieces(block["thinking"])]
            signature = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [*thoughts, signature]
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            # As the real one does: an empty object first, an empty delta, then the arguments' JSON in parts.
            parts = ["", *_split(dumps(block["input"]), 12)]
            return {**block, "input": {}}, [
                {"type": "input_json_delta", "partial_json": part} for part in parts
            ]
    return block, []


def pieces(text: str) -> list[str]:
    """The text in small parts of about three words."""
    words = _CHUNK.findall(text)
    return ["".join(words[at : at + 3]) for at in range(0, len(words), 3)]


def _split(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]
