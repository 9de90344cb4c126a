"""What the model is asked: an agent's standing part, and the conversation."""

from functools import cached_property
from typing import Any

from core.content import Block, dump
from core.conversation import TOKEN_BYTES, Conversation
from core.digest import digest
from core.values import dataclass

# A server's list of tools comes with its first reply and is sent back: what the server offers tomorrow then changes
# nothing in front of a thinking block of today.
_MCP_BETA = "mcp-client-2026-09-15"

# The API refuses tool calls in a conversation that declares no tool. An agent that has none may take over one that had.
_NO_TOOLS = (
    {"name": "no_longer_available", "description": "Not to be called.", "input_schema": {"type": "object"}},
)

# How many blocks a cache mark looks back for what was cached, less a few: the API says "about 20".
_LOOKED_BACK = 15


@dataclass(frozen=True)
class Prompt:
    model: str
    system: str
    max_tokens: int
    thinking: bool
    conversation: Conversation
    tools: tuple[dict[str, Any], ...] = ()
    # Whom the API itself asks, for the toolsets among the tools. Without their tokens: those are added when it is sent.
    mcp_servers: tuple[dict[str, Any], ...] = ()
    # False: its tools are declared as ever, and not to be called this time.
    may_call: bool = True

    @cached_property
    def prefix_digest(self) -> str:
        """Of all that stands before the messages, with what stands for those that were compacted. A thinking block made
        behind another prefix is refused by the API.
        """
        standing: list[Any] = [self.model, self._tools(), self.system, *self.mcp_servers]
        if (compaction := self.conversation.compaction) is not None:
            # With its number: the same words in front of other messages are another prefix to these.
            standing += [compaction.upto_seq, compaction.content]
        if self.conversation.images_left_out:
            # What is left out of the messages changes what stands before all that follows.
            standing.append(self.conversation.images_left_out)
        return digest(dump(standing))

    @property
    def tokens(self) -> int:
        """An estimate of what the model reads, rather too high."""
        standing = len(dump([self.system, self._tools()]).encode("utf-8", "surrogatepass"))
        return self.conversation.tokens + standing // TOKEN_BYTES

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
            "messages": _marked(self.conversation.ready(self.prefix_digest, self._servers)),
        }
        if tools := self._tools():
            request["tools"] = list(tools)
        if tools and not (self.tools and self.may_call):
            request["tool_choice"] = {"type": "none"}
        if self.mcp_servers:
            request["mcp_servers"] = list(self.mcp_servers)
            request["betas"] = [_MCP_BETA]
        if self.thinking:
            request["thinking"] = {"type": "adaptive"}
        return request

    @property
    def _servers(self) -> frozenset[str]:
        return frozenset(server["name"] for server in self.mcp_servers)

    def _tools(self) -> tuple[dict[str, Any], ...]:
        return self.tools or (_NO_TOOLS if self.conversation.has_tools else ())


def _marked(messages: list[Block]) -> list[Block]:
    """A mark where the last request ended, if the mark at the end does not look back so far: the prefix was cached there.

    That request was answered by the last message of the model, so it ended right before it, whoever sent it.
    """
    replied = max(
        (place for place, message in enumerate(messages) if message["role"] == "assistant"), default=0
    )
    if not replied or sum(len(message["content"]) for message in messages[replied:]) <= _LOOKED_BACK:
        return messages
    return [*messages[: replied - 1], *map(_with_mark, messages[replied - 1 : replied]), *messages[replied:]]


def _with_mark(message: Block) -> Block:
    """Each block of a user's can carry one; of those of a paused model not all can."""
    if message["role"] != "user":
        return message
    *before, last = message["content"]
    return {**message, "content": [*before, {**last, "cache_control": {"type": "ephemeral"}}]}
