"""For how long the clean-up has left something waiting."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from core.house import House, build_house
from core.settings import Settings
from core.store import behind
from dev.demo_model import DemoModel
from tests.agents import Workshop
from tests.conversations import answer, arrival, idle, waiting
from tests.databases import run


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    """With an agent that has to ask."""
    built = build_house(settings, Workshop().roster())
    yield built
    built.close()


def _minutes(house: House) -> float | None:
    since = behind.since(house.database)
    return None if since is None else (datetime.now(UTC) - since) / timedelta(minutes=1)


def test_nothing_waits_where_all_is_in_its_time(house: House) -> None:
    assert _minutes(house) is None
    answer(house, arrival(uuid4()))
    assert _minutes(house) is None


def test_it_is_the_conversation_that_expired_first(house: House, database_url: str) -> None:
    answer(house, arrival(uuid4()))
    answer(house, arrival(uuid4()))
    sessions = run(database_url, "SELECT id FROM conversation_states")
    for minutes, (session,) in zip((15, 40), sessions, strict=True):
        idle(database_url, session, for_s=60 * minutes)
    assert _minutes(house) == pytest.approx(40, abs=1)


def test_a_conversation_that_something_keeps_alive_does_not_wait(
    house: House, database_url: str, model: DemoModel
) -> None:
    waiting(house, model, uuid4())
    idle(database_url, for_s=60 * 40)
    assert _minutes(house) is None


def test_a_question_and_a_lock_count_as_well(house: House, database_url: str, model: DemoModel) -> None:
    waiting(house, model, uuid4())
    run(database_url, "UPDATE approvals SET expires_at = now() - interval '11 minutes'")
    assert _minutes(house) == pytest.approx(11, abs=1)
    run(
        database_url,
        "UPDATE conversation_states SET active_agent = 'manager', session_ttl = 60, locked_at = now() - interval '21 minutes'",
    )
    assert _minutes(house) == pytest.approx(20, abs=1)


def test_it_is_found_by_indexes(house: House, database_url: str) -> None:
    """Of many, all in their time but a few."""
    run(
        database_url,
        "WITH one AS (INSERT INTO users (id) VALUES (gen_random_uuid()) RETURNING id) "
        "INSERT INTO conversation_states (id, user_id, session_ttl, idle_ttl, created_at, last_active_at) "
        "SELECT gen_random_uuid(), one.id, 86400, 1800, now(), now() - make_interval(secs => n % 1700) FROM one, generate_series(1, 20000) n",
    )
    run(database_url, "VACUUM ANALYZE conversation_states")
    (told,) = house.database.rows(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {behind._SINCE.text}"), {"now": None})
    (plan,) = told["QUERY PLAN"]
    assert _most_rows(plan["Plan"]) < 100


def _most_rows(node: dict[str, Any]) -> float:
    """Of all steps of a plan, what the one that looked at the most has looked at."""
    removed = sum(count for name, count in node.items() if name.startswith("Rows Removed"))
    looked_at: float = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return max([looked_at, *(_most_rows(below) for below in node.get("Plans", ()))])
