"""The shipped example as a newcomer tries it: the demo model chooses the agents and the tools by what is said."""

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest

from core.house import House, build_house
from core.ids import DeviceId
from core.settings import Settings
from core.shown import Turn
from core.store import approvals
from dev.demo_model import DemoModel
from tests.conversations import answer, arrival, refusals
from tests.databases import run

Say = Callable[[str], Turn]

ASK = "I would like an appointment with a doctor tomorrow"
BOOK = "Book tomorrow at 9:30 with doctor Okafor"
BOOK_DEAR = "Book tomorrow at 9:30 with doctor Lindqvist"


@pytest.fixture
def house(settings: Settings, model: DemoModel) -> Iterator[House]:
    built = build_house(settings)
    yield built
    built.close()
    assert refusals(model) == []


@pytest.fixture
def say(house: House, device: UUID) -> Say:
    return lambda words: answer(house, arrival(device, words))


def called(turn: Turn) -> list[str]:
    return [call["name"] for call in turn.tool_calls]


def decided(house: House, device: UUID, turn: Turn, *, yes: bool) -> Turn:
    (pending,) = approvals.pending(house.database, DeviceId(device))
    house.turns.decide(DeviceId(device), pending.id, yes=yes)
    return house.turns.look(DeviceId(device), turn.id, 25)


def test_whoever_only_says_hello_stays_at_the_front_desk(say: Say) -> None:
    for words in ("Hello, my name is Ada.", "What is my name?", "Tell me a joke"):
        turn = say(words)
        assert (turn.agent, called(turn)) == ("manager", [])
    assert "Ada" in (turn.reply or "")


def test_who_wants_an_appointment_reaches_scheduling_in_the_same_turn(say: Say, model: DemoModel) -> None:
    turn = say(ASK)
    assert (turn.status, turn.agent, called(turn)) == (
        "completed",
        "scheduling",
        ["hand_over", "find_free_slots"],
    )
    assert "Free on " in (turn.reply or "")
    asked = len(model.requests)
    booked = say(BOOK)
    assert (booked.agent, called(booked)) == ("scheduling", ["book_slot"])
    assert "Booked. Appointment 1 with Dr. Amara Okafor" in (booked.reply or "")
    assert len(model.requests) == asked + 2
    assert called(say("Which appointments do I have?")) == ["list_appointments"]


def test_a_small_invoice_is_paid_by_billing_at_once(say: Say, database_url: str) -> None:
    say(ASK)
    say(BOOK)
    turn = say("Please pay invoice 1, it is 40 dollars")
    assert (turn.status, turn.agent, called(turn)) == ("completed", "billing", ["hand_over", "pay_invoice"])
    assert run(database_url, "SELECT amount_cents FROM clinic_payments") == [(4000,)]
    assert called(say("And list my appointments")) == ["hand_over", "list_appointments"]


@pytest.mark.parametrize("yes", [True, False])
def test_a_large_invoice_waits_for_a_yes(
    house: House, say: Say, device: UUID, database_url: str, yes: bool
) -> None:
    say(ASK)
    say(BOOK_DEAR)
    waiting = say("Please pay invoice 1 of 120")
    assert waiting.status == "waiting"
    assert run(database_url, "SELECT * FROM clinic_payments") == []
    turn = decided(house, device, waiting, yes=yes)
    assert (turn.status, turn.agent) == ("completed", "billing")
    assert run(database_url, "SELECT amount_cents FROM clinic_payments") == ([(12_000,)] if yes else [])


def test_a_reminder_is_sent_and_an_appointment_cancelled(
    house: House, say: Say, device: UUID, database_url: str
) -> None:
    say(ASK)
    say(BOOK)
    assert called(say("Send me a reminder for appointment 1")) == ["send_reminder"]
    assert run(database_url, "SELECT recipient FROM clinic_outbox") == [("patient",)]
    cancelled = decided(house, device, say("Cancel appointment 1"), yes=True)
    assert called(cancelled) == ["cancel_appointment"]
    assert run(database_url, "SELECT cancelled_at IS NULL FROM clinic_appointments") == [(False,)]


def test_a_refund_waits_for_a_yes(house: House, say: Say, device: UUID, database_url: str) -> None:
    for words in (ASK, BOOK, "Please pay invoice 1, it is 40 dollars"):
        say(words)
    waiting = say("I want a refund of invoice 1")
    assert waiting.status == "waiting"
    assert decided(house, device, waiting, yes=True).status == "completed"
    assert run(database_url, "SELECT recipient FROM clinic_outbox") == [("bookkeeping",)]
