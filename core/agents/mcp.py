"""A remote MCP server: the model's API itself talks to it, so its calls are never ours to run or to settle.

The token that opens it is not part of the declaration: it is read with the other settings (`MCP_TOKENS`), where it is
checked at start and hidden like every secret, and it is added to a request only when that is sent.
"""

from typing import Any

from core.values import dataclass


@dataclass(frozen=True, slots=True)
class McpServer:
    name: str
    url: str
    # Without a token of its name in MCP_TOKENS the service does not start.
    needs_token: bool = False
    # None: all that it has, whatever they are tomorrow.
    allowed_tools: tuple[str, ...] | None = None

    def definition(self) -> dict[str, Any]:
        return {"type": "url", "name": self.name, "url": self.url}

    def toolset(self) -> dict[str, Any]:
        toolset: dict[str, Any] = {"type": "mcp_toolset", "mcp_server_name": self.name}
        if self.allowed_tools is not None:
            toolset["default_config"] = {"enabled": False}
            toolset["configs"] = {name: {"enabled": True} for name in self.allowed_tools}
        return toolset
