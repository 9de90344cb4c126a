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
from core.house import House, build_house
from core.settings import read_settings
from core.store import counting
from core.store.figures import FIGURES
from functions.app import build_app

_BAR_MS = 300.0
_AT_ONCE = 20_000
_COUNTED_AT_ONCE = 10_000
_TELLS_EVERY_S = 15.0
_TOKEN = "operators-" + "x" * 32
# As a small server has it. What is measured is reading; that it is filled quickly is for whoever waits.
_SERVER = {"shared_buffers": "1GB", "max_wal_size": "8GB"}

# They began one after the other, the last one now. Locks are for a day, and a sweep has cleared those whose time was over; none runs out while
# this runs.
_FILL = """
WITH u AS (
    INSERT INTO users (id) SELECT gen_random_uuid() FROM generate_series(1, %(many)s / 5 + 1) RETURNING id
),
owners AS (SELECT id, row_number() OVER () - 1 AS n, count(*) OVER () AS many FROM u),
g AS MATERIALIZED (
    SELECT gen_random_uuid() AS id, o.id AS user_id, ('{manager,scheduling,billing,records,triage}'::text[])[1 + g %% 5] AS agent,
        now() - interval '30 days' + (%(first)s + g) * interval '30 days' / %(all)s - interval '1 second' AS at, g %% 2 = 0 AS is_handed
    FROM generate_series(1, %(many)s) g JOIN owners o ON o.n = g %% o.many
),
s AS (
    INSERT INTO conversation_states (id, user_id, active_agent, locked_at, session_ttl, lease_epoch, message_seq, turn_seq, version, usage,
        created_at, last_active_at, idle_ttl)
    SELECT id, user_id, CASE WHEN stands THEN agent END, CASE WHEN stands THEN at END, 86400, 5, 10, 5, 9,
        '{"input_tokens": 300, "output_tokens": 240}', at, at + interval '4 minutes', 5184000
    FROM g CROSS JOIN LATERAL (SELECT at > now() - interval '23 hours' AS stands) AS lock
),
t AS MATERIALIZED (
    SELECT g.id AS session_id, gen_random_uuid() AS id, n, g.agent, g.at + n * interval '40 seconds' AS at, power(random(), 4) AS r
    FROM g CROSS JOIN generate_series(1, 5) n
),
turned AS (
    INSERT INTO turns (session_id, id, seq, body_digest, status, agent, first_seq, last_seq, crashes, usage, error, created_at, ended_at)
    SELECT session_id, id, n, repeat('d', 64), CASE WHEN r > 0.94 THEN 'failed' ELSE 'completed' END, agent, n * 2 - 1, n * 2,
        CASE WHEN r > 0.99 THEN 1 ELSE 0 END, jsonb_build_object('input_tokens', 150, 'output_tokens', 120, 'cost_micros', 900, 'run',
            jsonb_build_object('claim', round((2 + r * 40)::numeric, 1), 'model', round((600 + r * 9000)::numeric, 1), 'tools',
                CASE WHEN n = 3 THEN round((20 + r * 900)::numeric, 1) ELSE 0 END, 'finish', round((3 + r * 30)::numeric, 1),
                'epochs', '[1]'::jsonb, 'history', CASE WHEN n = 1 THEN 'new' WHEN r < 0.3 THEN 'kept' ELSE 'rows' END)),
        CASE WHEN r > 0.94 THEN jsonb_build_object('code', CASE WHEN n < 3 THEN 'model_timeout' ELSE 'turn_crashed' END) END,
        at, at + make_interval(secs => 0.7 + r * 10)
    FROM t
),
said AS (
    INSERT INTO messages (session_id, seq, turn_id, role, agent, content, created_at)
    SELECT t.session_id, t.n * 2 - 1 + m, t.id, CASE m WHEN 0 THEN 'user' ELSE 'assistant' END, CASE m WHEN 1 THEN t.agent END,
        CASE m WHEN 0 THEN '[{"type": "text", "text": "When can I come for a check-up next week?"}]'
            ELSE '[{"type": "text", "text": "On Tuesday at nine, or on Thursday at two. Which of the two suits you?"}]' END, t.at
    FROM t CROSS JOIN generate_series(0, 1) m
)
INSERT INTO audit_log (session_id, at, actor, action, agent, until)
SELECT g.id, n.at, n.actor, n.action, n.agent, n.until FROM g
CROSS JOIN LATERAL (SELECT g.at NOT BETWEEN now() - interval '1 day' AND now() - interval '23 hours' AS has_lock) AS lock
CROSS JOIN LATERAL (VALUES
    (1, g.is_handed AND lock.has_lock, g.at - interval '20 seconds', 'agent', 'lock_set', 'manager', g.at - interval '20 seconds' + interval '1 day'),
    (2, lock.has_lock, g.at, 'agent', 'lock_set', g.agent, g.at + interval '1 day'),
    (3, g.at + interval '1 day' <= now(), g.at + interval '1 day 30 seconds', 'system', 'lock_expired', g.agent, g.at + interval '1 day')
) AS n(nth, is_so, at, actor, action, agent, until) WHERE n.is_so ORDER BY g.id, n.nth
"""

