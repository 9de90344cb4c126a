"""A clean-up whose connection died under it: it was frozen between two minutes, or a batch took longer than anybody waits."""

from typing import Any
from uuid import uuid4

import pytest

from core.cleaning import NOT_ALL_DONE, Cleaned
from core.deadline import Deadline
from core.house import House
from core.store import expired, locks, partials
from core.store.database import ConnectionDied
from tests.conversations import answer, arrival, conversations, idle
from tests.databases import run


def clean(house: House) -> Cleaned:
    return house.cleaning.clean(Deadline.after(30))


def test_one_that_wakes_with_a_dead_connection_does_its_work_all_the_same(
    archived: House, database_url: str
) -> None:
    for _ in range(3):
        answer(archived, arrival(uuid4()))
    idle(database_url)
    ours = "application_name = 'latchkey' AND datname = current_database() AND pid <> pg_backend_pid()"
    assert run(database_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")
    cleaned = clean(archived)
    assert (cleaned.done, cleaned.failed, cleaned.is_over) == ({"sessions": 3, "archived": 3}, {}, True)
    assert conversations(database_url) == []


def test_a_kind_of_work_that_takes_longer_than_anybody_waits_is_tried_with_less(
    archived: House, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def slow(_: Any, limit: int) -> int:
        asked.append(limit)
        if limit > 4:
            raise ConnectionDied
        return 0

    monkeypatch.setattr(locks, "clean_up", slow)
    assert clean(archived).failed == {}
    assert asked == [32, 16, 8, 4]


def test_one_that_never_gets_through_is_told_and_holds_no_other_up(
    archived: House, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(archived, arrival(uuid4()))
    idle(database_url)
    swept = []

    def slow(*_: Any, **__: Any) -> int:
        raise ConnectionDied

    monkeypatch.setattr(expired, "clean_up_alone", slow)

    def counted(_: Any, limit: int, **__: Any) -> int:
        swept.append(limit)
        return 0

    monkeypatch.setattr(partials, "clean_up", counted)
    cleaned = clean(archived)
    assert cleaned.failed == {"application_sessions": "database_unavailable"}
    assert cleaned.ended == NOT_ALL_DONE
    assert cleaned.done["sessions"] == 1
    assert swept
