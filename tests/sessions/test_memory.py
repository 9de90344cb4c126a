"""Memory is bounded, and says so rather than forget what is alive."""

from datetime import timedelta
from uuid import uuid4

import pytest

from core.errors import StorageUnavailable
from core.figures import Figures
from core.house import build_house
from core.ids import UserId
from core.sessions.manager import SessionManager
from core.sessions.memory import MemoryStorage
from core.settings import read_settings
from tests.sessions.rigs import MovedClock
from tests.sessions.writer import one_more


def test_past_so_many_that_are_alive_it_takes_no_more() -> None:
    clock = MovedClock()
    managed = SessionManager(dict[str, int], MemoryStorage(clock, most_sessions=5), namespace="m")
    made = [managed.create(state={}, ttl_s=100) for _ in range(5)]
    with pytest.raises(StorageUnavailable, match="as many sessions as it may"):
        managed.create(state={})
    assert managed.create(made[0].id) == made[0]
    clock.ahead += timedelta(seconds=100)
    assert managed.create(state={}).version == 1
    assert managed.health().sessions == 1


def test_what_nobody_asks_for_any_more_does_not_stay() -> None:
    clock = MovedClock()
    storage = MemoryStorage(clock)
    managed = SessionManager(dict[str, int], storage, namespace="m")
    for _ in range(20):
        for _ in range(500):
            managed.create(user_id=UserId(uuid4()), state={}, ttl_s=10)
        clock.ahead += timedelta(seconds=10)
    assert len(storage._kept) <= 1_500
    assert len(storage._of) <= 1_500


def test_what_was_done_is_counted_and_names_nobody() -> None:
    figures = Figures()
    managed = SessionManager(
        dict[str, int], MemoryStorage(clock := MovedClock()), namespace="m", figures=figures
    )
    made = managed.create(state={"n": 0}, ttl_s=10)
    managed.create(made.id)
    managed.update(made.id, one_more)
    managed.delete(made.id)
    managed.delete(made.id)
    managed.create(state={}, ttl_s=10)
    clock.ahead += timedelta(seconds=10)
    managed.cleanup_expired()
    assert figures.snapshot() == {
        "sessions.created": 2,
        "sessions.updates": 1,
        "sessions.deleted": 1,
        "sessions.expired": 1,
    }


def test_a_manager_of_a_house_that_is_closed_takes_nothing_from_the_others() -> None:
    house = build_house(read_settings({}))
    one = house.session_manager(dict[str, int], namespace="one")
    other = house.session_manager(dict[str, int], namespace="other")
    made = other.create()
    one.close()
    assert other.get(made.id) == made
    house.close()


def test_a_time_to_live_of_nothing_is_refused_and_not_taken_for_the_default() -> None:
    house = build_house(read_settings({}))
    with pytest.raises(ValueError, match="a TTL of 0"):
        house.session_manager(dict[str, int], namespace="m", ttl_s=0)
    house.close()
