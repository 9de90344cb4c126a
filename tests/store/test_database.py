"""The one door to Postgres: nobody waits there for ever, whatever the server does or does not do."""

import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import text

from core.deadline import Deadline
from core.errors import DatabaseUnavailable
from core.store.database import ConnectionDied, Database
from tests.databases import run

ONE = text("SELECT 1 AS one")
SLEEP = text("SELECT pg_sleep(30) IS NULL AS slept")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    door = open_door(database_url)
    yield door
    door.close()


def open_door(url: str, **given: Any) -> Database:
    return Database(
        url.replace("postgresql://", "postgresql+psycopg2://"),
        **{"pool_size": 1, "connect_timeout_s": 1, **given},
    )


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=20) as listener:
        yield f"postgresql://u:hunter2@127.0.0.1:{listener.getsockname()[1]}/x?sslmode=disable"


def took_s(call: Callable[[], object], error: type[Exception]) -> float:
    begun = time.monotonic()
    with pytest.raises(error):
        call()
    return time.monotonic() - begun


def test_a_server_that_never_answers_is_unavailable_within_the_connect_timeout(silent: str) -> None:
    door = open_door(silent)
    assert 0.9 < took_s(lambda: door.row(ONE, {}), DatabaseUnavailable) < 3
    door.close()


def test_a_deadline_shortens_the_connect_timeout(silent: str) -> None:
    door = open_door(silent, connect_timeout_s=20)
    hurried = door.by(Deadline.after(0.2))
    assert took_s(lambda: hurried.row(ONE, {}), DatabaseUnavailable) < 3
    assert took_s(lambda: hurried.rows(ONE, {}), DatabaseUnavailable) < 3
    door.close()


def test_a_statement_that_hangs_is_given_up_at_the_deadline_and_the_next_one_works(
    database: Database,
) -> None:
    assert database.row(ONE, {}) == {"one": 1}
    hurried = database.by(Deadline.after(0.3))
    assert took_s(lambda: hurried.row(SLEEP, {}), ConnectionDied) < 5
    assert database.row(ONE, {}) == {"one": 1}, "on a connection of its own"
    assert took_s(lambda: hurried.row(ONE, {}), DatabaseUnavailable) < 1, "its time is over"
    assert database.row(ONE, {}) == {"one": 1}


def test_a_statement_is_given_up_even_by_a_caller_without_a_deadline(database_url: str) -> None:
    door = open_door(database_url, statement_timeout_s=0.3)
    assert took_s(lambda: door.row(SLEEP, {}), ConnectionDied) < 5
    assert door.row(ONE, {}) == {"one": 1}
    door.close()


def test_one_callers_deadline_is_not_anothers(database: Database, database_url: str) -> None:
    """The wait is counted by thread: a hurried caller does not hurry the one beside it."""
    door = open_door(database_url, pool_size=2)
    slow: list[object] = []
    patient = threading.Thread(
        target=lambda: slow.append(door.row(text("SELECT pg_sleep(1) IS NULL AS slept"), {}))
    )
    patient.start()
    took_s(lambda: door.by(Deadline.after(0.1)).row(SLEEP, {}), ConnectionDied)
    patient.join(20)
    assert len(slow) == 1
    door.close()


def test_a_pool_that_is_used_up_is_unavailable_and_not_a_wait_without_end(
    database: Database, database_url: str
) -> None:
    busy = threading.Thread(target=lambda: suppressed(lambda: database.row(SLEEP, {})))
    busy.start()
    active = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(30)%' AND state = 'active'"
    deadline = Deadline.after(20)
    while not run(database_url, active):
        assert deadline.left_s()
    assert took_s(lambda: database.row(ONE, {}), DatabaseUnavailable) < 5
    run(database_url, f"SELECT pg_terminate_backend(pid) FROM ({active}) AS s")
    busy.join(20)


def suppressed(call: Callable[[], object]) -> None:
    with suppress(DatabaseUnavailable):
        call()


def test_a_server_that_ends_the_connection_in_the_middle_leaves_it_open_what_was_committed(
    database: Database, database_url: str
) -> None:
    died: list[Exception] = []

    def ask() -> None:
        try:
            database.row(SLEEP, {})
        except ConnectionDied as error:
            died.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    ours = "FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(30)%' AND state = 'active'"
    deadline = Deadline.after(20)
    while not run(database_url, f"SELECT pg_terminate_backend(pid) {ours}"):
        assert deadline.left_s()
    asking.join(20)
    assert len(died) == 1
    assert database.row(ONE, {}) == {"one": 1}


def test_no_error_carries_what_was_sent(database: Database) -> None:
    said = "hunter" + str(2)  # a traceback quotes the line that it is in
    with pytest.raises(Exception) as caught:
        database.row(text("SELECT CAST(:said AS int)"), {"said": said})
    shown = "".join(traceback.format_exception(caught.value))
    assert "22P02" in shown
    assert said not in shown
