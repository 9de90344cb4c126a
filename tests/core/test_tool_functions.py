"""Typed functions as tools: what the model is told of them, what it may send, and what comes back."""

import datetime
import logging
import threading
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from core.agents.agent import Agent
from core.agents.refusal import WrongDeclaration
from core.agents.roster import Roster
from core.agents.tool import Effect, Tool, ToolContext, tool
from core.house import House, build_house
from core.settings import Settings
from dev.demo_model import DemoModel, Reply
from tests.conversations import answer, arrival, refusals
from tests.databases import run


class Patient(BaseModel):
    name: str
    born: datetime.date


ran: list[tuple[Any, ...]] = []


@tool(effect=Effect.IDEMPOTENT, time_limit_s=20)
def book_slot(
    context: ToolContext,
    day: datetime.date,
    patient: Patient,
    length: Annotated[int, Field(ge=5)] = 30,
    kind: Literal["first", "again"] = "first",
) -> str:
    """Books a free slot.

    It can be called off later.

    Args:
        day: The day, which is not over.
        length: In minutes.
    """
    ran.append((context.left_s() > 0, day, patient, length, kind))
    return f"booked {day:%d %B}"


@tool(effect=Effect.READ, most_characters=10)
def speak(what: str) -> object:
    """Says something."""
    return {
        "long": "0123456789abc",
        "pair": "012345678\ud83d\ude00abc",
        "fits": "0123456789",
        "dict": {"a": "é"},
        "list": [1, 2, None],
        "number": 7,
        "nothing": None,
    }[what]


@tool(effect=Effect.READ)
def fail(how: str) -> str:
    """Fails."""
    if how == "key":
        raise KeyError("no such slot")
    raise ValueError("not valid either")


TOOLS = (book_slot, speak, fail)


@pytest.fixture
def house(settings: Settings, model: DemoModel) -> Iterator[House]:
    ran.clear()
    built = build_house(settings, Roster.of(Agent(key="manager", prompt="You are one.", tools=TOOLS)))
    yield built
    built.close()
    assert refusals(model) == []


def told(house: House, model: DemoModel, device: UUID, name: str, **given: Any) -> tuple[str, bool]:
    """What the model is told of the outcome of a call, and whether as an error."""
    model.replies.add(Reply([{"type": "tool_use", "name": name, "input": given}]))
    turn = answer(house, arrival(device))
    assert turn.status == "completed", turn.error
    (block,) = model.requests[-1].body["messages"][-1]["content"]
    return block["content"], block.get("is_error", False)


# ---- what the model is told of it


def test_the_docstring_and_the_types_are_what_the_model_is_told() -> None:
    declared = book_slot.declaration()
    schema = declared["input_schema"]
    assert (declared["name"], declared["description"]) == (
        "book_slot",
        "Books a free slot.\n\nIt can be called off later.",
    )
    assert sorted(schema["properties"]) == ["day", "kind", "length", "patient"]
    assert schema["properties"]["day"]["description"] == "The day, which is not over."
    assert schema["properties"]["length"]["minimum"] == 5
    assert sorted(schema["required"]) == ["day", "patient"]


