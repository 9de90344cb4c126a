"""What the model is asked: an agent's standing part, and the conversation."""

import hashlib
from dataclasses import dataclass
from typing import Any

from core.content import Block, Message, dump, says_something


@dataclass(frozen=True, slots=True)
class Prompt:
    model: str
    system: str
    max_tokens: int
    thinking: bool
    conversation: tuple[Message, ...]

    def prefix_digest(self) -> str:
        """Of all that stands before the conversation. A thinking block made behind another prefix is refused by the API."""
        return hashlib.sha256(dump([self.model, self.system]).encode()).hexdigest()

    def render(self) -> dict[str, Any]:
        """The request as the API takes it. Cache markers are added here and never stored."""
        request: dict[str, Any] = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            # The standing part is shared by all conversations, so it is worth an hour; the tail is for the next turn.
            "system": [
                {"type": "text", "text": self.system, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
            ],
            "cache_control": {"type": "ephemeral"},
            "messages": self._messages(),
        }
        if self.thinking:
            request["thinking"] = {"type": "adaptive"}
        return request

    def _messages(self) -> list[dict[str, Any]]:
        digest = self.prefix_digest()
        rendered = (
            {
                "role": said.role,
                "content": [b for b in said.content if _sendable(b, said.prefix_digest == digest)],
            }
            for said in self.conversation
        )
        return [message for message in rendered if message["content"]]


def _sendable(block: Block, same_prefix: bool) -> bool:
    if block.get("type") in ("thinking", "redacted_thinking"):
        return same_prefix
    return says_something(block)
