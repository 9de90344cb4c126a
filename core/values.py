"""Dataclasses with slots, made without a compiler.

`dataclasses` writes the methods of each class as text and has Python compile that, each time a process starts: four million
instructions a class, and this house has two hundred; together as much as all of SQLAlchemy. Here `__init__` was compiled with this
file, once for each number of fields, and is given the fields' names; the other methods need no names. What is made answers to
`dataclasses.fields`, `replace` and `asdict`, and type checkers take it for the standard one. Where a class asks for more than is
done here, the standard one makes it.
"""

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from types import FunctionType, MemberDescriptorType, SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(
        *, frozen: bool = False, slots: bool = False, kw_only: bool = False, order: bool = False
    ) -> Callable[[type], type]:
        def made(cls: type) -> type:
            if slots and not order and _is_plain(cls):
                return _made(cls, frozen=frozen, kw_only=kw_only)
            return dataclasses.dataclass(frozen=frozen, slots=slots, kw_only=kw_only, order=order)(cls)

        return made


# fmt: off
# By the number of fields. Each writes through its slots, past the __setattr__ that would refuse; that gives None, so all are written.
_INITS: tuple[Callable[..., Any], ...] = (
    lambda: lambda self: None,  # noqa: ARG005 - as all others
    lambda p: lambda self, a: p(self, a),
    lambda p, q: lambda self, a, b: p(self, a) or q(self, b),
    lambda p, q, r: lambda self, a, b, c: p(self, a) or q(self, b) or r(self, c),
    lambda p, q, r, s: lambda self, a, b, c, d: p(self, a) or q(self, b) or r(self, c) or s(self, d),
    lambda p, q, r, s, t: lambda self, a, b, c, d, e: p(self, a) or q(self, b) or r(self, c) or s(self, d) or t(self, e),
    lambda p, q, r, s, t, u: lambda self, a, b, c, d, e, f: p(self, a) or q(self, b) or r(self, c) or s(self, d) or t(self, e) or u(self, f),
    lambda p, q, r, s, t, u, v: lambda self, a, b, c, d, e, f, g: p(self, a) or q(self, b) or r(self, c) or s(self, d) or t(self, e) or u(self, f) or v(self, g),
    lambda p, q, r, s, t, u, v, w: lambda self, a, b, c, d, e, f, g, h: p(self, a) or q(self, b) or r(self, c) or s(self, d) or t(self, e) or u(self, f) or v(self, g) or w(self, h),
    lambda p, q, r, s, t, u, v, w, x: lambda self, a, b, c, d, e, f, g, h, i: p(self, a) or q(self, b) or r(self, c) or s(self, d) or t(self, e) or u(self, f) or v(self, g) or w(self, h) or x(self, i),
    lambda p, q, r, s, t, u, v, w, x, y: lambda self, a, b, c, d, e, f, g, h, i, j: p(self, a) or q(self, b) or r(self, c) or s(self, d) or t(self, e) or u(self, f) or v(self, g) or w(self, h) or x(self, i) or y(self, j),
    lambda p, q, r, s, t, u, v, w, x, y, z: lambda self, a, b, c, d, e, f, g, h, i, j, k: p(self, a) or q(self, b) or r(self, c) or s(self, d) or t(self, e) or u(self, f) or v(self, g) or w(self, h) or x(self, i) or y(self, j) or z(self, k),
)
# fmt: on
_MISSING: Any = dataclasses.MISSING
_PARAMS = {
    frozen: SimpleNamespace(init=True, repr=True, eq=True, order=False, unsafe_hash=False, frozen=frozen)
    for frozen in (True, False)
}
# Stands for what is made anew for each value.
_ANEW: Any = type("_Anew", (), {"__repr__": lambda self: "<factory>"})()  # noqa: ARG005 - a method


def _is_plain(cls: type) -> bool:
    """Whether it asks for nothing that is not done here."""
    own = cls.__dict__
    given = [own.get(name, _MISSING) for name in cls.__annotations__]
    return (
        len(given) < len(_INITS)
        and not hasattr(cls, "__post_init__")
        and not hasattr(cls, "__dataclass_fields__")
        and not any(name in own for name in ("__init__", "__eq__", "__hash__", "__repr__", "__slots__"))
        and not any(isinstance(item, dataclasses.Field) and _is_special(item) for item in given)
        and not any(_is_of_the_class(annotation) for annotation in cls.__annotations__.values())
    )


def _is_special(field: "dataclasses.Field[Any]") -> bool:
    return not field.init or field.hash is not None or field.kw_only is True


