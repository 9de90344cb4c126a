"""What the demo model demands of a history in which remote MCP servers were called."""

from typing import Any

import pytest

from tests.demo_model.raw import Raw, ask, assistant, text

Json = dict[str, Any]

MCP = "mcp-client-2025-11-20"
SERVER = {"type": "url", "name": "files", "url": "https://mcp.example.com"}
MCP_CALL = {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "find", "server_name": "files", "input": {}}
MCP_RESULT = {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "content": [text("Found")]}
MCP_LISTING = {"type": "mcp_tool_listing", "mcp_server_name": "files", "tools": []}


@pytest.mark.parametrize(
    ("history", "servers", "message"),
    [
        ([MCP_CALL, MCP_RESULT], [], "'files' is not in mcp_servers"),
        ([MCP_LISTING, text("Hi")], [], "'files' is not in mcp_servers"),
        ([MCP_LISTING, text("Hi")], [SERVER], "needs the beta header that it came with"),
        ([MCP_CALL, text("Hi")], [SERVER], "without its `mcp_tool_result`"),
        ([MCP_RESULT, text("Hi")], [SERVER], "without its `mcp_tool_use`"),
    ],
)
def test_calls_of_mcp_servers_come_back_whole_and_with_their_server(
    strict: Raw, history: list[Json], servers: list[Json], message: str
) -> None:
    tools = [{"type": "mcp_toolset", "mcp_server_name": "files"}] if servers else []
    body = ask("Hi", assistant(*history), "Go on", mcp_servers=servers, tools=tools)
    answer = strict.send(body, anthropic_beta=MCP)
    assert (answer.status, message in answer.error["message"]) == (400, True), answer.body
