"""What is wrong with a roster, in sentences: each names the agent, what it says, and what is accepted."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from core.agents.agent import Agent
from core.agents.builtin import RESERVED
from core.agents.mcp import McpServer
from core.agents.tool import Tool

_KEY = re.compile(r"[a-z][a-z0-9_]{0,49}")
_SERVER_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_LONGEST_TTL_S = 31_536_000


def problems_of(agents: Sequence[Agent], longest_call_s: float = math.inf) -> Iterator[str]:
    """`longest_call_s`: what a worker has time for. A call that may take longer would be handed over for ever."""
    for key, count in Counter(agent.key for agent in agents).items():
        if count > 1:
            yield f"{count} agents have the key {key}; accepted: one"
    for agent in agents:
        of_it = [*_of_itself(agent), *_of_tools(agent, longest_call_s), *_of_servers(agent)]
        yield from (f"the agent {agent.key} {problem}" for problem in of_it)
        yield from (f"the agent {agent.key} {problem}" for problem in _of_handovers(agent, agents))
    yield from _of_shared_servers(agents)


def _of_itself(agent: Agent) -> Iterator[str]:
    if not _KEY.fullmatch(agent.key):
        yield "has a wrong key; accepted: at most 50 of the characters a-z, 0-9 and _, of which the first is a letter"
    if not agent.prompt.strip():
        yield "has an empty prompt; accepted: one that tells the model who it is"
    if agent.model is not None and (not agent.model.strip() or " " in agent.model):
        yield f"has the model {agent.model!r}; accepted: a model's name, or None for ANTHROPIC_MODEL"
    limits = (
        ("keeps a conversation for", agent.lock_ttl_s, 1, _LONGEST_TTL_S, "seconds"),
        ("answers in at most", agent.max_tokens, 1, math.inf, "tokens"),
        ("adds at most", agent.longest_turn, 2, 10_000, "messages"),
    )
    for does, value, low, high, unit in limits:
        if value is not None and not (isinstance(value, int) and low <= value <= high):
            most = "" if high == math.inf else f" to {high}"
            yield f"{does} {value!r} {unit}; accepted: a whole number from {low}{most}"


def _of_tools(agent: Agent, longest_call_s: float) -> Iterator[str]:
    # As it stands in code that no type checker may have seen.
    given: object = agent.tools
    tools = [tool for tool in given if isinstance(tool, Tool)] if isinstance(given, tuple) else []
    if not isinstance(given, tuple) or len(tools) < len(given):
        yield "has tools that are none, or not in a tuple; accepted: tools=(one,), each a function with @tool(effect=...)"
    yield from _doubled((tool.name for tool in tools), "tools of the name")
    for tool in tools:
        if tool.name in RESERVED:
            yield f"has a tool {tool.name}, which is a name of ours; accepted: any but {', '.join(sorted(RESERVED))}"
        if tool.time_limit_s > longest_call_s:
            yield (
                f"has a tool {tool.name} that may take {tool.time_limit_s:g} seconds; accepted: at most "
                f"{longest_call_s:g}, which is what WORKER_BUDGET_S leaves it"
            )


def _of_handovers(agent: Agent, agents: Sequence[Agent]) -> Iterator[str]:
    given: object = agent.hands_over_to
    if isinstance(given, str):
        yield f'hands over to {given!r}; accepted: a tuple of keys, such as ("billing",)'
        return
    known = {other.key: other for other in agents}
    yield from _doubled(agent.hands_over_to, "handovers to")
    for key in agent.hands_over_to:
        if key == agent.key:
            yield "hands over to itself; accepted: any other agent"
        elif key not in known:
            others = ", ".join(sorted(known.keys() - {agent.key})) or "nobody, as it is alone"
            yield f"hands over to {key!r}, which is not in the roster; accepted: {others}"
        elif not known[key].description.strip():
            yield f"hands over to {key}, which has no description; accepted: one that says what it is for"


def _of_servers(agent: Agent) -> Iterator[str]:
    yield from _doubled((server.name for server in agent.mcp_servers), "MCP servers of the name")
    for server in agent.mcp_servers:
        if not _SERVER_NAME.fullmatch(server.name):
            yield f"has an MCP server {server.name!r}; accepted: a name of 1 to 64 of the characters a-z, A-Z, 0-9, _ and -"
        if not _is_https(server):
            yield f"has the MCP server {server.name} at a wrong address; accepted: https:// without a user or password in it"
        if server.allowed_tools is not None and (
            not isinstance(server.allowed_tools, tuple) or not server.allowed_tools
        ):
            yield f"allows no tool of the MCP server {server.name}; accepted: a tuple of their names, or None for all"


def _of_shared_servers(agents: Sequence[Agent]) -> Iterator[str]:
    """A token belongs to a name, so a second address of that name would be sent a token that is not for it."""
    addresses: dict[str, set[str]] = {}
    for agent in agents:
        for server in agent.mcp_servers:
            addresses.setdefault(server.name, set()).add(server.url)
    for name, urls in addresses.items():
        if len(urls) > 1:
            yield f"the MCP server {name} has {len(urls)} addresses; accepted: one for each name"


def _is_https(server: McpServer) -> bool:
    try:
        parts = urlsplit(server.url)
        return parts.scheme == "https" and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        return False


def _doubled(names: Iterable[str], what: str) -> Iterator[str]:
    yield from (
        f"has {count} {what} {name}; accepted: one" for name, count in Counter(names).items() if count > 1
    )
