"""A state of any type that pydantic knows comes back as it was, and what does not fit is told without telling what it was."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, computed_field
from typing_extensions import TypedDict

from core.errors import SessionUnreadable, SessionUnwritable
from core.sessions.manager import SessionManager
from core.sessions.memory import MemoryStorage
from core.sessions.session import NewSession
from core.sessions.storage import Storage

SEVEN, EIGHT = UUID(int=7), UUID(int=8)


class Colour(Enum):
    RED = "red"


@dataclass
class Place:
    name: str
    colours: set[Colour] = field(default_factory=set)


@dataclass(frozen=True)
class Everything:
    at: datetime = datetime(2026, 11, 21, 9, 0, 0, 123456, UTC)
    day: date = date(2026, 11, 21)
    price: Decimal = Decimal("1.10")
    id: UUID = SEVEN
    pair: tuple[int, str] = (1, "a")
    raw: bytes = b"abc"
    places: dict[UUID, Place] = field(default_factory=lambda: {EIGHT: Place("x", {Colour.RED})})
    maybe: str | None = None


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    at: datetime = datetime(2026, 11, 21, tzinfo=UTC)
    named: str = Field(default="a", alias="camelCase")

    @computed_field  # type: ignore[prop-decorator]  # as pydantic has it
    @property
    def doubled(self) -> str:
        return self.named * 2


class Typed(TypedDict):
    n: int


def typed() -> Typed:
    return {"n": 0}


@pytest.mark.parametrize(
    ("new_state", "state"),
    [
        (Everything, Everything()),
        (Strict, Strict(camelCase="b")),
        (typed, {"n": 3}),
        (dict, {"n": [1, {"m": None}]}),
        (dict[str, int], {"n": 3}),
        (list, [1, "a"]),
        (lambda: 0, 7),
        (str, "a\ud800"),
    ],
)
def test_a_state_of_any_type_comes_back(new_state: Callable[[], Any], state: Any) -> None:
    managed = SessionManager(new_state, MemoryStorage(), namespace="any")
    made = managed.create(state=state)
    assert made.state == state
    found = managed.get(made.id)
    assert found is not None
    assert found.state == state
    assert type(found.state) is type(state)
    assert managed.update(made.id, lambda s: s).version == 1


def test_one_with_odd_strings_comes_back_whatever_else_is_in_it() -> None:
    managed = SessionManager(Everything, MemoryStorage(), namespace="any")
    odd = Everything(places={EIGHT: Place("\ud800", {Colour.RED})}, maybe="\udfff\0")
    found = managed.get(managed.create(state=odd).id)
    assert found is not None
    assert found.state == odd


def test_an_odd_string_in_a_key_alone_comes_back() -> None:
    managed = SessionManager(dict[str, Any], MemoryStorage(), namespace="any")
    found = managed.get(managed.create(state={"\ud800": 1, "x\ufffd": 2}).id)
    assert found is not None
    assert found.state == {"\ud800": 1, "x\ufffd": 2}


def older(storage: Storage, namespace: str, state: dict[str, Any]) -> Any:
    """A session that a release with another state has stored."""
    return SessionManager(dict[str, Any], storage, namespace=namespace).create(state=state)


def test_a_state_of_another_release_names_the_namespace_and_the_field_and_not_the_content() -> None:
    storage = MemoryStorage()
    made = older(storage, "desk", {"n": "hunter2"})
    managed = SessionManager(typed, storage, namespace="desk")
    asks: list[Callable[[], object]] = [
        lambda: managed.get(made.id),
        lambda: managed.update(made.id, lambda s: s),
    ]
    for ask in asks:
        with pytest.raises(SessionUnreadable) as caught:
            ask()
        assert (
            caught.value.detail == "A session of the namespace 'desk' does not fit this release at state.n."
        )
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_key_of_a_dict_is_content() -> None:
    storage = MemoryStorage()
    made = older(storage, "desk", {"hunter2": "x"})
    with pytest.raises(SessionUnreadable, match=r"at state\.$"):
        SessionManager(dict[str, int], storage, namespace="desk").get(made.id)


def test_a_field_that_is_new_has_its_default_and_one_that_is_gone_is_left_out() -> None:
    storage = MemoryStorage()
    made = older(storage, "desk", {"name": "a", "gone": 1})
    found = SessionManager(lambda: Place("b"), storage, namespace="desk").get(made.id)
    assert found is not None
    assert found.state == Place("a")


@pytest.mark.parametrize("garbage", ["", "{", "[]", "null", '{"state":', "\ud800"])
def test_garbage_in_the_place_of_a_session_is_told(garbage: str) -> None:
    storage = MemoryStorage()
    managed = SessionManager(Everything, storage, namespace="desk")
    made = managed.create()
    storage._kept["desk", made.id] = type(storage._kept["desk", made.id])(
        made.id, None, made.epoch, 1, garbage, 60, made.created_at, made.last_active_at
    )
    with pytest.raises(SessionUnreadable):
        managed.get(made.id)


class Elephant:
    pass


NAN = {"n": float("inf")}


def a_place() -> Place:
    return Place("x")


def anything() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(
    ("new_state", "wrong"),
    [
        (typed, {"n": "hunter2"}),
        (a_place, Place(5)),  # type: ignore[arg-type]  # as somebody may who has no type checker
        (anything, {"n": float("nan")}),
        (anything, {"n": Elephant()}),
        (Everything, None),
    ],
)
def test_what_could_not_be_read_again_is_not_written(new_state: Callable[[], Any], wrong: Any) -> None:
    managed = SessionManager(new_state, MemoryStorage(), namespace="desk")
    made = managed.create()
    writes: list[Callable[[], object]] = [
        lambda: managed.store_many(
            [NewSession(state=wrong)] if wrong is not None else [NewSession(metadata=NAN)]
        ),
        lambda: managed.update(made.id, lambda s: s.with_state(wrong)),
    ]
    for write in writes:
        with pytest.raises(SessionUnwritable) as caught:
            write()
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert managed.get(made.id) == made


def test_what_refers_to_itself_is_not_written() -> None:
    knot: dict[str, Any] = {}
    knot["self"] = knot
    with pytest.raises(SessionUnwritable):
        SessionManager(anything, MemoryStorage(), namespace="desk").create(state=knot)


@pytest.mark.parametrize("wrong", ["", "a:b", "x" * 51, "ü", "a b"])
def test_a_namespace_that_keys_could_not_hold_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError):
        SessionManager(dict, MemoryStorage(), namespace=wrong)
