"""An agent: a declared specialist."""

from typing import Final

from core.agents.mcp import McpServer
from core.agents.tool import Tool
from core.values import dataclass

# For `hands_over_to`: whoever else is in the roster. Then a new agent is reached without a change to the others.
EVERYBODY: Final = ("*",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    key: str
    prompt: str
    # What it is for, as those are told who may hand over to it.
    description: str = ""
    # None: the one that ANTHROPIC_MODEL names.
    model: str | None = None
    tools: tuple[Tool, ...] = ()
    # The keys of those whom it may give the conversation to.
    hands_over_to: tuple[str, ...] = ()
    # How long it keeps a conversation; None: as the user has, or the service.
    lock_ttl_s: int | None = None
    # Whether it keeps a list of what is to be done.
    todos: bool = False
    # Servers whose tools the model's API calls by itself.
    mcp_servers: tuple[McpServer, ...] = ()
    max_tokens: int = 4_096
    # Whether the model may think before it answers; it decides itself for how long.
    thinking: bool = False
    # How many messages a turn of its may add. None: LONGEST_TURN.
    longest_turn: int | None = None

    def tool(self, name: str) -> Tool | None:
        return next((tool for tool in self.tools if tool.name == name), None)
