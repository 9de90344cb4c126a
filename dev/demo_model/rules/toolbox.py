"""The tools that a request offers: their definitions, the choice among them, and remote MCP servers."""

from __future__ import annotations

import re
from typing import Any

from ..fields import BETA_TOOLS, CUSTOM_TOOL, MCP_SERVER, TOOL_CHOICE, TOOLS, Shape
from ..refusal import Refusal
from ..request import Request
from . import shape

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_PROPERTY_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


def check(request: Request) -> None:
    body = request.body
    tools = shape.array(body.get("tools", []), "tools")
    known = {**TOOLS, **BETA_TOOLS} if request.betas else TOOLS
    for index, tool in enumerate(tools):
        _check_tool(shape.obj(tool, f"tools.{index}"), known, f"tools.{index}")
    names = [tool["name"] for tool in tools if "name" in tool]
    if len(set(names)) < len(names):
        raise Refusal("tools: Tool names must be unique.")
    if "tool_choice" in body:
        _check_choice(shape.obj(body["tool_choice"], "tool_choice"), tools, names)
    _check_mcp(body, tools)


def is_custom(tool: dict[str, Any]) -> bool:
    return tool.get("type") in (None, "custom")


def _check_tool(tool: dict[str, Any], known: dict[str, Shape], where: str) -> None:
    if not is_custom(tool):
        shape.tagged(tool, known, where)
        return
    where += ".custom"
    shape.fields(tool, CUSTOM_TOOL, where)
    shape.matching(tool["name"], TOOL_NAME, f"{where}.name")
    shape.string(tool.get("description", ""), f"{where}.description")
    _check_schema(shape.obj(tool["input_schema"], f"{where}.input_schema"), f"{where}.input_schema")


def _check_schema(schema: dict[str, Any], where: str) -> None:
    if "type" not in schema:
        raise Refusal(f"{where}.type: Field required")
    if schema["type"] != "object":
        raise Refusal(f"{where}.type: Input should be 'object'")
    for name in ("oneOf", "anyOf", "allOf"):
        if name in schema:
            raise Refusal(f"{where}: input_schema does not support oneOf, allOf, or anyOf at the top level")
    properties = schema.get("properties")
    for name in shape.obj({} if properties is None else properties, f"{where}.properties"):
        if not _PROPERTY_NAME.fullmatch(name):
            raise Refusal(
                f"{where}.properties: Property keys should match pattern '^{_PROPERTY_NAME.pattern}$'"
            )
    required = schema.get("required")
    for name in shape.array([] if required is None else required, f"{where}.required"):
        shape.string(name, f"{where}.required")


def _check_choice(choice: dict[str, Any], tools: list[Any], names: list[str]) -> None:
    kind = shape.tagged(choice, TOOL_CHOICE, "tool_choice")
    if not tools:
        raise Refusal("tool_choice may only be specified while providing tools.")
    if kind == "tool" and choice["name"] not in names:
        raise Refusal(f"Tool '{choice['name']}' not found in provided tools")


def _check_mcp(body: dict[str, Any], tools: list[Any]) -> None:
    """Each server has its one toolset, and each toolset its server."""
    servers: list[str] = []
    for index, server in enumerate(shape.array(body.get("mcp_servers", []), "mcp_servers")):
        where = f"mcp_servers.{index}"
        shape.fields(shape.obj(server, where), MCP_SERVER, where)
        shape.one_of(server["type"], ("url",), f"{where}.type")
        servers.append(shape.string(server["name"], f"{where}.name"))
        if not shape.string(server["url"], f"{where}.url").startswith("https://"):
            raise Refusal(f"{where}.url: MCP server URL must start with https://")
    if len(set(servers)) < len(servers):
        raise Refusal("mcp_servers: server names must be unique")
    toolsets = [tool["mcp_server_name"] for tool in tools if tool.get("type") == "mcp_toolset"]
    for name in toolsets:
        if name not in servers:
            raise Refusal(f"tools: MCP server '{name}' referenced by an mcp_toolset is not in mcp_servers")
    for name in servers:
        if toolsets.count(name) != 1:
            raise Refusal(f"mcp_servers: MCP server '{name}' must be referenced by exactly one mcp_toolset")