# Some are being answered now, some wait, and some have asked a person.
_GOING_ON = (
    """WITH late AS (SELECT id FROM conversation_states ORDER BY created_at DESC LIMIT 300)
    UPDATE turns t SET status = (CASE t.seq %% 5 WHEN 0 THEN 'running' WHEN 1 THEN 'waiting' ELSE 'queued' END), ended_at = NULL
    FROM late WHERE t.session_id = late.id AND t.created_at > now() - interval '1 hour' AND t.seq IN (1, 3, 5)""",
    """UPDATE conversation_states s SET lease_expires_at = now() + interval '1 hour'
    FROM turns t WHERE t.session_id = s.id AND t.status = 'running'""",
    """INSERT INTO approvals (session_id, id, turn_id, tool_call_id, input_digest, status, expires_at)
    SELECT session_id, gen_random_uuid(), id, 'toolu', 'd', 'pending', now() + interval '1 hour' FROM turns WHERE status = 'waiting'""",
)


@dataclass(frozen=True, slots=True)
class Asked:
    sessions: int
    rounds: int
    # Too small, on a machine too busy, to say anything of times: they are told, and fail nothing.
    is_short: bool


def main() -> None:
    asked = _arguments()
    with server(_SERVER) as (_, url):
        fill(url, asked.sessions)
        with _serving(url) as (house, client):
            count(house)
            _run(url, "VACUUM ANALYZE")
            short = [*_time(client, _paths(url), asked.rounds), *_check(url, client)]
    for line in short:
        print(f"FALLS SHORT: {line}", flush=True)
    sys.exit("\nthe console falls short" if short and not asked.is_short else 0)


@contextmanager
def _serving(url: str) -> Iterator[tuple[House, TestClient]]:
    given = {"DATABASE_URL": url, "ACCESS_MODE": "open", "ADMIN_TOKEN": _TOKEN}
    house = build_house(read_settings(given))
    with TestClient(
        build_app(house, one_at_a_time=False), headers={"Authorization": f"Bearer {_TOKEN}"}
    ) as client:
        yield house, client
    house.close()


# ---- what there is


def fill(url: str, sessions: int) -> None:
    told = begun = time.monotonic()
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            # What is filled in is whole: nothing hangs on what is not there.
            cursor.execute("SET session_replication_role = replica; SET synchronous_commit = off")
            for first in range(0, sessions, _AT_ONCE):
                many = min(_AT_ONCE, sessions - first)
                cursor.execute(_FILL, {"many": many, "first": first, "all": sessions})
                if time.monotonic() - told > _TELLS_EVERY_S:
                    told = time.monotonic()
                    _say(f"{first + many} of {sessions} conversations are filled in")
            for statement in _GOING_ON:
                cursor.execute(statement.replace("%%", "%"))
            cursor.execute("VACUUM ANALYZE")
    _say(f"filled in within {time.monotonic() - begun:.0f} s")


def count(house: House) -> None:
    """As the clean-up does, without its rests."""
    for kind in counting.KINDS:
        told = begun = time.monotonic()
        done = 0
        while some := counting.count(house.database, kind, _COUNTED_AT_ONCE):
            done += some
            if time.monotonic() - told > _TELLS_EVERY_S:
                told = time.monotonic()
                _say(f"{kind}: {done}, {done / (told - begun):.0f}/s")
        _say(f"{kind}: {done} in {time.monotonic() - begun:.0f} s")


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
