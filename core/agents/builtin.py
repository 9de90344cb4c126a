"""The tools that every conversation may have: handing over to a colleague, and the list of what is to be done.

They are not run. What they change is a part of the conversation, so it is committed in one statement with their results: a
function that dies before that has changed nothing, and one that wakes after its time changes nothing either.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from core.agents.agent import Agent
from core.agents.tool import Arguments, Effect, Tool, ToolContext, ToolFailed
from core.values import dataclass

HAND_OVER: Final = "hand_over"
SET_TODOS: Final = "set_todos"
RESERVED: Final = frozenset({HAND_OVER, SET_TODOS})

_MOST_TODOS = 100
_LONGEST_TODO = 500
LONGEST_REASON: Final = 500
_STATUSES = ("pending", "in_progress", "completed")


@dataclass(frozen=True, slots=True)
class HandOver:
    """A wish to hand over that can be met."""

    to: str
    reason: str


def equipped(agent: Agent, others: Mapping[str, Agent]) -> Agent:
    """The agent with the tools that follow from its declaration."""
    tools = list(agent.tools)
    if agent.hands_over_to:
        tools.append(_hand_over(agent, others))
    if agent.todos:
        tools.append(_SET_TODOS)
    return replace(agent, tools=tuple(tools))


def read_hand_over(agent: Agent, arguments: Arguments) -> HandOver:
    to, reason = arguments.get("to"), arguments.get("reason")
    if not isinstance(to, str) or to not in agent.hands_over_to:
        raise ToolFailed(
            f"There is no colleague of that name. You can hand over to: {', '.join(agent.hands_over_to)}."
        )
    return HandOver(to, clean(reason if isinstance(reason, str) else "", LONGEST_REASON))


def read_todos(arguments: Arguments) -> list[dict[str, str]]:
    given = arguments.get("todos")
    if not isinstance(given, list) or len(given) > _MOST_TODOS:
        raise ToolFailed(
            f"`todos` must be the whole list: at most {_MOST_TODOS} of {{content, status}}. Nothing was changed."
        )
    return [_todo(item, number) for number, item in enumerate(given, 1)]


def _todo(item: object, number: int) -> dict[str, str]:
    content = item.get("content") if isinstance(item, dict) else None
    status = item.get("status", "pending") if isinstance(item, dict) else None
    if not isinstance(content, str) or not content.strip() or status not in _STATUSES:
        raise ToolFailed(
            f"Number {number} of `todos` must have a `content` and a `status` of {', '.join(_STATUSES)}. Nothing was changed."
        )
    return {"content": clean(content, _LONGEST_TODO), "status": str(status)}


def clean(text: str, most: int) -> str:
    """As a column of text takes it: without a NUL or half a character."""
    return text.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")[:most]


def _is_not_run(_: ToolContext, __: Arguments) -> str:
    raise AssertionError("a built-in tool is settled with the results, not run")


def _hand_over(agent: Agent, others: Mapping[str, Agent]) -> Tool:
    colleagues = "\n".join(f"- {key}: {others[key].description}" for key in agent.hands_over_to)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "to": {"type": "string", "enum": list(agent.hands_over_to), "description": "Who goes on."},
            "reason": {
                "type": "string",
                "description": "What the person wants, in one sentence for the colleague.",
            },
        },
        "required": ["to", "reason"],
    }
    return Tool(
        name=HAND_OVER,
        description=(
            "Hands the conversation over to a colleague, who goes on with it at once and answers the person until it is "
            f"handed on or back. Say nothing more yourself after that. Colleagues:\n{colleagues}"
        ),
        effect=Effect.IDEMPOTENT,
        run=_is_not_run,
        input_schema=schema,
    )


_SET_TODOS = Tool(
    name=SET_TODOS,
    description=(
        "Keeps your list of what is to be done for this person. Give the whole list each time, in order; it takes the place "
        "of the one before."
    ),
    effect=Effect.IDEMPOTENT,
    run=_is_not_run,
    input_schema={
        "type": "object",
        "properties": {
            "todos": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "content": {"type": "string"},
                        "status": {"type": "string", "enum": list(_STATUSES)},
                    },
                    "required": ["content", "status"],
                },
            }
        },
        "required": ["todos"],
    },
)
