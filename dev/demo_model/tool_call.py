"""Which tool the user's words call for, and with which arguments.

The rule of choice: take the words of what the user said last, without stop words. Each of them that is a word of a
tool's name counts two, of its description one. The tool with the highest count is called if it has at least two;
of equals the one offered first. Words are compared whole and in lower case; names split at "_", "-" and capitals.

A tool whose description lists what may be chosen (lines of "- choice: what it is for", each a choice of an enum among its
arguments) is weighed by the choice that fits best, and that choice is the argument. Each word of the choice's line
counts two: behind it stands somebody with a whole set of tools.
"""

from __future__ import annotations

import re
from typing import Any

from .arguments import fill
from .memory import Memory

Json = dict[str, Any]

ENOUGH = 2
HAND_OVER = "hand_over"
_WORD = re.compile(r"[^\W_]+")
_CHOICE = re.compile(r"^\s*[-*] (?P<choice>[\w-]+): .+$", re.MULTILINE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
STOP_WORDS = frozenset(
    _WORD.findall("""
    a about all am an and any are as at be been but by can could did do does for from get give given had has have
    he hello hey hi him his how i if in into is it its just like make may me more my name no not now of on one or
    our out please say set she show so some such tell than thank thanks that the their them then there these they
    this those to too tool up use used user uses using very want was we were what when where which who why will with
    would yes you your
    """)
)


def choose(body: Json, said: str, *, but: str = "") -> Json | None:
    """`but`: the name of one that is not to be called."""
    tools: list[Json] = [
        tool for tool in body.get("tools", []) if tool.get("type") in (None, "custom") and tool["name"] != but
    ]
    choice = body.get("tool_choice") or {"type": "auto"}
    if not tools or choice["type"] == "none":
        return None
    if choice["type"] == "tool":
        return next((tool for tool in tools if tool["name"] == choice["name"]), None)
    best = max(tools, key=lambda tool: score(tool, said))  # of equals, max takes the first
    if choice["type"] == "any" or score(best, said) >= ENOUGH:
        return best
    return None


def score(tool: Json, said: str) -> int:
    if choices := _choices(tool, said):
        return max(weight for _, _, weight in choices)
    heard = words(said)
    name = words(_CAMEL.sub(" ", tool["name"]).replace("_", " "))
    return 2 * len(heard & name) + len(heard & (words(tool.get("description") or "") - name))


def words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.lower()) if word not in STOP_WORDS}


def arguments(tool: Json, memory: Memory) -> Json:
    filled = fill(tool["input_schema"], memory)
    choices = _choices(tool, memory.last)
    if choices:
        name, choice, weight = max(choices, key=lambda found: found[2])
        if weight:
            filled[name] = choice
    return filled


def _choices(tool: Json, said: str) -> list[tuple[str, str, int]]:
    """Of each choice that the description lists: whose argument it is, and how well it fits."""
    properties = tool["input_schema"].get("properties") or {}
    owner = {
        choice: name
        for name, about in properties.items()
        if isinstance(about, dict)
        for choice in about.get("enum") or []
        if isinstance(choice, str)
    }
    heard = words(said)
    return [
        (owner[line["choice"]], line["choice"], 2 * len(heard & words(line[0].replace("_", " "))))
        for line in _CHOICE.finditer(tool.get("description") or "")
        if line["choice"] in owner
    ]
