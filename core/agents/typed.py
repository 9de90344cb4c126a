"""A typed function, as a model can call it: what it takes as a JSON schema, and what the model sent as its types.

Both are the SDK's own doing. Importing the SDK takes about a second, so it is asked at first use; what it would refuse
and can be seen without it is refused when the function is declared.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from typing import Any, get_args

from core.agents.context import ToolContext, ToolFailed
from core.agents.refusal import WrongDeclaration

Arguments = Mapping[str, Any]

# The API takes no longer name of a property, nor other characters.
_LONGEST_NAME = 64
_KINDS = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


class TypedFunction:
    def __init__(self, function: Callable[..., object], name: str, description: str | None) -> None:
        self._function = function
        self._name = name
        self._description = description
        self._making = Lock()
        self._made: Any = None
        self._context: str | None = None

    def declaration(self) -> dict[str, Any]:
        """As the model is told of it."""
        return dict(self._ready().to_dict())

    def run(self, context: ToolContext, arguments: Arguments) -> object:
        given = self._fitting(arguments)
        if self._context is not None:
            given[self._context] = context
        return self._function(**given)

    def _fitting(self, arguments: Arguments) -> dict[str, Any]:
        """The arguments in the function's types. What does not fit is told to the model, and the function is not run."""
        made = self._ready()
        try:
            fitting: dict[str, Any] = made.call(arguments)
        except ValueError as error:
            # The SDK's own, with pydantic's behind it: what the function itself raises does not come from here.
            raise ToolFailed(_misfit(error.__cause__)) from None
        return fitting

    def _ready(self) -> Any:
        with self._making:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> Any:
        import anthropic

        signature = inspect.signature(self._function, eval_str=True)
        of_the_model = [p for p in signature.parameters.values() if p.annotation is not ToolContext]
        self._context = next((p.name for p in signature.parameters.values() if p not in of_the_model), None)
        told = signature.replace(parameters=of_the_model)

        def take(*positional: Any, **named: Any) -> Any:
            return dict(told.bind(*positional, **named).arguments)

        # The SDK reads these of a function, to validate and to declare; the one behind them only hands on what fits.
        take.__signature__ = told  # type: ignore[attr-defined]  # inspect honours it
        take.__annotations__ = {p.name: p.annotation for p in of_the_model}
        take.__name__ = take.__qualname__ = self._name
        take.__module__ = self._function.__module__
        take.__doc__ = self._function.__doc__
        try:
            return anthropic.beta_tool(take, name=self._name, description=self._description)
        except Exception as error:
            raise WrongDeclaration(
                [f"the tool {self._name} has a parameter that no schema can be made of: {_first_line(error)}"]
            ) from error


def why_not_typed(function: Callable[..., object], description: str | None) -> Iterator[str]:
    """What keeps a function from being a tool, each as the end of a sentence about it."""
    if not inspect.isfunction(function):
        yield f"is made of {function!r}; accepted: a function"
        return
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        yield "is an async function; accepted: a plain one, which is run on a thread of its own"
    elif inspect.isgeneratorfunction(function):
        yield "is a generator; accepted: a function that returns its result"
    if not (description or inspect.getdoc(function) or "").strip():
        yield "has no docstring; accepted: one that tells the model what the tool is for, or a description"
    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception as error:
        yield f"has an annotation that cannot be read ({_first_line(error)}); accepted: types known to its module"
        return
    for parameter in signature.parameters.values():
        yield from _why_not_parameter(parameter)
    contexts = [p.name for p in signature.parameters.values() if p.annotation is ToolContext]
    if len(contexts) > 1:
        yield f"takes the context {len(contexts)} times ({', '.join(contexts)}); accepted: once, or not at all"


def _why_not_parameter(parameter: inspect.Parameter) -> Iterator[str]:
    if parameter.kind in _KINDS:
        yield f"takes {_KINDS[parameter.kind]}{parameter.name}; accepted: parameters that have a name and a type each"
        return
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        yield f"takes {parameter.name} by its position only; accepted: parameters that can be given by name"
    if parameter.annotation is inspect.Parameter.empty:
        yield f"has no type for its parameter {parameter.name}; accepted: an annotation, such as {parameter.name}: str"
    elif ToolContext in get_args(parameter.annotation):
        yield f"takes its context as {parameter.name}: {parameter.annotation}; accepted: {parameter.name}: ToolContext"
    if not parameter.name.isascii() or len(parameter.name) > _LONGEST_NAME:
        yield f"has a parameter {parameter.name}; accepted: a name of at most {_LONGEST_NAME} ASCII characters"


def _misfit(error: Any) -> str:
    """Which argument, and what was expected. What the model sent is not repeated."""
    problems = [
        f"{'.'.join(map(str, found['loc'])) or 'arguments'}: {found['msg']}"
        for found in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return "The arguments do not fit, so the call was not run. " + "; ".join(problems) + "."


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
