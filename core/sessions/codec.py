"""A session's body: JSON text, and the state of the team's own type that is in it.

Pydantic reads a dataclass, a model, a TypedDict and a dict alike, checks them, and says which field does not fit; a
converter of our own would be longer and know fewer types. (A TypedDict must be that of `typing_extensions` before Python 3.12.)

Nothing is written that could not be read again: what was dumped is read back before it goes out. Strings may hold a NUL or a lone
surrogate, which pydantic's own JSON cannot: those few take a way round.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from functools import cached_property
from typing import Any, Final, Generic, TypeVar, get_origin, get_type_hints
from uuid import UUID

from core.errors import SessionTooLarge, SessionUnreadable, SessionUnwritable
from core.sessions.session import State
from core.values import dataclass

MOST_BYTES: Final = 256 * 1024
# How many of the last updates a body names: a reply that was lost is found as long as its update is among them.
REMEMBERED: Final = 20

_T = TypeVar("_T")
# What pydantic puts in the place of a lone surrogate in a key, without a word.
_REPLACED: Final = "\ufffd"


@dataclass(frozen=True, slots=True)
class Body(Generic[_T]):
    state: _T
    org_id: UUID | None = None
    workspace_path: str | None = None
    mcp_client_ids: tuple[str, ...] = ()
    system_prompt: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    # The last updates, the newest last: which version each made. Stays the last field: see `without_updates`.
    updates: tuple[tuple[int, str], ...] = ()

    def has(self, update: str) -> bool:
        return any(name == update for _, name in self.updates)

    def reaches_back_to(self, version: int) -> bool:
        """Whether an update that made this version would be named."""
        return len(self.updates) < REMEMBERED or self.updates[0][0] <= version

    def updated_by(self, update: str, version: int) -> "Body[_T]":
        return replace(self, updates=(*self.updates, (version, update))[-REMEMBERED:])


def without_updates(text: str) -> str:
    """What a body says of the session itself. The names of updates cannot hold what is looked for."""
    return text.rpartition(',"updates":')[0]


class Codec(Generic[State]):
    def __init__(self, namespace: str, new_state: Callable[[], State], state_type: Any = None) -> None:
        self._namespace = namespace
        self._type = state_type if state_type is not None else _type_made_by(new_state)

    @cached_property
    def _adapter(self) -> Any:
        from pydantic import TypeAdapter

        # A NaN is to be refused below; by default it would be written as null, without a word. Only a tuple takes that setting.
        of_one: Any = tuple[Body[self._type]]  # type: ignore[name-defined]  # a type that is known when it runs
        return TypeAdapter(of_one, config={"ser_json_inf_nan": "constants"})

    def write(self, body: Body[State]) -> tuple[str, Body[State]]:
        """The text, and what will be read in it."""
        try:
            text = self._dump(body)
        except (ValueError, TypeError, RecursionError):
            # What they say quotes the content.
            raise SessionUnwritable(
                f"A session of {self._spelt} holds something that does not fit its type, or that JSON cannot hold. "
                "Nothing was stored."
            ) from None
        size = len(text.encode())
        if size > MOST_BYTES:
            raise SessionTooLarge(
                f"The session has {size} bytes; a session of {self._spelt} may have {MOST_BYTES}. Nothing was stored."
            )
        try:
            return text, self.read(text)
        except SessionUnreadable as unreadable:
            raise SessionUnwritable(f"{unreadable.detail} Nothing was stored.") from None

    def read(self, text: str) -> Body[State]:
        from pydantic import ValidationError

        try:
            found: Body[State] = self._load(text)
        except ValidationError as error:
            where = ", ".join(dict.fromkeys(self._field(problem["loc"]) for problem in _problems(error)))
            raise SessionUnreadable(
                f"A session of {self._spelt} does not fit this release at {where}."
            ) from None
        return found

    def _dump(self, body: Body[State]) -> str:
        try:
            (dumped,) = self._adapter.dump_python((body,), mode="json", round_trip=True, warnings="error")
            text = _text(dumped)
        except UnicodeEncodeError:
            text = _REPLACED
        if _REPLACED not in text:
            return text
        (dumped,) = self._adapter.dump_python((body,), round_trip=True, warnings="error")
        return _text(_plain(dumped))

    def _load(self, text: str) -> Any:
        from pydantic import ValidationError

        try:
            (found,) = self._adapter.validate_json(f"[{text}]", by_name=True, by_alias=True)
        except ValidationError as error:
            if _problems(error)[0]["type"] != "json_invalid":
                raise
            try:
                plain = json.loads(text)
            except ValueError:
                raise error from None
            (found,) = self._adapter.validate_python((plain,), by_name=True, by_alias=True)
        return found

    def _field(self, path: tuple[int | str, ...]) -> str:
        """By its name as far as the type declares it: what comes below may be content."""
        if len(path) > 2 and path[1] == "state" and path[2] in _hints(self._type):
            return f"state.{path[2]}"
        return str(path[1]) if len(path) > 1 else "all of it"

    @property
    def _spelt(self) -> str:
        return f"the namespace {self._namespace!r}"


def _type_made_by(new_state: Callable[[], Any]) -> Any:
    if inspect.isclass(new_state) or get_origin(new_state) is not None:
        return new_state
    said = _hints(new_state).get("return")
    return said if said is not None else type(new_state())


def _hints(of: Any) -> Mapping[str, Any]:
    try:
        return get_type_hints(of)
    except Exception:
        return {}


def _problems(error: Any) -> list[Any]:
    found: list[Any] = error.errors(include_url=False, include_context=False, include_input=False)
    return found


def _text(value: object) -> str:
    """Compact JSON, in UTF-8 wherever it can be."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text


def _plain(value: Any) -> Any:
    """As JSON has it, one leaf at a time, for strings that pydantic cannot write."""
    from pydantic_core import to_jsonable_python

    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else to_jsonable_python(key): _plain(one)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    return to_jsonable_python(value)