def test_a_declaration_is_the_same_each_time_and_made_once() -> None:
    made: list[Any] = []
    threads = [threading.Thread(target=lambda: made.append(book_slot.declaration())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [book_slot.declaration()] * 8
    assert book_slot.typed is not None
    assert book_slot.typed._ready() is book_slot.typed._ready()


def test_a_name_and_a_description_of_its_own_go_before_those_of_the_function() -> None:
    @tool(effect=Effect.READ, name="look", description="Looks.")
    def _function(at: str) -> str:
        return at

    assert {**_function.declaration(), "input_schema": None} == {
        "name": "look",
        "description": "Looks.",
        "input_schema": None,
    }


def test_a_type_that_no_schema_can_be_made_of_is_named() -> None:
    @tool(effect=Effect.READ)
    def hold(lock: threading.Event) -> str:
        """Holds."""
        return str(lock)

    with pytest.raises(WrongDeclaration, match="the tool hold has a parameter that no schema can be made of"):
        hold.declaration()


# ---- what it may send


def test_arguments_come_in_the_types_of_the_function(house: House, model: DemoModel, device: UUID) -> None:
    patient = {"name": "Ada", "born": "1815-12-10"}
    said = told(house, model, device, "book_slot", day="2026-12-01", patient=patient, length="45")
    assert said == ("booked 01 December", False)
    day, born = datetime.date(2026, 12, 1), datetime.date(1815, 12, 10)
    assert ran == [(True, day, Patient(name="Ada", born=born), 45, "first")]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"day": "Sunday"}, "day: Input should be a valid date"),
        ({"length": 1}, "length: Input should be greater than or equal to 5"),
        ({"kind": "last"}, "kind: Input should be 'first' or 'again'"),
        ({"patient": {"name": "Ada"}}, "patient.born: Field required"),
        ({"patient": "Ada"}, "patient: Input should be a valid dictionary or instance of Patient"),
        ({"doctor": "Who"}, "doctor: Unexpected keyword argument"),
        ({"context": {}}, "context: Unexpected keyword argument"),
    ],
)
def test_what_does_not_fit_is_told_to_the_model_and_not_run(
    house: House, model: DemoModel, device: UUID, given: dict[str, Any], said: str
) -> None:
    fitting = {"day": "2026-12-01", "patient": {"name": "Ada", "born": "1815-12-10"}}
    content, is_error = told(house, model, device, "book_slot", **{**fitting, **given})
    assert content.startswith("The arguments do not fit, so the call was not run. ")
    assert said in content
    assert is_error
    assert not any(word in content for word in ("Traceback", "pydantic", "Sunday", "Who"))
    assert ran == []


def test_what_is_missing_is_named(house: House, model: DemoModel, device: UUID) -> None:
    content, _ = told(house, model, device, "book_slot")
    assert "day: Missing required argument; patient: Missing required argument" in content


# ---- what comes back


@pytest.mark.parametrize(
    ("what", "content"),
    [
        ("fits", "0123456789"),
        (
            "long",
            "0123456789\n\n(This result was cut: it has 13 characters, of which these are the first 10.)",
        ),
        ("pair", "012345678\n\n(This result was cut: it has 14 characters, of which these are the first 9.)"),
        ("dict", '{"a":"é"}'),
        ("list", "[1,2,null]"),
        ("number", "7"),
        ("nothing", "(The tool returned nothing.)"),
    ],
)
def test_a_result_is_a_text_of_limited_length(
    house: House, model: DemoModel, device: UUID, what: str, content: str
) -> None:
    assert told(house, model, device, "speak", what=what) == (content, False)


@pytest.mark.parametrize(("how", "kind"), [("key", "KeyError"), ("value", "ValueError")])
def test_an_exception_is_an_error_for_the_model_and_a_line_for_a_person(
    house: House, model: DemoModel, device: UUID, caplog: pytest.LogCaptureFixture, how: str, kind: str
) -> None:
    """Also one of the kind that is raised for arguments that do not fit."""
    content, is_error = told(house, model, device, "fail", how=how)
    assert (is_error, "unexpectedly" in content) == (True, True)
    assert not any(word in content for word in (kind, "slot", "valid", "Traceback"))
    (line,) = [record for record in caplog.records if "the tool" in record.message]
    (turn_id,) = run(house_url(house), "SELECT id FROM turns")[0]
    assert line.message == f"turn {turn_id}: the tool fail failed"
    assert line.exc_info is not None
    assert line.exc_info[0].__name__ == kind  # type: ignore[union-attr]


def house_url(house: House) -> str:
    assert house.settings.database_url is not None
    return house.settings.database_url.reveal().replace("+psycopg2", "")


# ---- whether a person is asked


def test_a_predicate_decides_and_one_that_fails_asks(caplog: pytest.LogCaptureFixture) -> None:
    def dear(needs_approval: Any) -> Tool:
        return tool(effect=Effect.ONCE, needs_approval=needs_approval, name="pay")(book_slot.typed._function)  # type: ignore[union-attr]

    assert [dear(yes).asks({}) for yes in (True, False)] == [True, False]
    assert [dear(lambda a: a["sum"] > 5).asks({"sum": sum_}) for sum_ in (5, 6)] == [False, True]
    with caplog.at_level(logging.ERROR):
        assert dear(lambda a: a["hunter2"]).asks({}) is True
    assert "the tool pay: whether it needs approval failed with KeyError" in caplog.text
    assert "hunter2" not in caplog.text