def _is_of_the_class(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return "Var" in annotation
    return (
        annotation is ClassVar
        or getattr(annotation, "__origin__", None) is ClassVar
        or (annotation is dataclasses.KW_ONLY or isinstance(annotation, dataclasses.InitVar))
    )


def _made(cls: type, *, frozen: bool, kw_only: bool) -> type:
    names = tuple(cls.__annotations__)
    body = dict(cls.__dict__)
    given = {name: body.pop(name) for name in names if name in body}
    body.pop("__dict__", None)
    body.pop("__weakref__", None)
    body |= _METHODS | (_FROZEN if frozen else _OPEN)
    compared = [
        name for name in names if not isinstance(item := given.get(name), dataclasses.Field) or item.compare
    ]
    body |= {
        "__slots__": names,
        "__dataclass_fields__": _Fields(given, kw_only),
        # The standard one asks a class that it extends.
        "__dataclass_params__": _PARAMS[frozen],
        "_compared": _getter(compared),
    }
    body["__qualname__"] = cls.__qualname__
    body["__match_args__"] = () if kw_only else names
    made = type(cls)(cls.__name__, cls.__bases__, body)
    made.__init__ = _init(made, names, given, kw_only=kw_only)  # type: ignore[misc]  # a class has one of its own
    return made


def _init(cls: type, names: tuple[str, ...], given: dict[str, Any], *, kw_only: bool) -> FunctionType:
    defaults = {}
    setters = []
    for name in names:
        slot: MemberDescriptorType = cls.__dict__[name]
        default, make = _default(given.get(name, _MISSING))
        if default.__class__.__hash__ is None:
            raise ValueError(
                f"mutable default {default!r} for field {name} is not allowed: use default_factory"
            )
        if make is not None:
            default = _ANEW
        if default is not _MISSING:
            defaults[name] = default
        elif defaults and not kw_only:
            raise TypeError(f"non-default argument {name!r} follows default argument")
        setters.append(slot.__set__ if make is None else _setter(slot.__set__, make))
    init: FunctionType = _INITS[len(names)](*setters)
    code = init.__code__.replace(
        co_varnames=("self", *names), co_name="__init__", co_qualname=f"{cls.__qualname__}.__init__"
    )
    init.__code__ = code.replace(co_argcount=1, co_kwonlyargcount=len(names)) if kw_only else code
    init.__name__, init.__qualname__, init.__module__ = "__init__", code.co_qualname, cls.__module__
    init.__annotations__ = {**cls.__annotations__, "return": None}
    if kw_only:
        init.__kwdefaults__ = defaults
    else:
        init.__defaults__ = tuple(defaults.values())
    return init


def _default(given: Any) -> tuple[Any, Callable[[], Any] | None]:
    if not isinstance(given, dataclasses.Field):
        return given, None
    make = given.default_factory
    return given.default, None if make is _MISSING else make  # type: ignore[return-value]  # it is no MISSING then


def _setter(slot: Callable[[Any, Any], None], make: Callable[[], Any]) -> Callable[[Any, Any], None]:
    return lambda self, value: slot(self, make() if value is _ANEW else value)


def _getter(names: list[str]) -> Callable[[Any], Any]:
    return attrgetter(*names) if names else staticmethod(_nothing)


def _nothing(_: Any) -> tuple[()]:
    return ()


class _Fields:
    """What `dataclasses` asks a class for, made when it does."""

    def __init__(self, given: dict[str, Any], kw_only: bool) -> None:
        self._given = given
        self._kw_only = kw_only

    def __get__(self, _: object, cls: type) -> "dict[str, dataclasses.Field[Any]]":
        fields = {}
        for name, annotation in cls.__annotations__.items():
            item = self._given.get(name, _MISSING)
            field: Any = item if isinstance(item, dataclasses.Field) else dataclasses.field(default=item)
            field.name, field.type, field.kw_only = name, annotation, self._kw_only
            # How `dataclasses` tells a field from a ClassVar.
            field._field_type = dataclasses._FIELD  # type: ignore[attr-defined]  # not in its stub
            fields[name] = field
        cls.__dataclass_fields__ = fields  # type: ignore[attr-defined]  # it is the standard one's name
        return fields


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    compared = self._compared
    return compared(self) == compared(other)


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _repr(self: Any) -> str:
    shown = [name for name, field in self.__dataclass_fields__.items() if field.repr]
    return f"{self.__class__.__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


def _refuse_set(_: Any, name: str, __: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(_: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__slots__]


def _setstate(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__slots__, state, strict=True):
        object.__setattr__(self, name, value)


_METHODS = {"__eq__": _eq, "__repr__": _repr, "__getstate__": _getstate, "__setstate__": _setstate}
_FROZEN = {"__hash__": _hash, "__setattr__": _refuse_set, "__delattr__": _refuse_delete}
_OPEN = {"__hash__": None}
