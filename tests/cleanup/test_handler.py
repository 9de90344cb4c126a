"""The clean-up's function, as the scheduler calls it."""

import importlib
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from core.access import Caller
from core.erasing import Erasing
from core.errors import ArchiveUnavailable, DatabaseUnavailable
from core.house import House, build_house
from core.ids import DeviceId, SessionId
from core.settings import Settings
from core.store import erasures, locks
from functions import metrics
from tests.agents import Workshop
from tests.bells import Bell
from tests.conversations import answer, arrival, conversations, dead, idle, statuses
from tests.databases import run


class Context:
    """Lambda's, as far as it is asked."""

    def __init__(self, left_s: float = 120) -> None:
        self.left_s = left_s

    def get_remaining_time_in_millis(self) -> int:
        return int(self.left_s * 1000)


class OneHouse:
    def __init__(self, house: House) -> None:
        self.built = house

    def house(self) -> House:
        return self.built


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    built = build_house(settings, Workshop().roster())
    yield built
    built.close()


@pytest.fixture
def cleanup(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """As in a process of its own: the handler's module is made by its import."""
    monkeypatch.setattr("functions.wiring.wired", lambda _: OneHouse(house))
    monkeypatch.setattr("gc.freeze", lambda: None)
    sys.modules.pop("functions.cleanup", None)
    yield importlib.import_module("functions.cleanup")
    del sys.modules["functions.cleanup"]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    values: dict[str, float] = {}

    def tell(given: Mapping[str, float], *_: object, **__: object) -> None:
        values.update(given)

    monkeypatch.setattr(metrics, "tell", tell)
    return values


def test_it_says_what_it_did_and_that_nothing_is_left(
    cleanup: ModuleType, house: House, database_url: str, told: dict[str, float]
) -> None:
    for _ in range(3):
        answer(house, arrival(uuid4()))
    idle(database_url)
    said = cleanup.handler({"source": "scheduler"}, Context())
    assert said == {"done": {"sessions": 3}, "left": {}, "ended": "nothing left"}
    assert json.loads(json.dumps(said)) == said
    told.pop("ColdStarts", None)
    assert {name: value for name, value in told.items() if value} == {"Cleanups": 1, "SessionsExpired": 3}
    assert cleanup.handler({}, Context()) == {"done": {}, "left": {}, "ended": "nothing left"}


def test_what_nobody_goes_on_with_is_woken_and_counted(
    cleanup: ModuleType, house: House, database_url: str, told: dict[str, float]
) -> None:
    house.turns.wakeups = Bell()
    gone = dead(house, database_url, arrival(uuid4()))
    assert cleanup.handler({}, Context())["done"] == {"turns": 1}
    assert house.turns.wakeups.woken == [gone.hold.session_id]
    assert told["Recovered"] == 1


def test_where_nobody_can_be_woken_it_goes_on_with_it_itself(
    cleanup: ModuleType, house: House, database_url: str
) -> None:
    for _ in range(3):
        dead(house, database_url, arrival(uuid4()))
    assert cleanup.handler({}, Context())["done"] == {"turns": 3}
    assert statuses(database_url) == [("completed", None)] * 3


def test_where_nobody_can_be_told_the_clean_up_fails(
    cleanup: ModuleType, house: House, database_url: str, told: dict[str, float]
) -> None:
    """Else nobody hears of a queue that takes nothing: no message in it is old, and no worker fails."""

    class Away(Bell):
        def recover(self, session_id: SessionId, epoch: int) -> bool:
            super().recover(session_id, epoch)
            return False

    house.turns.wakeups = away = Away()
    for _ in range(3):
        dead(house, database_url, arrival(uuid4()))
    answer(house, arrival(uuid4()))
    idle(database_url)
    with pytest.raises(cleanup.CleanUpFailed, match="turns queue_unavailable"):
        cleanup.handler({}, Context())
    assert len(away.woken) == 1, "who could tell nobody of one is not asked to tell of the next"
    assert (told["Cleanups"], told["Recovered"], told["SessionsExpired"]) == (0, 0, 1)
    house.turns.wakeups = well = Bell()
    assert cleanup.handler({}, Context())["done"] == {"turns": 3}
    assert len(well.woken) == 3


def test_an_erasure_that_cannot_be_ended_fails_the_clean_up(
    cleanup: ModuleType, house: House, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = uuid4()
    answer(house, arrival(device))
    erasures.begin(house.database, Caller(DeviceId(device)), "d")
    run(database_url, "UPDATE erasures SET created_at = now() - interval '2 minutes'")

    def away(*_: object) -> bool:
        raise ArchiveUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(Erasing, "_archived", away)
        with pytest.raises(cleanup.CleanUpFailed, match="erasures archive_unavailable"):
            cleanup.handler({}, Context())
    assert cleanup.handler({}, Context())["done"] == {"erasures": 1}


def test_it_stops_when_its_time_is_over_and_says_what_is_left(
    cleanup: ModuleType,
    house: House,
    database_url: str,
    told: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(3):
        answer(house, arrival(uuid4()))
    idle(database_url)
    monkeypatch.setattr(cleanup, "_LEAST_SHARE", 0.0)
    said = cleanup.handler({}, Context(left_s=15))
    assert said == {
        "done": {},
        "left": {**dict.fromkeys(said["left"], 0), "sessions": 3},
        "ended": "time is over",
    }
    assert told["CleanupLeft"] == 3
    assert told["Cleanups"] == 1, "it did what it could, and the next goes on"


def test_one_kind_of_work_that_fails_stops_no_other_and_fails_the_invocation(
    cleanup: ModuleType,
    house: House,
    database_url: str,
    told: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    counted: list[str] = []
    monkeypatch.setattr(metrics, "count", lambda name, *_, **__: counted.append(name))
    for error, code in ((ArchiveUnavailable(), "archive_unavailable"), (KeyError("x"), "defect")):
        answer(house, arrival(uuid4()))
        idle(database_url)

        def fails(*_: Any, error: Exception = error) -> int:
            raise error

        monkeypatch.setattr(locks, "clean_up", fails)
        with caplog.at_level(logging.INFO), pytest.raises(cleanup.CleanUpFailed, match=f"locks {code}"):
            cleanup.handler({}, Context())
        assert conversations(database_url) == []
        assert told["Cleanups"] == 0
        assert "clean-up: locks" in caplog.text
    assert counted.count("Defects") == 1


def test_a_database_that_is_away_is_told_once(
    cleanup: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    told: dict[str, float],
) -> None:
    def away(*_: Any) -> int:
        raise DatabaseUnavailable

    monkeypatch.setattr(locks, "clean_up", away)
    with pytest.raises(cleanup.CleanUpFailed, match="sessions database_unavailable"):
        cleanup.handler({}, Context())
    assert caplog.text.count("database_unavailable") == 1
    assert told["Cleanups"] == 0
