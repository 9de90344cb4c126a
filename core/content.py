"""What a message holds: blocks, kept as JSON text exactly as they came.

The text is never `jsonb`, which reorders keys, turns -0.0 into 0 and refuses what JSON itself can carry (a NUL, a lone
surrogate). Any of these changes would break prompt caching and signed thinking.
"""

import json
from typing import Any

from core.values import dataclass

Block = dict[str, Any]
Blocks = list[Block]


@dataclass(frozen=True, slots=True)
class Message:
    """A message as a turn needs it: what may be sent to the model."""

    seq: int
    role: str
    content: Blocks
    # Of what stood before it, if a model said it; its thinking is valid behind that alone.
    prefix_digest: str = ""
    # Why the model stopped there, if it was a model.
    stop_reason: str = ""
    # Bytes of its content as it is stored. 0: not known yet.
    size: int = 0

    @property
    def tool_calls(self) -> Blocks:
        return [block for block in self.content if block.get("type") == "tool_use"]

    @property
    def has_results(self) -> bool:
        return any(block.get("type") == "tool_result" for block in self.content)

    @classmethod
    def from_client(cls, seq: int, content: str) -> "Message":
        return cls(seq, "user", load_sendable(content), size=_bytes_of(content))

    @property
    def stored_size(self) -> int:
        return self.size or _bytes_of(dump(self.content))


@dataclass(frozen=True, slots=True)
class Compaction:
    """What stands for all messages up to a number when the model is told of the conversation."""

    upto_seq: int
    # JSON text of blocks, as a message's.
    content: str

    def as_message(self) -> Message:
        return Message.from_client(self.upto_seq, self.content)


def dump(value: object) -> str:
    """Compact JSON in UTF-8 wherever it can be, with escapes where it holds a lone surrogate, which UTF-8 cannot carry."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if _encodable(text):
        return text
    return json.dumps(value, separators=(",", ":"))


def text_of(blocks: Blocks) -> str:
    return "".join(block["text"] for block in blocks if block.get("type") == "text")


def _bytes_of(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def says_something(block: Block) -> bool:
    """The API refuses a text block that is empty or blank, though it now and then returns one. What a server's tools are
    is told by the API, and not said by the model.
    """
    if block.get("type") == "mcp_tool_listing":
        return False
    return block.get("type") != "text" or bool(block["text"] and not block["text"].isspace())


def load_sendable(text: str) -> Any:
    """What `dump` wrote, as it may be sent: the API refuses lone surrogates, so each goes as U+FFFD; the store keeps it.

    Only a text that holds one is written with escapes, so the others need no second look: a long history is many.
    """
    value = json.loads(text)
    return sendable(value) if "\\ud" in text else value


def sendable(value: Any) -> Any:
    """The same without lone surrogates."""
    if isinstance(value, str):
        return (
            value
            if _encodable(value)
            else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        )
    if isinstance(value, list):
        return [sendable(item) for item in value]
    if isinstance(value, dict):
        return {sendable(key): sendable(item) for key, item in value.items()}
    return value


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
