"""Counting meets others: those who end what is counted at the moment, those who talk, each other; on real row locks."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import TextClause, text

from core.deadline import Deadline
from core.house import House, build_house
from core.ids import DeviceId, SessionId
from core.settings import Settings
from core.store import counting, endings, expired, figures, left
from core.store.daily import YOUNG_S
from core.store.database import ConnectionDied
from tests.agents import Workshop
from tests.cleaning import clean
from tests.conversations import answer, arrival, held, idle, losing_replies, until, wait_for_locks
from tests.databases import run

BOOK = "SELECT name, label, sum(value)::int FROM daily_stats GROUP BY 1, 2 HAVING sum(value) <> 0"
LATER = timedelta(minutes=10)
OF = counting._OF


@pytest.fixture
def house(settings: Settings, shop: Workshop) -> Iterator[House]:
    built = build_house(settings, shop.roster())
    yield built
    built.close()


@pytest.fixture
def session(house: House, device: UUID) -> SessionId:
    """Two turns, and two locks one after the other."""
    for agent in ("manager", "manager"):
        found = answer(house, arrival(device)).session_id
        house.sessions.set_session_lock(DeviceId(device), agent)
    assert found is not None
    return found


def later() -> datetime:
    return datetime.now(UTC) + LATER


def book(url: str) -> dict[tuple[str, str], int]:
    return {(name, label.partition("/")[0]): value for name, label, value in run(url, BOOK)}


def check_once(url: str) -> None:
    """Each of them stands in the book once, whoever counted it."""
    found = book(url)
    assert found["turns", "completed"] == 2
    assert found["history", "new"] == found["history", "kept"] == 1
    assert (found["sessions", "begun"], found["sessions", "ended"]) == (1, 1)
    assert (found["locks.renewed", "manager"], found["locks.ended", "manager"]) == (1, 1)
    assert sum(value for (name, _), value in found.items() if name == "latency") == 2


class Killed(Exception):
    pass


@contextmanager
def in_hand(house: House, statement: TextClause, dies: bool = False) -> Iterator[None]:
    """The statement was made, and is not committed before the end; or never is."""
    with suppress(Killed), house.database.connection(Deadline.after(30)) as connection:
        connection.execute(statement, {"limit": 100, "now": later()})
        yield
        if dies:
            raise Killed


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("kind", counting.KINDS)
def test_what_is_counted_while_its_conversation_ends_is_counted_once(
    house: House, session: SessionId, database_url: str, kind: str, dies: bool
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with in_hand(house, OF[kind], dies):
            ending = pool.submit(endings.end_session, house.database, session)
            wait_for_locks(database_url, 1)
        assert ending.result(20)
    check_once(database_url)


@pytest.mark.parametrize("kind", counting.KINDS)
def test_what_is_being_ended_is_left_to_those_who_end_it(
    house: House, session: SessionId, database_url: str, kind: str
) -> None:
    ending = endings._END_SESSION
    with house.database.connection(Deadline.after(30)) as connection:
        connection.execute(ending, {"session_id": session, "now": None})
        assert counting.count(house.database, kind, 100, now=later()) == 0
    assert counting.count(house.database, kind, 100, now=later()) == 0
    check_once(database_url)


@pytest.mark.parametrize("dies", [False, True])
def test_two_that_count_at_once_count_different_ones(
    house: House, session: SessionId, database_url: str, dies: bool
) -> None:
    for kind in counting.KINDS:
        with in_hand(house, OF[kind], dies):
            assert counting.count(house.database, kind, 100, now=later()) == 0
        assert bool(counting.count(house.database, kind, 100, now=later())) is dies
    endings.end_session(house.database, session)
    check_once(database_url)


def test_a_count_whose_reply_is_lost_is_one(
    house: House, session: SessionId, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in counting.KINDS:
        losing_replies(monkeypatch, OF[kind])
        with pytest.raises(ConnectionDied):
            counting.count(house.database, kind, 100, now=later())
        assert counting.count(house.database, kind, 100, now=later()) == 0
    endings.end_session(house.database, session)
    check_once(database_url)


def test_whoever_talks_waits_for_one_batch_and_finds_nothing_changed(
    house: House, session: SessionId, device: UUID, database_url: str
) -> None:
    before = run(database_url, "SELECT version FROM conversation_states")
    with ThreadPoolExecutor(1) as pool:
        with in_hand(house, OF["counted_sessions"]):
            talking = pool.submit(held, house, arrival(device))
            wait_for_locks(database_url, 1)
        holding = talking.result(20)
    assert [(holding.grant.hold.epoch,)] == run(database_url, "SELECT lease_epoch FROM conversation_states")
    assert run(database_url, "SELECT version - 1 FROM conversation_states") == before, "it was claimed once"


def test_one_that_is_held_is_counted_later(house: House, device: UUID, database_url: str) -> None:
    held(house, arrival(device))
    given = {"now": datetime.now(UTC) + timedelta(seconds=20)}
    run(database_url, "UPDATE conversation_states SET created_at = created_at - interval '1 hour'")
    assert counting.count(house.database, "counted_sessions", 9, **given) == 0
    run(database_url, "UPDATE conversation_states SET lease_expires_at = NULL")
    assert counting.count(house.database, "counted_sessions", 9, **given) == 1


def test_the_clean_up_counts_and_tells_what_is_left(house: House, device: UUID, database_url: str) -> None:
    answer(house, arrival(device))
    house.sessions.set_session_lock(DeviceId(device), "manager")
    run(database_url, "UPDATE turns SET created_at = created_at - interval '1 hour'")
    run(database_url, "UPDATE conversation_states SET created_at = created_at - interval '1 hour'")
    there = [left.count(house.database, kind, key_ttl_s=9, partial_ttl_s=9) for kind in counting.KINDS]
    assert there == [1, 1, 1]
    cleaned = house.cleaning.clean(Deadline.after(20))
    assert [cleaned.done[kind] for kind in counting.KINDS] == there
    assert cleaned.is_over
    there = [left.count(house.database, kind, key_ttl_s=9, partial_ttl_s=9) for kind in counting.KINDS]
    assert there == [0, 0, 0]
    assert clean(house.database) == {}


def test_young_turns_stay_where_it_is_seen_who_is_active(house: House, device: UUID) -> None:
    answer(house, arrival(device))
    assert counting.count(house.database, "counted_turns", 9) == 0
    (one,) = figures.standing(house.database, active_s=YOUNG_S)
    assert one.active == 1


def test_one_that_was_archived_in_the_meantime_is_counted_once(
    house: House, session: SessionId, database_url: str
) -> None:
    """Its archive says that nothing was counted; and then something was."""
    idle(database_url)
    with ThreadPoolExecutor(1) as pool:
        with in_hand(house, OF["counted_turns"]):
            going = pool.submit(expired.clean_up, house.database, 9)
            wait_for_locks(database_url, 1)
        assert len(going.result(20)) == 1
    assert book(database_url)["turns", "completed"] == 2


def test_updates_of_a_conversation_stay_in_place(house: House, device: UUID, database_url: str) -> None:
    """A turn's claim moves the time at which it ends, which an index holds; its end changes nothing that one does. That it was counted is
    one more version of the row in its life.
    """
    answer(house, arrival(device))
    seen = "SELECT n_tup_upd::int, n_tup_hot_upd::int FROM pg_stat_user_tables WHERE relname = 'conversation_states'"

    def updates(at_least: int) -> tuple[int, int]:
        def there() -> bool:
            house.database.rows(text("SELECT 1 FROM pg_stat_force_next_flush()"), {})
            return bool(run(database_url, seen)[0][0] >= at_least)

        until(there)
        all_, hot = run(database_url, seen)[0]
        return all_, hot

    before = updates(1)
    for _ in range(5):
        answer(house, arrival(device))
    after = updates(before[0] + 10)
    assert (after[0] - before[0], after[1] - before[1]) == (10, 5)
