"""The calls of remote MCP servers in the history: each one's server is named again, and each call has its result.

The documents of the real API do not say what it does with a call whose server the request does not name. To refuse it is
the strict answer, so whoever passes here depends on nothing that nobody promised.
"""

from __future__ import annotations

from ..refusal import Refusal
from ..request import Request

# What a list of a server's tools came with, it has to be sent back with.
_LISTING_BETA = "mcp-client-2026"


def check(request: Request) -> None:
    body = request.body
    servers = {server["name"] for server in body.get("mcp_servers", [])}
    called: set[str] = set()
    answered: set[str] = set()
    last: set[str] = set()
    for index, message in enumerate(body["messages"]):
        last = set()
        for spot, block in enumerate(message["content"] if isinstance(message.get("content"), list) else []):
            where = f"messages.{index}.content.{spot}"
            match block["type"]:
                case "mcp_tool_use":
                    _check_server(block["server_name"], servers, where)
                    called.add(block["id"])
                    last.add(block["id"])
                case "mcp_tool_result":
                    if block["tool_use_id"] not in called:
                        raise Refusal(f"{where}: `mcp_tool_result` without its `mcp_tool_use` before it")
                    answered.add(block["tool_use_id"])
                case "mcp_tool_listing":
                    _check_server(block["mcp_server_name"], servers, where)
                    if not request.has_beta(_LISTING_BETA):
                        raise Refusal(f"{where}: `mcp_tool_listing` needs the beta header that it came with")
    if missing := called - answered - last:
        raise Refusal(f"messages: `mcp_tool_use` without its `mcp_tool_result`: {', '.join(sorted(missing))}")


def _check_server(name: str, servers: set[str], where: str) -> None:
    if name not in servers:
        raise Refusal(f"{where}: the MCP server '{name}' is not in mcp_servers")
