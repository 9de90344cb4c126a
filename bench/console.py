"""What the operators' page asks for, at a million conversations: each call over HTTP in process, one after the other.

    make console-bench    or: python -m bench.console --sessions 50000

A database of its own is filled with conversations of 30 days, five turns and ten messages each, locks that expired, were handed over or
stand, failures, crashes, and some that go on at this moment. Then all of it is counted, by the statements of the clean-up, and each call
of the page is timed. All that it tells must agree with what the rows say when they are counted one by one.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
from starlette.testclient import TestClient

from bench.conversations import server
from bench.month import count, fill
from core.house import House, build_house
from core.settings import read_settings
from core.store.figures import FIGURES
from functions.app import build_app

_BAR_MS = 300.0
_TOKEN = "operators-" + "x" * 32
# As a small server has it. What is measured is reading; that it is filled quickly is for whoever waits.
_SERVER = {"shared_buffers": "1GB", "max_wal_size": "8GB"}


@dataclass(frozen=True, slots=True)
class Asked:
    sessions: int
    rounds: int
    # Too small, on a machine too busy, to say anything of times: they are told, and fail nothing.
    is_short: bool


def main() -> None:
    asked = _arguments()
    with server(_SERVER) as (_, url):
        fill(url, asked.sessions, _say)
        with _serving(url) as (house, client):
            count(house.database, _say)
            _run(url, "VACUUM ANALYZE")
            slow, wrong = [*_time(client, _paths(url), asked.rounds)], [*_check(url, client)]
    short = [*([] if asked.is_short else slow), *wrong]
    for line in short:
        print(f"FALLS SHORT: {line}", flush=True)
    sys.exit("\nthe console falls short" if short else 0)


@contextmanager
def _serving(url: str) -> Iterator[tuple[House, TestClient]]:
    given = {"DATABASE_URL": url, "ACCESS_MODE": "open", "ADMIN_TOKEN": _TOKEN}
    house = build_house(read_settings(given))
    with TestClient(
        build_app(house, one_at_a_time=False), headers={"Authorization": f"Bearer {_TOKEN}"}
    ) as client:
        yield house, client
    house.close()


# ---- what is asked


def _paths(url: str) -> list[str]:
    ((session,),) = _run(url, "SELECT id FROM conversation_states ORDER BY created_at LIMIT 1 OFFSET 10")
    now = datetime.now(UTC)
    spans = [("hour", 1), ("hour", 7), ("day", 30)]
    return [
        "overview",
        *(
            f"series?figure={figure}&step={step}&from={(now - timedelta(days=days)).isoformat().replace('+00:00', 'Z')}"
            for figure in FIGURES
            for step, days in spans
        ),
        f"sessions/{session}",
    ]


def _time(client: TestClient, paths: list[str], rounds: int) -> Iterator[str]:
    """Which fall short."""
    print(f"\n| call | p50 ms | max ms | kB | to reach: < {_BAR_MS:g} ms |\n|---|---|---|---|---|")
    slowest = 0.0
    for path in paths:
        took_ms = []
        for _ in range(rounds):
            begun = time.perf_counter()
            answered = client.get(f"/v1/admin/{path}")
            took_ms.append((time.perf_counter() - begun) * 1000)
            assert answered.status_code == 200, answered.text
        name = path.partition("T")[0]
        slowest = max(slowest, max(took_ms))
        size = len(answered.content) / 1000
        ok = "yes" if max(took_ms) < _BAR_MS else "NO"
        print(
            f"| {name} | {statistics.median(took_ms):.1f} | {max(took_ms):.1f} | {size:.0f} | {ok} |",
            flush=True,
        )
        if ok == "NO":
            yield f"{name} takes {max(took_ms):.0f} ms"
    print(f"\nthe slowest took {slowest:.0f} ms (to reach: < {_BAR_MS:g} ms)", flush=True)


def _check(url: str, client: TestClient) -> Iterator[str]:
    """That the quick answer is the true one."""

    def there(what: str) -> int:
        return int(_run(url, f"SELECT count(*) FROM {what}")[0][0])

    told = client.get("/v1/admin/overview").json()
    month = "step=day&from=" + (datetime.now(UTC) - timedelta(days=40)).strftime("%Y-%m-%dT00:00:00Z")
    turns = _summed(client, "turns", month)
    locks = sum(
        one["still_held"]
        for item in client.get(f"/v1/admin/series?figure=locks&{month}").json()["items"]
        for one in item["agents"]
    )
    for name, shown, true in (
        ("conversations", told["kept"], there("conversation_states")),
        ("locks", told["locks_held"], there("conversation_states WHERE locked_at IS NOT NULL")),
        ("locks that are held", locks, there("conversation_states WHERE locked_at IS NOT NULL")),
        ("turns", sum(turns.values()), there("turns")),
        ("turns that failed", turns["failed"], there("turns WHERE status = 'failed'")),
        ("recoveries", _summed(client, "recoveries", month)["crashes"], there("turns WHERE crashes > 0")),
        (
            "locks that expired",
            _summed(client, "cleanups", month)["locks"],
            there("audit_log WHERE action = 'lock_expired'"),
        ),
    ):
        print(f"{name}: {shown}, and the rows say {true}", flush=True)
        if shown != true:
            yield f"{name}: {shown} are told, and there are {true}"


def _summed(client: TestClient, figure: str, query: str) -> dict[str, int]:
    items = client.get(f"/v1/admin/series?figure={figure}&{query}").json()["items"]
    return {label: sum(item["values"][label] for item in items) for label in items[0]["values"]}


def _run(url: str, statement: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def _say(line: str) -> None:
    print(f"console  {line}", file=sys.stderr, flush=True)


def _arguments() -> Asked:
    parser = argparse.ArgumentParser(
        prog="python -m bench.console", description=(__doc__ or "").splitlines()[0]
    )
    whole: Callable[[str], int] = int
    parser.add_argument(
        "--sessions", type=whole, default=1_000_000, help="how many conversations (default 1000000)"
    )
    parser.add_argument("--rounds", type=whole, default=9, help="how often each call is made (default 9)")
    parser.add_argument("--short", action="store_true", help="times are told, and fail nothing")
    given = parser.parse_args()
    return Asked(given.sessions, given.rounds, given.short)


if __name__ == "__main__":
    main()
