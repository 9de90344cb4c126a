"""A connection of a tool's own: beside the pool, all or nothing, and over when the tool's time is."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pytest
from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from core.deadline import Deadline
from core.store.database import Database, sqlstate
from tests.conversations import until
from tests.databases import run
from tests.store.test_database import open_door

WRITE = text("INSERT INTO words VALUES ('one')")
HELD = (
    "SELECT 1 FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND datname = current_database()"
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    run(database_url, "CREATE TABLE words (word text UNIQUE)")
    door = open_door(database_url)
    yield door
    door.close()


def written(url: str) -> int:
    return len(run(url, "SELECT * FROM words"))


def test_it_is_there_while_the_pool_has_nothing_left(database: Database, database_url: str) -> None:
    """On Lambda the pool has one connection, which the heartbeat and the commits need while a tool runs."""
    with database._engine.connect(), database.connection(Deadline.after(10)) as connection:
        connection.execute(WRITE)
    assert written(database_url) == 1
    assert database.row(text("SELECT 1 AS one"), {}) == {"one": 1}


def test_two_at_once_are_two(database: Database) -> None:
    pid = text("SELECT pg_backend_pid()")
    with database.connection(Deadline.after(10)) as one, database.connection(Deadline.after(10)) as other:
        assert one.execute(pid).scalar() != other.execute(pid).scalar()


def test_an_exception_takes_back_what_was_written(database: Database, database_url: str) -> None:
    with suppress(RuntimeError), database.connection(Deadline.after(10)) as connection:
        connection.execute(WRITE)
        raise RuntimeError
    assert written(database_url) == 0


def use(database: Database, *statements: TextClause, deadline: Deadline | None = None) -> None:
    with database.connection(deadline or Deadline.after(10)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_the_drivers_errors_are_those_that_its_author_knows(database: Database) -> None:
    with pytest.raises(IntegrityError) as caught:
        use(database, WRITE, WRITE)
    assert sqlstate(caught.value) == "23505"


def test_a_statement_is_not_waited_for_beyond_the_deadline(database: Database) -> None:
    begun = time.monotonic()
    with pytest.raises(OperationalError):
        use(database, text("SELECT pg_sleep(30)"), deadline=Deadline.after(0.3))
    assert time.monotonic() - begun < 3
    assert database.row(text("SELECT 1 AS one"), {}) == {"one": 1}, "the thread has its patience back"


def test_a_statement_may_take_longer_than_it_may_take_to_connect(database: Database) -> None:
    assert database._connect_timeout_s == 1
    use(database, text("SELECT pg_sleep(1.3)"))


def test_one_that_ended_takes_no_time_from_another(database: Database) -> None:
    with database.connection(Deadline.after(10)) as outer:
        use(database, text("SELECT 1"), deadline=Deadline.after(1))
        outer.execute(text("SELECT pg_sleep(1.3)"))


def test_a_server_lets_go_of_what_nobody_commits(database: Database, database_url: str) -> None:
    """A function may be frozen inside the block: what it locked must not be locked until it wakes."""
    with (
        ThreadPoolExecutor(1) as another,
        suppress(TimeoutError, DBAPIError),
        database.connection(Deadline.after(1)) as connection,
    ):
        connection.execute(WRITE)
        assert another.submit(run, database_url, HELD).result()
        until(lambda: not another.submit(run, database_url, HELD).result())
    assert written(database_url) == 0


@dataclass(frozen=True, slots=True)
class Told(Deadline):
    """One that is over when it is told so."""

    over: threading.Event

    def left_s(self) -> float:
        return 0.0 if self.over.is_set() else 60.0


def test_nothing_is_committed_when_the_time_is_over(database: Database, database_url: str) -> None:
    told = Told(time.monotonic() + 60, threading.Event())

    def write_and_be_late() -> None:
        with database.connection(told) as connection:
            connection.execute(WRITE)
            told.over.set()

    with pytest.raises(TimeoutError):
        write_and_be_late()
    assert written(database_url) == 0


@pytest.mark.parametrize("said", [True, False])
def test_the_code_is_found_behind_other_errors(database: Database, said: bool) -> None:
    def wrap() -> None:
        try:
            use(database, text("SELECT 1 / 0"))
        except DBAPIError as error:
            if said:
                raise ValueError("hunter2") from error
            raise ValueError("hunter2")  # noqa: B904 - as an author may write it

    with pytest.raises(ValueError) as caught:
        wrap()
    assert sqlstate(caught.value) == "22012"


def test_an_error_that_has_nothing_to_do_with_the_database_has_no_code() -> None:
    assert sqlstate(ValueError()) is None
