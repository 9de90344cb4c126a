"""What a model may say and how it may fail, in a walk: well, badly, too much at once, and in the middle of a word."""

from typing import Any, Final

from dev.demo_model import Fault, Reply

FAULTS: Final = (
    Fault.status(529),
    Fault.status(429, retry_after=0),
    Fault.error_event(after=2),
    Fault.cut(after=3),
    Fault.end_early(after=4),
    Fault.status(402),
)


def _call(name: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "name": name, "input": given}


def _to(agent: object, reason: object = "They asked for it.") -> dict[str, Any]:
    return _call("hand_over", to=agent, reason=reason)


def _todos(*given: tuple[str, str]) -> dict[str, Any]:
    return _call("set_todos", todos=[{"content": content, "status": status} for content, status in given])


REPLIES: Final = (
    Reply("As far as I", stop_reason="max_tokens"),
    Reply("I won't.", stop_reason="refusal"),
    Reply([], stop_reason="end_turn"),
    Reply([_call("send_letter")], stop_reason="max_tokens"),
    Reply([_call("send_letter"), _call("delete_archive"), _call("lookup_weather")]),
    Reply(
        [{"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}],
        stop_reason="pause_turn",
    ),
    Reply([_call("no_such_tool")]),
)

# Of handing over and of the list of what is to be done.
INWARD: Final = (
    Reply([{"type": "thinking", "thinking": "This is for the calendar."}, _to("scheduling")]),
    Reply([{"type": "thinking", "thinking": "This is for the books."}, _to("billing")]),
    Reply([_to("manager")]),
    Reply([_to("billing"), _to("scheduling")]),
    Reply([_to("poetry")]),
    Reply([_call("hand_over")]),
    Reply([_to("scheduling", "a \0 b")]),
    Reply([_to("scheduling")], stop_reason="max_tokens"),
    Reply([_call("send_letter"), _to("scheduling"), _call("lookup_weather")]),
    Reply([_to("billing"), _call("delete_archive")]),
    Reply([_todos(("Ask", "completed"), ("Book \0", "in_progress"), ("Remind", "pending"))]),
    Reply([_todos(("Ask", "completed")), _todos(), _to("billing")]),
    Reply([_todos(("Ask", "soon"))]),
    Reply([_call("set_todos", todos="all")]),
)
