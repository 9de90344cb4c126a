"""The clinic's queries: what is free, what a key has booked, whose it is; two who want the same at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from threading import Barrier
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine

from core.ids import UserId, new_user_id
from core.store import clinic, clinic_bills
from tests.databases import engine_of, run

NOON = datetime(2031, 3, 4, 12, 0)  # noqa: DTZ001 - by the clock on the clinic's wall
MORNING = NOON.replace(hour=9)
TOMORROW = NOON.date() + timedelta(days=1)
AT_NINE = MORNING + timedelta(days=1)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = engine_of(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        yield connection


def patient(url: str) -> UserId:
    id_ = new_user_id()
    run(url, "INSERT INTO users (id) VALUES (%s)", str(id_))
    return id_


@pytest.fixture
def ada(database_url: str) -> UserId:
    return patient(database_url)


@pytest.fixture
def bob(database_url: str) -> UserId:
    return patient(database_url)


def booked(
    connection: Connection, who: UserId, at: datetime = AT_NINE, key: str | None = None, doctor_id: int = 1
) -> clinic.Appointment:
    found = clinic.book(connection, who, key or str(uuid4()), at, "a cough", doctor_id, now=NOON)
    assert found is not None
    return found


def test_free_times_are_the_opening_hours_that_are_still_to_come(connection: Connection) -> None:
    free = clinic.free(connection, NOON.date(), 1, now=NOON)
    assert [f"{at:%H:%M}" for _, at in free] == [
        "12:30", "13:00", "13:30", "14:00", "14:30", "15:00", "15:30",
    ]  # fmt: skip
    assert len(clinic.free(connection, TOMORROW, 1, now=NOON)) == 16
    assert clinic.free(connection, date(2031, 3, 3), now=NOON) == []


def test_a_database_is_ready_as_it_was_migrated(connection: Connection) -> None:
    """No clock of the test's: there are free times tomorrow, whatever day it is."""
    tomorrow = clinic.today(connection) + timedelta(days=1)
    assert {name for name, _ in clinic.free(connection, tomorrow)} == {
        doctor.name for doctor in clinic.doctors(connection)
    }


def test_what_is_booked_is_not_free_until_it_is_cancelled(connection: Connection, ada: UserId) -> None:
    first = booked(connection, ada)
    assert (first.number, first.doctor, first.starts_at, first.status) == (
        1,
        "Amara Okafor",
        AT_NINE,
        "booked",
    )
    assert AT_NINE not in [at for _, at in clinic.free(connection, TOMORROW, 1, now=NOON)]
    assert clinic.book(connection, ada, "other", AT_NINE, "again", 1, now=NOON) is None
    assert clinic.cancel(connection, ada, 1, now=NOON)
    assert booked(connection, ada).number == 2


@pytest.mark.parametrize(
    "at",
    [
        MORNING,  # it is past
        AT_NINE.replace(minute=10),  # it is not a half hour
        AT_NINE.replace(hour=7, minute=30),  # nobody is there yet
        AT_NINE.replace(hour=16),  # nobody is there any more
    ],
)
def test_what_is_no_time_of_the_clinic_cannot_be_booked(
    connection: Connection, ada: UserId, at: datetime
) -> None:
    assert clinic.book(connection, ada, "k", at, "a cough", 1, now=NOON) is None
    assert clinic.appointments(connection, ada) == []
    assert clinic_bills.invoices(connection, ada) == []


def test_who_names_no_doctor_gets_one_who_is_free(connection: Connection, ada: UserId) -> None:
    names = []
    for key in ("a", "b"):
        found = clinic.book(connection, ada, key, AT_NINE, "a cough", now=NOON)
        assert found is not None
        names.append(found.doctor)
    assert names == ["Amara Okafor", "Lena Lindqvist"]
    assert clinic.book(connection, ada, "c", AT_NINE, "a cough", now=NOON) is None


def test_the_same_key_gives_the_same_appointment(engine: Engine, database_url: str, ada: UserId) -> None:
    """As after a crash: the first run had committed, and the second finds its own time taken."""
    found = []
    for _ in range(2):
        with engine.begin() as connection:
            found.append(booked(connection, ada, key="k"))
    assert found[0] == found[1]
    assert run(database_url, "SELECT count(*) FROM clinic_appointments") == [(1,)]
    assert run(database_url, "SELECT count(*) FROM clinic_invoices") == [(1,)]


def test_another_patients_key_is_another_key(connection: Connection, ada: UserId, bob: UserId) -> None:
    booked(connection, ada, key="k")
    assert clinic.book(connection, bob, "k", AT_NINE, "a cough", 1, now=NOON) is None
    assert booked(connection, bob, AT_NINE + timedelta(hours=1), key="k").number == 1


