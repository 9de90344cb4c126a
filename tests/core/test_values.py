"""Values answer as those of the standard library's dataclasses do."""

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import field
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from core import values

_T = TypeVar("_T")
Decorator = Callable[..., Any]


def _ours(cls: type, **asked: bool) -> Any:
    return values.dataclass(slots=True, **asked)(cls)


def _standard(cls: type, **asked: bool) -> Any:
    return dataclasses.dataclass(slots=True, **asked)(cls)


def _plain() -> type:
    class Plain:
        """A plain one."""

        one: int
        two: str = "two"
        three: list[int] = field(default_factory=list)
        four: "dict[str, int] | None" = field(default=None, compare=False, repr=False)

        @property
        def both(self) -> str:
            return f"{self.one}{self.two}"

    return Plain


@pytest.fixture(params=[True, False], ids=["frozen", "open"])
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return _ours(_plain(), frozen=request.param), _standard(_plain(), frozen=request.param)


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return type(error)


@pytest.mark.parametrize(
    "use",
    [
        lambda cls: repr(cls(1)),
        lambda cls: repr(cls(1, three=[2], four={"a": 1})),
        lambda cls: cls(1) == cls(1),
        lambda cls: cls(1) == cls(1, four={}),
        lambda cls: cls(1) == cls(2),
        lambda cls: cls(1) == (1, "two", []),
        lambda cls: cls(1).__eq__(1),
        lambda cls: hash(cls(1, three=())) == hash(cls(1, three=())),
        lambda cls: {cls(1, three=()): 1}[cls(1, three=())],
        lambda cls: hash(cls(1)),
        lambda cls: cls(1).three is cls(1).three,
        lambda cls: cls(),
        lambda cls: cls(1, 2, 3, 4, 5),
        lambda cls: cls(one=1, five=5),
        lambda cls: cls(1).both,
        lambda cls: setattr(cls(1), "one", 2),
        lambda cls: delattr(cls(1), "one"),
        lambda cls: dataclasses.asdict(cls(1)),
        lambda cls: dataclasses.astuple(cls(1, three=[2])),
        lambda cls: repr(dataclasses.replace(cls(1), one=5)),
        lambda cls: dataclasses.replace(cls(1), five=5),
        lambda cls: [
            (item.name, item.type, item.default, item.compare, item.repr, item.kw_only)
            for item in dataclasses.fields(cls)
        ],
        lambda cls: dataclasses.is_dataclass(cls),
        lambda cls: str(inspect.signature(cls)).replace("<factory>", "F"),
        lambda cls: cls.__match_args__,
        lambda cls: cls.__slots__,
        lambda cls: cls.__doc__,
        lambda cls: (cls.__name__, cls.__qualname__, cls.__module__),
        lambda cls: (cls.__init__.__name__, cls.__init__.__qualname__, cls.__init__.__annotations__),
        lambda cls: hasattr(cls(1), "__dict__"),
        lambda cls: repr(copy.copy(cls(1))),
        lambda cls: repr(copy.deepcopy(cls(1, three=[3]))),
    ],
)
def test_it_does_as_the_standard_one(pair: tuple[Any, Any], use: Callable[[Any], Any]) -> None:
    ours, standard = (_outcome(partial(use, cls)) for cls in pair)
    assert ours == standard


def test_what_is_no_field_cannot_be_set(pair: tuple[Any, Any]) -> None:
    """The standard one trips over itself here, with a TypeError that says something else."""
    with pytest.raises(AttributeError, match="five"):
        pair[0](1).five = 5


@pytest.mark.parametrize("count", range(14))
def test_of_every_length(count: int) -> None:
    """Those that are longer than what was compiled beforehand are made by the standard one."""
    names = [f"field_{number}" for number in range(count)]
    made = _ours(type("Long", (), {"__annotations__": dict.fromkeys(names, int)}), frozen=True)
    value = made(*range(count))
    assert [getattr(value, name) for name in names] == list(range(count))
    assert value == made(**{name: number for number, name in enumerate(names)})
    assert all(value != dataclasses.replace(value, **{name: -1}) for name in names)


def test_by_keyword_only() -> None:
    class Named:
        one: int = 1
        two: int

    ours, standard = _ours(Named, kw_only=True, frozen=True), _standard(Named, kw_only=True, frozen=True)
    assert repr(ours(two=2)) == repr(standard(two=2))
    assert str(inspect.signature(ours)) == str(inspect.signature(standard))
    with pytest.raises(TypeError):
        ours(2, 3)


def test_a_field_without_a_default_after_one_with_is_refused() -> None:
    class Wrong:
        one: int = 1
        two: int

    with pytest.raises(TypeError, match="non-default argument 'two' follows default argument"):
        _ours(Wrong)


def test_a_default_that_all_would_share_is_refused() -> None:
    class Shared:
        one: list[int] = []  # noqa: RUF012 - what is to be refused

    with pytest.raises(ValueError, match="mutable default"):
        _ours(Shared)


@pytest.mark.parametrize("frozen", [True, False])
def test_what_it_does_not_do_the_standard_one_does(frozen: bool) -> None:
    class Special:
        count: ClassVar[int] = 7
        one: int
        two: int = field(default=0, init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "two", self.one + 1)

    made = _ours(Special, frozen=frozen)
    assert (made(1).two, made.count, made.__slots__) == (2, 7, ("one", "two"))


@values.dataclass(frozen=True, slots=True)
class Packed(Generic[_T]):
    one: _T
    two: int = 2


def test_generic_ones_and_pickled_ones() -> None:
    value = Packed[str]("one")
    assert pickle.loads(pickle.dumps(value)) == value == Packed("one", 2)
    match value:
        case Packed(one, 2):
            assert one == "one"
        case _:
            pytest.fail("it does not match")


def test_the_standard_one_extends_one_of_ours() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Ours:
        left: int
        right: int = 2

    @dataclasses.dataclass(frozen=True, slots=True)
    class Theirs(Ours):
        more: int = 3

    assert Theirs(1) == Theirs(1, 2, 3) != Ours(1, 2)
    with pytest.raises(TypeError, match="cannot inherit"):

        @dataclasses.dataclass
        class Open(Ours):  # type: ignore[misc]  # that is the point
            pass
