"""The book of past days gets shorter, and says the same, whoever counts into it meanwhile."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from core.house import House, build_house
from core.series import Range, series
from core.settings import Settings
from core.store import figures, rollup
from tests.agents import Workshop
from tests.databases import run

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
ROWS = "SELECT count(*)::int FROM daily_stats"
ADD = (
    "INSERT INTO daily_stats AS d (day, hour, name, label, shard, value) VALUES (%s, %s, %s, %s, %s, %s) "
    "ON CONFLICT (day, hour, name, label, shard) DO UPDATE SET value = d.value + EXCLUDED.value"
)
NAMES = [
    ("turns", "completed"),
    ("turns", "failed"),
    ("latency", "2048"),
    ("latency", "64"),
    ("cost", "manager"),
    ("locks.expired", "manager/4096"),
    ("held_ms.expired", "manager"),
    ("sessions", "expired"),
    ("cleanups", "sessions"),
]


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    built = build_house(settings, Workshop().roster())
    yield built
    built.close()


def a_row(chance: random.Random, days_ago: int) -> tuple[Any, ...]:
    day = (TODAY - timedelta(days=days_ago)).date()
    name, label = chance.choice(NAMES)
    return day, chance.randrange(24), name, label, chance.randrange(8), chance.randrange(-3, 100)


def shown(house: House) -> list[Any]:
    by_day = Range(TODAY - timedelta(days=60), TODAY + timedelta(days=1), "day")
    by_hour = Range(TODAY - timedelta(days=30), TODAY + timedelta(days=1), "hour")
    return [series(house.database, figure, span) for figure in figures.FIGURES for span in (by_day, by_hour)]


def roll_up(house: House, limit: int = 7) -> int:
    made = 0
    while True:
        some, is_full = rollup.roll_up(house.database, limit)
        made += some
        if not is_full:
            return made


def test_every_figure_is_the_same_before_and_after(house: House, database_url: str) -> None:
    chance = random.Random(4711)
    for days_ago in (0, 1, 2, 30, 31, 32, 33, 50):
        for _ in range(60):
            run(database_url, ADD, *a_row(chance, days_ago))
    before, rows = shown(house), run(database_url, ROWS)
    assert roll_up(house) > 50
    assert shown(house) == before
    assert run(database_url, ROWS) < rows
    most = "SELECT max(n)::int FROM (SELECT count(*) AS n FROM daily_stats WHERE {} GROUP BY day, name, label{}) AS x"
    assert run(database_url, most.format("day < CURRENT_DATE - 31", "")) == [(1,)]
    assert run(database_url, most.format("day < CURRENT_DATE", ", hour")) == [(1,)]
    assert run(database_url, most.format("day = CURRENT_DATE", "")) > [(1,)], "of today nothing is touched"
    assert roll_up(house) == 0


def test_nothing_is_lost_while_many_count_and_several_roll_up(house: House, database_url: str) -> None:
    chance, over = random.Random(4712), threading.Event()
    total = "SELECT sum(value)::bigint FROM daily_stats"

    def count(seed: int) -> int:
        mine, added = random.Random(seed), 0
        with closing(psycopg2.connect(database_url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for _ in range(400):
                    row = a_row(mine, mine.choice([1, 1, 40]))
                    cursor.execute(ADD, row)
                    added += row[-1]
        return added

    def roll(_: int) -> None:
        while not over.is_set():
            rollup.roll_up(house.database, chance.choice([1, 5, 50]))

    with ThreadPoolExecutor(6) as pool:
        rolling = [pool.submit(roll, number) for number in range(2)]
        added = sum(pool.map(count, range(4)))
        over.set()
        for one in rolling:
            one.result(20)
    assert run(database_url, total) == [(added,)]
    roll_up(house)
    assert run(database_url, total) == [(added,)]


def test_a_row_that_somebody_has_in_hand_is_left_to_them(house: House, database_url: str) -> None:
    yesterday = (TODAY - timedelta(days=1)).date()
    for shard in range(3):
        run(database_url, ADD, yesterday, 5, "turns", "completed", shard, 10)
    with closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("UPDATE daily_stats SET value = 11 WHERE shard = 1")
        assert rollup.roll_up(house.database, 9) == (1, False)
    assert run(database_url, "SELECT shard, value::int FROM daily_stats ORDER BY 1") == [(0, 20), (1, 11)]
    assert rollup.roll_up(house.database, 9) == (1, False)
    assert run(database_url, "SELECT shard, value::int FROM daily_stats") == [(0, 31)]
