"""The clean-up's function, as the scheduler calls it."""

import json
import logging
from collections.abc import Iterator
from uuid import uuid4

import pytest

from core.errors import DatabaseUnavailable
from core.house import House, build_house
from core.settings import Settings
from core.store import locks
from functions import cleanup
from tests.agents import Workshop
from tests.conversations import answer, arrival, conversations, idle


class Context:
    """Lambda's, as far as it is asked."""

    def __init__(self, left_s: float = 120) -> None:
        self.left_s = left_s

    def get_remaining_time_in_millis(self) -> int:
        return int(self.left_s * 1000)


@pytest.fixture
def house(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    built = build_house(settings, Workshop().roster())
    monkeypatch.setattr(cleanup, "_house", lambda: built)
    yield built
    built.close()


def test_it_says_what_it_did_and_that_nothing_is_left(house: House, database_url: str) -> None:
    for _ in range(3):
        answer(house, arrival(uuid4()))
    idle(database_url)
    told = cleanup.handler({"source": "scheduler"}, Context())
    assert told == {"done": {"sessions": 3}, "left": {}, "ended": "nothing left"}
    assert json.loads(json.dumps(told)) == told
    assert cleanup.handler({}, Context()) == {"done": {}, "left": {}, "ended": "nothing left"}


def test_one_kind_of_work_that_fails_stops_no_other_and_fails_the_invocation(
    house: House, database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer(house, arrival(uuid4()))
    idle(database_url)

    def away(*_: object) -> int:
        raise DatabaseUnavailable

    monkeypatch.setattr(locks, "clean_up", away)
    with caplog.at_level(logging.INFO), pytest.raises(cleanup.CleanUpFailed, match="locks"):
        cleanup.handler({}, Context())
    assert conversations(database_url) == []
    assert "sessions" in caplog.text
