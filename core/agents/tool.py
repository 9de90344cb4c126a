"""A tool: what an agent may do beside talking, and what may happen when it is interrupted.

The effect class says what a function that died in the middle leaves behind:

* `read` changes nothing, so it is run again.
* `idempotent` changes something once for each key, so it is run again with the same key, which it is given.
* `once` must never run twice, so after a crash in the middle its outcome is unknown; the model is told so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from core.deadline import Deadline
from core.ids import SessionId, TurnId


class Effect(StrEnum):
    READ = "read"
    IDEMPOTENT = "idempotent"
    ONCE = "once"


class ToolFailed(Exception):
    """A tool raises this to tell the model, in words of its own, what went wrong."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool is told beside its arguments."""

    session_id: SessionId
    turn_id: TurnId
    # The same for each run of the same call.
    idempotency_key: str
    deadline: Deadline


Arguments = Mapping[str, Any]


def _never(_: Arguments) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    name: str
    description: str
    effect: Effect
    run: Callable[[ToolContext, Arguments], str]
    input_schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    time_limit_s: float = 10.0
    # Whether a person must say yes to these arguments first.
    needs_approval: Callable[[Arguments], bool] = _never

    def declaration(self) -> dict[str, Any]:
        """As the model is told of it."""
        return {"name": self.name, "description": self.description, "input_schema": dict(self.input_schema)}
