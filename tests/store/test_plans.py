"""What operators ask for looks at no row that is over and counted, however many there are."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bench.month import count, fill
from core.house import House, build_house
from core.settings import Settings
from core.store import figures
from tests.agents import Workshop
from tests.databases import run

SESSIONS = 6_000
LARGE = ("turns", "messages", "audit_log", "conversation_states")


@pytest.fixture
def filled(settings: Settings, database_url: str) -> Iterator[House]:
    """30,000 turns and 60,000 messages, all that is final of them counted."""
    fill(database_url, SESSIONS, print)
    house = build_house(settings, Workshop().roster())
    count(house.database, print)
    run(database_url, "VACUUM ANALYZE")
    yield house
    house.close()


def test_no_figure_reads_a_whole_table(filled: House) -> None:
    now = datetime.now(UTC)
    statements: dict[str, Any] = {
        **figures._SERIES,
        "everything": figures._ALL,
        "standing": figures._STANDING,
        "waiting": figures._WAITING,
        "kept": figures._KEPT,
    }
    for days, step in ((1, "hour"), (7, "hour"), (30, "day")):
        given = {
            "since": now - timedelta(days=days),
            "until": now,
            "step": step,
            "now": None,
            "active_s": 300,
        }
        for name, statement in statements.items():
            plan = filled.database.rows(text(f"EXPLAIN (ANALYZE, TIMING OFF) {statement.text}"), given)
            lines = "\n".join(row["QUERY PLAN"] for row in plan)
            assert not re.search(rf"Seq Scan on ({'|'.join(LARGE)})\b", lines), f"{name}: {lines}"
            # Of turns a few are young or open; nothing else of them is looked at.
            read = [int(n) for n in re.findall(r" on turns .*?rows=\d+ width.*?rows=(\d+)", lines)]
            assert all(n < 2_000 for n in read), f"{name}: {lines}"
