"""The shipped example: its tools as the model calls them, and whole turns in which a function dies or a person is asked."""

import datetime
import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest

from core import toolwork
from core.agents.clinic import calendar
from core.agents.clinic.billing import BILLING
from core.agents.clinic.manager import MANAGER
from core.agents.clinic.scheduling import SCHEDULING
from core.agents.roster import ROSTER, Roster
from core.agents.tool import Effect, ToolContext, ToolFailed
from core.deadline import Deadline
from core.house import House, build_house
from core.ids import UserId, new_session_id, new_turn_id, new_user_id
from core.settings import Settings
from dev.demo_model import DemoModel, Reply
from tests.conversations import answer, arrival, expire, held, refusals, taken
from tests.databases import run

Arguments = Mapping[str, Any]
TOMORROW_AT_NINE = {"day": "tomorrow", "time": "9:00", "reason": "a cough", "doctor": "Okafor"}


@pytest.fixture
def house(settings: Settings, model: DemoModel) -> Iterator[House]:
    """Whoever is scripted here speaks as scheduling, without being handed the conversation first."""
    built = build_house(settings, Roster.of(SCHEDULING, MANAGER, BILLING))
    yield built
    built.close()
    assert refusals(model) == []


class Patient:
    """Whose tools are called as a turn calls them."""

    def __init__(self, house: House, url: str) -> None:
        self.id: UserId = new_user_id()
        self._database = house.database
        run(url, "INSERT INTO users (id) VALUES (%s)", str(self.id))

    def call(self, name: str, arguments: Arguments | None = None, key: str | None = None) -> str:
        deadline = Deadline.after(20)
        context = ToolContext(
            session_id=new_session_id(),
            turn_id=new_turn_id(),
            user_id=self.id,
            idempotency_key=key or str(uuid4()),
            deadline=deadline,
            connect=lambda: self._database.connection(deadline),
        )
        tool = SCHEDULING.tool(name) or BILLING.tool(name)
        assert tool is not None
        said = tool.run(context, arguments or {})
        assert isinstance(said, str)
        return said


@pytest.fixture
def ada(house: House, database_url: str) -> Patient:
    return Patient(house, database_url)


@pytest.fixture
def bob(house: House, database_url: str) -> Patient:
    return Patient(house, database_url)


def test_the_example_is_declared_without_a_fault() -> None:
    assert ROSTER.problems() == []


def test_the_example_has_a_tool_of_each_effect_and_of_each_kind_of_approval() -> None:
    tools = {tool.name: tool for tool in (*SCHEDULING.tools, *BILLING.tools)}
    assert {name: (tool.effect, callable(tool.needs_approval) or tool.needs_approval) for name, tool in tools.items()} == {
        "find_free_slots": (Effect.READ, False),
        "list_appointments": (Effect.READ, False),
        "book_slot": (Effect.IDEMPOTENT, False),
        "cancel_appointment": (Effect.IDEMPOTENT, True),
        "send_reminder": (Effect.ONCE, False),
        "list_invoices": (Effect.READ, False),
        "pay_invoice": (Effect.IDEMPOTENT, True),
        "request_refund": (Effect.ONCE, True),
    }  # fmt: skip


@pytest.mark.parametrize("agent", [MANAGER, SCHEDULING, BILLING], ids=lambda agent: agent.key)
def test_what_the_model_is_told_of_an_agent_has_no_clock_in_it(agent: Any) -> None:
    """Else its prefix would be another one every day, and be paid for again."""
    told = agent.prompt + json.dumps([tool.declaration() for tool in agent.tools])
    assert str(datetime.datetime.now(datetime.UTC).year) not in told


def test_a_patient_finds_books_and_cancels(ada: Patient) -> None:
    free = ada.call("find_free_slots", {"day": "tomorrow"})
    assert free.startswith("Today is ")
    assert "Dr. Amara Okafor (general practice, $40.00): 08:00, 08:30, 09:00," in free
    assert "Dr. Lena Lindqvist (skin, $120.00): 09:00" in free
    assert ada.call("book_slot", TOMORROW_AT_NINE).startswith("Booked. Appointment 1 with Dr. Amara Okafor")
    assert "08:30, 09:30" in ada.call("find_free_slots", {"day": "tomorrow", "doctor": "Dr. Okafor"})
    assert "Appointment 1" in ada.call("list_appointments")
    assert "is cancelled" in ada.call("cancel_appointment", {"number": 1})
    assert "09:00" in ada.call("find_free_slots", {"day": "tomorrow", "doctor": "amara"})
    assert "is void" in ada.call("list_invoices")


