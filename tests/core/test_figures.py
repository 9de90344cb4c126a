import json
import logging
import threading
from uuid import UUID

import pytest

from core.figures import Figures, memory_bytes
from core.house import House
from tests.conversations import answer, arrival, until
from tests.databases import run


def test_counts_are_kept_by_name_and_by_reason() -> None:
    figures = Figures()
    figures.count("cache.hits")
    figures.count("cache.misses", "garbage", by=2)
    figures.count("cache.misses", "nothing")
    assert figures.snapshot() == {"cache.hits": 1, "cache.misses": {"garbage": 2, "nothing": 1}}


def test_times_are_kept_as_a_sum_a_maximum_and_some_buckets() -> None:
    figures = Figures()
    for seconds in (0.0005, 0.001, 0.03, 7.0):
        figures.took("cache.latency", seconds)
    assert figures.snapshot()["cache.latency"] == {
        "count": 4,
        "sum_s": 7.0315,
        "max_s": 7.0,
        "up_to_s": {"0.001": 2, "0.05": 1, "more": 1},
    }


def test_nothing_is_lost_between_threads() -> None:
    figures = Figures()

    def count() -> None:
        for _ in range(2_000):
            figures.count("cache.hits")
            figures.took("cache.latency", 0.001)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = figures.snapshot()
    assert (said["cache.hits"], said["cache.latency"]["count"]) == (16_000, 16_000)


@pytest.mark.parametrize(
    "name", ["3f2b8c1e-5a4d-4c7b-9e1f-2a6d8b0c4e57", "session:1", "a b", "", "x" * 100, "Ada", "é", "A" * 41]
)
def test_what_could_name_somebody_is_counted_as_other(name: str) -> None:
    figures = Figures()
    figures.count(name or " ")
    figures.count("cache.refused", name or " ")
    figures.took(name, 1.0)
    assert set(figures.snapshot()) == {"other", "cache.refused"}
    assert figures.snapshot()["cache.refused"] == {"other": 1}


def test_it_tells_at_most_once_a_minute_and_only_of_something(caplog: pytest.LogCaptureFixture) -> None:
    figures = Figures()
    with caplog.at_level(logging.INFO, "core.figures"):
        assert not figures.tell_if_due(0.0)
        assert not figures.tell_if_due(100.0), "nothing was counted"
        figures.count("cache.hits")
        assert figures.tell_if_due(100.0)
        figures.count("cache.hits", by=3)
        assert not figures.tell_if_due(159.9)
        assert figures.tell_if_due(160.0)
        assert not figures.tell_if_due(300.0), "nothing was counted since"
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert lines == [
        {"figures": {"cache.hits": 1}, "since_s": 100.0},
        {"figures": {"cache.hits": 3}, "since_s": 60.0},
    ]
    assert figures.snapshot() == {"cache.hits": 4}, "a snapshot is since the beginning"


def test_its_first_line_waits_for_a_minute_too() -> None:
    figures = Figures()
    figures.count("cache.hits")
    assert not figures.tell_if_due(1_000.0)
    assert not figures.tell_if_due(1_059.0)
    assert figures.tell_if_due(1_060.0)


def test_what_is_watched_is_looked_at_when_figures_are_shown() -> None:
    figures, held = Figures(), [5, 7]
    figures.watch("memory.bytes", lambda: held.pop())
    figures.count("cache.hits")
    assert figures.snapshot() == {"cache.hits": 1, "memory.bytes": 7}
    assert figures.snapshot() == {"cache.hits": 1, "memory.bytes": 5}


def test_the_memory_of_this_process_is_more_than_python_alone_takes() -> None:
    assert 10_000_000 < memory_bytes() < 100_000_000_000


def test_what_the_sweep_of_a_house_ends_is_counted(house: House, database_url: str, device: UUID) -> None:
    answer(house, arrival(device, "Hello"))
    house.session_manager(dict, namespace="alone").create()
    for table in ("conversation_states", "application_sessions"):
        run(database_url, f"UPDATE {table} SET last_active_at = now() - interval '1 hour'")
    workers = house.start_workers(sweep_every_s=0.01)
    until(lambda: {"conversations.expired", "sessions.expired"} <= house.figures.snapshot().keys())
    workers.stop()
    said = house.figures.snapshot()
    assert (said["conversations.expired"], said["sessions.expired"]) == (1, 1)