def at_once(engine: Engine, *calls: tuple[UserId, str, datetime]) -> list[clinic.Appointment | None]:
    """Each books on a connection and thread of its own, all at the same moment."""
    ready = Barrier(len(calls), timeout=20)

    def book(call: tuple[UserId, str, datetime]) -> clinic.Appointment | None:
        who, key, at = call
        with engine.begin() as connection:
            clinic.today(connection)
            ready.wait()
            return clinic.book(connection, who, key, at, "a cough", 1, now=NOON)

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(book, calls))


def test_of_several_who_book_the_same_time_at_once_one_gets_it(engine: Engine, database_url: str) -> None:
    for hour in (9, 10, 11):
        found = at_once(engine, *[(patient(database_url), "k", AT_NINE.replace(hour=hour)) for _ in range(4)])
        assert len([one for one in found if one is not None]) == 1
    assert run(database_url, "SELECT count(*) FROM clinic_appointments") == [(3,)]


def test_a_call_that_runs_twice_at_once_books_once(engine: Engine, database_url: str, ada: UserId) -> None:
    found = at_once(engine, *[(ada, "k", AT_NINE)] * 4)
    assert [one and one.number for one in found] == [1] * 4
    assert run(database_url, "SELECT count(*) FROM clinic_appointments") == [(1,)]


def test_calls_of_one_patient_at_once_get_numbers_of_their_own(engine: Engine, ada: UserId) -> None:
    found = at_once(engine, *[(ada, f"k{hour}", AT_NINE.replace(hour=hour)) for hour in (9, 10, 11, 12)])
    assert sorted(one.number for one in found if one is not None) == [1, 2, 3, 4]


def test_nobody_sees_or_changes_what_is_anothers(connection: Connection, ada: UserId, bob: UserId) -> None:
    booked(connection, ada)
    assert clinic.appointments(connection, bob) == []
    assert clinic.appointment(connection, bob, 1) is None
    assert clinic.cancel(connection, bob, 1, now=NOON) is None
    assert clinic_bills.invoices(connection, bob) == []
    assert clinic_bills.pay(connection, bob, "k", 1, 40_00) is None
    assert [one.status for one in clinic.appointments(connection, ada, now=NOON)] == ["booked"]
    assert [one.status for one in clinic_bills.invoices(connection, ada)] == ["open"]


def test_what_is_over_cannot_be_cancelled(connection: Connection, ada: UserId) -> None:
    booked(connection, ada)
    later = AT_NINE + timedelta(hours=1)
    assert clinic.cancel(connection, ada, 1, now=later) is None
    assert clinic.appointments(connection, ada, now=later)[0].status == "over"


def test_an_invoice_is_paid_once_and_by_its_own_amount(connection: Connection, ada: UserId) -> None:
    booked(connection, ada)
    states = [
        (key, cents, found.status, found.paid_by)
        for key, cents in (("a", 39_99), ("b", 40_00), ("b", 40_00), ("c", 40_00))
        if (found := clinic_bills.pay(connection, ada, key, 1, cents))
    ]
    assert states == [
        ("a", 39_99, "open", None),
        ("b", 40_00, "paid", "b"),
        ("b", 40_00, "paid", "b"),
        ("c", 40_00, "paid", "b"),
    ]


def test_the_invoice_of_what_was_cancelled_is_void(connection: Connection, ada: UserId) -> None:
    booked(connection, ada)
    clinic.cancel(connection, ada, 1, now=NOON)
    found = clinic_bills.pay(connection, ada, "k", 1, 40_00)
    assert found is not None
    assert (found.status, found.paid_by) == ("void", None)


def test_what_is_sent_twice_is_there_twice(connection: Connection, ada: UserId) -> None:
    for _ in range(2):
        clinic.send(connection, ada, "patient", "Come \0 in \ud800.")
    assert (
        connection.exec_driver_sql("SELECT content FROM clinic_outbox").scalars().all() == ["Come  in ?."] * 2
    )


def test_all_of_a_patient_goes_with_the_user(engine: Engine, database_url: str, ada: UserId) -> None:
    with engine.begin() as connection:
        booked(connection, ada)
        clinic_bills.pay(connection, ada, "k", 1, 40_00)
        clinic.send(connection, ada, "patient", "Come in.")
    run(database_url, "DELETE FROM users")
    for table in ("appointments", "invoices", "payments", "outbox"):
        assert run(database_url, f"SELECT * FROM clinic_{table}") == []
