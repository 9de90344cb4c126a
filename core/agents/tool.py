"""A tool: what an agent may do beside talking, and what may happen when it is interrupted.

The effect class says what a function that died in the middle leaves behind:

* `read` changes nothing, so it is run again.
* `idempotent` changes something once for each key, so it is run again with the same key, which it is given.
* `once` must never run twice, so after a crash in the middle its outcome is unknown; the model is told so.

Nobody but its author knows the effect of a tool, so there is no default.
"""

import inspect
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any

from core.agents.context import ToolContext, ToolFailed
from core.agents.refusal import WrongDeclaration
from core.agents.typed import Arguments, TypedFunction, why_not_typed
from core.values import dataclass

__all__ = ["Arguments", "Effect", "Tool", "ToolContext", "ToolFailed", "tool"]

_log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
# Who may say yes or no to a call.
_APPROVERS = ("owner", "editor")


class Effect(StrEnum):
    READ = "read"
    IDEMPOTENT = "idempotent"
    ONCE = "once"


_EFFECTS = ", ".join(Effect)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    name: str
    description: str
    effect: Effect
    run: Callable[[ToolContext, Arguments], object]
    input_schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    time_limit_s: float = 10.0
    # Of what it returned: the model is told no more.
    most_characters: int = 20_000
    # Whether a person must say yes first: always, never, or as the arguments say.
    needs_approval: bool | Callable[[Arguments], bool] = False
    approver: str = "owner"
    # The typed function that it was made of, if it was.
    typed: TypedFunction | None = None

    def __post_init__(self) -> None:
        if problems := [f"the tool {self.name} {problem}" for problem in _wrong(self)]:
            raise WrongDeclaration(problems)

    def declaration(self) -> dict[str, Any]:
        """As the model is told of it."""
        if self.typed is not None:
            return self.typed.declaration()
        return {"name": self.name, "description": self.description, "input_schema": dict(self.input_schema)}

    def asks(self, arguments: Arguments) -> bool:
        """Whether a person must say yes to these arguments. Where the answer cannot be found, a person is asked."""
        if not callable(self.needs_approval):
            return self.needs_approval
        try:
            return bool(self.needs_approval(arguments))
        except Exception as error:
            # Its text may quote the arguments.
            _log.error(
                "the tool %s: whether it needs approval failed with %s", self.name, type(error).__name__
            )
            return True


def tool(
    function: Callable[..., object] | None = None,
    /,
    *,
    effect: Effect | None = None,
    name: str | None = None,
    description: str | None = None,
    time_limit_s: float = 10.0,
    most_characters: int = 20_000,
    needs_approval: bool | Callable[[Arguments], bool] = False,
    approver: str = "owner",
) -> Callable[[Callable[..., object]], Tool]:
    """Makes a tool of a typed function: its docstring says what it is for, and its `Args:` what each argument is.

    A parameter that is annotated with ToolContext is given the context; the model is not told of it.
    """

    def declare(function: Callable[..., object]) -> Tool:
        called = str(name or getattr(function, "__name__", repr(function)))
        problems = [f"the tool {called} {problem}" for problem in why_not_typed(function, description)]
        if not isinstance(effect, str):
            problems.insert(0, f"the tool {called} declares no effect; accepted: {_EFFECTS}")
        typed = TypedFunction(function, called, description)
        try:
            made = Tool(
                name=called,
                description=description or inspect.getdoc(function) or "",
                # Without one the tool is refused below, and this stands in to hear of the rest.
                effect=Effect.ONCE if effect is None else effect,
                run=typed.run,
                time_limit_s=time_limit_s,
                most_characters=most_characters,
                needs_approval=needs_approval,
                approver=approver,
                typed=typed,
            )
        except WrongDeclaration as wrong:
            raise WrongDeclaration(problems + wrong.problems) from None
        if problems:
            raise WrongDeclaration(problems)
        return made

    if function is not None:
        # Written as a bare `@tool`: it is called with the function, and there is no effect. Always refused.
        declare(function)
    return declare


def _wrong(tool: Tool) -> Iterator[str]:
    if not _NAME.fullmatch(tool.name):
        yield "has a name that the model cannot call; accepted: 1 to 64 of the characters a-z, A-Z, 0-9, _ and -"
    if tool.effect not in tuple(Effect):
        yield f"declares the effect {tool.effect!r}; accepted: {_EFFECTS}"
    if not _is_number(tool.time_limit_s) or not 0 < tool.time_limit_s < math.inf:
        yield f"has a time limit of {tool.time_limit_s!r}; accepted: a number of seconds above 0"
    if (
        not _is_number(tool.most_characters)
        or tool.most_characters != int(tool.most_characters)
        or tool.most_characters < 1
    ):
        yield f"may return {tool.most_characters!r} characters; accepted: a whole number from 1"
    asks: object = tool.needs_approval
    if not isinstance(asks, bool) and not callable(asks):
        yield f"has needs_approval={asks!r}; accepted: True, False or a function of the arguments"
    if tool.approver not in _APPROVERS:
        yield f"asks {tool.approver!r} for approval; accepted: {', '.join(_APPROVERS)}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