def test_the_same_key_books_once(ada: Patient) -> None:
    first = ada.call("book_slot", TOMORROW_AT_NINE, "k")
    assert ada.call("book_slot", TOMORROW_AT_NINE, "k") == first


def test_a_time_that_is_taken_is_an_answer_in_words(ada: Patient, bob: Patient) -> None:
    ada.call("book_slot", TOMORROW_AT_NINE)
    with pytest.raises(ToolFailed, match="at 09:00 is not free, so nothing was booked"):
        bob.call("book_slot", TOMORROW_AT_NINE)
    assert bob.call("list_appointments").endswith("There are no appointments.")


def test_no_patient_reaches_what_is_anothers(ada: Patient, bob: Patient) -> None:
    ada.call("book_slot", TOMORROW_AT_NINE)
    ada.call("pay_invoice", {"number": 1, "amount": 40})
    assert "There are no appointments." in bob.call("list_appointments")
    assert bob.call("list_invoices") == "There are no invoices."
    for name, arguments in (
        ("cancel_appointment", {"number": 1}),
        ("send_reminder", {"number": 1}),
        ("pay_invoice", {"number": 1, "amount": 40}),
        ("request_refund", {"number": 1, "reason": "I want it"}),
    ):
        with pytest.raises(ToolFailed, match=r"There is no (appointment|invoice) 1"):
            bob.call(name, arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("find_free_slots", {"day": "the other day"}, "'the other day' is no day"),
        ("find_free_slots", {"day": "1999-12-31"}, "is past"),
        ("find_free_slots", {"day": "tomorrow", "doctor": "Who"}, "There is no doctor 'Who' here. There are: Dr. Amara"),
        ("book_slot", {**TOMORROW_AT_NINE, "time": "25:00"}, "is no time of day"),
        ("book_slot", {**TOMORROW_AT_NINE, "time": "23:00"}, "is not free"),
        ("cancel_appointment", {"number": 10**30}, "There is no appointment"),
        ("send_reminder", {"number": 7}, "nothing was sent"),
        ("pay_invoice", {"number": 1, "amount": -5}, "no amount to be paid"),
        ("pay_invoice", {"number": 1, "amount": float("nan")}, "no amount to be paid"),
        ("pay_invoice", {"number": 7, "amount": 40}, "There is no invoice 7"),
        ("request_refund", {"number": 7, "reason": "x"}, "There is no invoice 7"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_in_words(
    ada: Patient, name: str, arguments: Arguments, told: str
) -> None:
    with pytest.raises(ToolFailed, match=told):
        ada.call(name, arguments)


def test_an_invoice_is_paid_once_and_may_be_asked_back(ada: Patient, database_url: str) -> None:
    ada.call("book_slot", TOMORROW_AT_NINE)
    with pytest.raises(ToolFailed, match=r"Invoice 1 is over \$40.00, so nothing was paid"):
        ada.call("pay_invoice", {"number": 1, "amount": 39})
    with pytest.raises(ToolFailed, match="no invoice 1 that is paid"):
        ada.call("request_refund", {"number": 1, "reason": "too dear"})
    paid = ada.call("pay_invoice", {"number": 1, "amount": 40}, "k")
    assert "is paid" in paid
    assert ada.call("pay_invoice", {"number": 1, "amount": 40}, "k") == paid
    with pytest.raises(ToolFailed, match="Nothing was paid now"):
        ada.call("pay_invoice", {"number": 1, "amount": 40})
    ada.call("request_refund", {"number": 1, "reason": "too dear"})
    assert run(database_url, "SELECT recipient, content FROM clinic_outbox") == [
        ("bookkeeping", "Refund of $40.00 for invoice 1: too dear")
    ]


def test_a_reminder_is_sent_as_often_as_it_is_called_for(ada: Patient, database_url: str) -> None:
    """Which is why it is declared as `once`."""
    ada.call("book_slot", TOMORROW_AT_NINE)
    for _ in range(2):
        ada.call("send_reminder", {"number": 1}, "k")
    assert run(database_url, "SELECT recipient, count(*) FROM clinic_outbox GROUP BY 1") == [("patient", 2)]


@pytest.mark.parametrize(
    ("arguments", "asks"),
    [
        ({"number": 1, "amount": 40}, False),
        ({"number": 1, "amount": 50.0}, False),
        ({"number": 1, "amount": 50.01}, True),
        ({"number": 1, "amount": -1}, True),
        ({"number": 1, "amount": float("nan")}, True),
        ({"number": 1, "amount": "4"}, True),
        ({"number": 1}, True),
    ],
)
def test_a_person_is_asked_before_a_large_amount_is_paid(arguments: Arguments, asks: bool) -> None:
    tool = BILLING.tool("pay_invoice")
    assert tool is not None
    assert tool.asks(arguments) is asks


# ---- whole turns


def scripted(name: str, arguments: Arguments) -> Reply:
    return Reply([{"type": "tool_use", "name": name, "input": dict(arguments)}])


def test_a_booking_is_made_once_though_the_function_died_behind_it(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    """It had committed the appointment, and died before it could tell anybody."""
    model.replies.add(scripted("book_slot", TOMORROW_AT_NINE))
    holding = held(house, arrival(device, "Book it", "k"))
    agent = house.turns.roster.manager
    house.turns.story._step(holding, agent, house.turns._inline(Deadline.after(20)))
    expire(database_url)
    holding = taken(house, holding.hold.session_id)
    calls = holding.conversation.last.tool_calls
    toolwork._run(holding, agent, calls, Deadline.after(20), keep=False)
    assert run(database_url, "SELECT number FROM clinic_appointments") == [(1,)]
    expire(database_url)
    turn = answer(house, arrival(device, "Book it", "k"))
    assert [(call["name"], call["status"]) for call in turn.tool_calls] == [("book_slot", "done")]
    assert run(database_url, "SELECT number FROM clinic_appointments") == [(1,)]
    (result,) = model.requests[-1].body["messages"][-1]["content"]
    assert result["content"].startswith("Booked. Appointment 1")


def test_a_cancellation_waits_for_a_yes(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    model.replies.add(scripted("book_slot", TOMORROW_AT_NINE))
    assert answer(house, arrival(device, "Book it")).status == "completed"
    model.replies.add(scripted("cancel_appointment", {"number": 1}))
    assert answer(house, arrival(device, "Cancel it")).status == "waiting"
    assert run(database_url, "SELECT cancelled_at FROM clinic_appointments") == [(None,)]


# ---- days and times as people write them

SATURDAY = datetime.date(2031, 3, 1)


@pytest.mark.parametrize(
    ("said", "day"),
    [
        ("today", "2031-03-01"),
        (" Tomorrow ", "2031-03-02"),
        ("Sunday", "2031-03-02"),
        ("next monday", "2031-03-03"),
        ("saturday", "2031-03-08"),
        ("2031-12-24", "2031-12-24"),
    ],
)
def test_a_day_is_understood(said: str, day: str) -> None:
    assert calendar.day_of(said, SATURDAY).isoformat() == day


@pytest.mark.parametrize("said", ["2031-02-28", "2032-03-02", "someday", "2031-02-30", ""])
def test_a_day_that_cannot_be_is_refused(said: str) -> None:
    with pytest.raises(ToolFailed, match="Today is Saturday 2031-03-01"):
        calendar.day_of(said, SATURDAY)


@pytest.mark.parametrize(
    ("said", "at"),
    [
        ("9:30", "09:30"),
        ("14:30", "14:30"),
        ("9", "09:00"),
        ("2 pm", "14:00"),
        ("2:30 p.m.", "14:30"),
        ("12 am", "00:00"),
        ("12pm", "12:00"),
        ("noon", "12:00"),
        ("14:30:00", "14:30"),
    ],
)
def test_a_time_is_understood(said: str, at: str) -> None:
    assert f"{calendar.time_of(said):%H:%M}" == at


@pytest.mark.parametrize("said", ["24:00", "9:60", "soon", "", "9:3"])
def test_a_time_that_cannot_be_is_refused(said: str) -> None:
    with pytest.raises(ToolFailed, match="no time of day"):
        calendar.time_of(said)
