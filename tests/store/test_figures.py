"""Figures agree with the rows, reckoned another way; and what ends changes no figure of the past."""

import math
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import UUID, uuid4

import psycopg2
import pytest
from psycopg2.extras import Json, execute_values
from sqlalchemy import text

from core.errors import DatabaseConflict
from core.house import House, build_house
from core.ids import DeviceId, SessionId
from core.run import KEPT, NEW, ROWS
from core.series import Range, day_of, percentile, series
from core.settings import Settings
from core.store import counting, endings, expired, figures
from core.store.daily import STAGES
from core.store.figures import FIGURES
from core.store.revision import COUNTS
from functions.routes.admin import Figure
from tests.agents import Workshop
from tests.conversations import answer, arrival, beside, held, idle, in_the_way, wait_for_locks
from tests.databases import run

START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = START + timedelta(days=2, hours=1)
SPAN = Range(START, START + timedelta(days=2), "hour")
AGENTS = (None, "manager", "billing", "scheduling")
BOOK = "SELECT name, label, sum(value) FROM daily_stats GROUP BY 1, 2 ORDER BY 1, 2"


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    built = build_house(settings, Workshop().roster())
    yield built
    built.close()


@dataclass
class Past:
    """Two made-up days, and what each figure of them must be, kept beside the rows as they are made."""

    sessions: list[UUID] = field(default_factory=list)
    counts: Counter[tuple[str, datetime, str]] = field(default_factory=Counter)
    # By hour, and by stage or "".
    latencies: dict[tuple[datetime, str], list[float]] = field(default_factory=dict)
    held: dict[tuple[datetime, str], list[float]] = field(default_factory=dict)

    def of(self, figure: str) -> dict[tuple[datetime, str], int]:
        return {(at, label): n for (name, at, label), n in self.counts.items() if name == figure and n}


def hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def make_past(url: str, seed: int, sessions: int = 40) -> Past:
    print(f"seed {seed}")
    chance, past = random.Random(seed), Past()
    rows: dict[str, list[tuple[Any, ...]]] = {"turns": [], "audit_log": []}
    user = str(uuid4())
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO users (id) VALUES (%s)", (user,))
        for _ in range(sessions):
            session, begun = uuid4(), START + timedelta(seconds=chance.uniform(0, 40 * 3600))
            past.sessions.append(session)
            past.counts["sessions", hour(begun), "begun"] += 1
            cursor.execute(
                "INSERT INTO conversation_states (id, user_id, created_at, last_active_at) VALUES (%s, %s, %s, %s)",
                (str(session), user, begun, begun),
            )
            rows["turns"] += [_turn(chance, past, session, begun, seq) for seq in range(chance.randrange(12))]
            lines, standing = _locks(chance, past, session, begun)
            rows["audit_log"] += lines
            cursor.execute(
                "UPDATE conversation_states SET active_agent = %s, locked_at = %s, session_ttl = %s WHERE id = %s",
                (*standing, str(session)),
            )
        columns = (
            "session_id, id, seq, body_digest, status, agent, crashes, usage, error, created_at, ended_at"
        )
        execute_values(cursor, f"INSERT INTO turns ({columns}) VALUES %s", rows["turns"])
        columns = "session_id, actor, action, agent, at, until"
        execute_values(cursor, f"INSERT INTO audit_log ({columns}) VALUES %s", rows["audit_log"])
    return past


def _turn(chance: random.Random, past: Past, session: UUID, begun: datetime, seq: int) -> tuple[Any, ...]:
    at = begun + timedelta(seconds=chance.uniform(0, 7 * 3600))
    status = chance.choice(["completed"] * 4 + ["failed", "cancelled", "joined", "waiting"])
    agent, took = chance.choice(AGENTS), timedelta(seconds=chance.lognormvariate(1, 2))
    usage: dict[str, Any] | None = None
    if chance.random() < 0.8:
        usage = {"input_tokens": chance.randrange(9999), "output_tokens": 1 + chance.randrange(99)}
        past.counts["tokens", hour(at), "input"] += usage["input_tokens"]
        past.counts["tokens", hour(at), "output"] += usage["output_tokens"]
        if chance.random() < 0.8:
            usage["cost_micros"] = chance.randrange(10**6)
            past.counts["cost", hour(at), agent or ""] += usage["cost_micros"]
        else:
            past.counts["unpriced", hour(at), agent or ""] += 1
    crashes = chance.choice([0] * 9 + [1, 2])
    past.counts["recoveries", hour(at), "crashes"] += crashes
    past.counts["turns", hour(at), status] += 1
    if usage is not None and chance.random() < 0.7:
        usage["run"] = _run(chance, past, hour(at), status in ("completed", "failed"))
    code = chance.choice(["model_timeout", "turn_crashed"]) if status == "failed" else None
    if code:
        past.counts["errors", hour(at), code] += 1
    if status in ("completed", "failed"):
        past.latencies.setdefault((hour(at), ""), []).append(took.total_seconds() * 1000)
    ended = None if status == "waiting" else at + took
    return (
        str(session),
        str(uuid4()),
        seq,
        "d",
        status,
        agent,
        crashes,
        usage and Json(usage),
        code and Json({"code": code}),
        at,
        ended,
    )


def _run(chance: random.Random, past: Past, at: datetime, counts: bool) -> dict[str, Any]:
    run: dict[str, Any] = {stage: round(chance.lognormvariate(3, 2), 1) for stage in STAGES}
    run |= {"history": chance.choice([KEPT, ROWS, NEW]), "epochs": [1, 2]}
    if chance.random() < 0.5:
        run["tools"] = 0
    past.counts["history", at, run["history"]] += 1
    for stage in STAGES:
        if counts and run[stage]:
            past.latencies.setdefault((at, stage), []).append(run[stage])
    return run


def _locks(
    chance: random.Random, past: Past, session: UUID, begun: datetime
) -> tuple[list[tuple[Any, ...]], tuple[str | None, datetime | None, int]]:
    """A story of one lock after the other, told forwards: the figures read it backwards. And the lock that stands in the end."""
    at, holder, until, set_at, ttl_s = begun, None, begun, begun, 1
    lines: list[tuple[Any, ...]] = []

    def over(how: str, end: datetime) -> None:
        past.counts["locks", hour(set_at), how] += 1
        past.held.setdefault((hour(set_at), holder or ""), []).append((end - set_at).total_seconds())

    for _ in range(chance.randrange(6)):
        at += timedelta(seconds=chance.uniform(1, 5000))
        if holder and at >= until:
            over("expired", until)
            if chance.random() < 0.5:
                lines.append((str(session), "system", "lock_expired", holder, at, until))
                past.counts["cleanups", hour(at), "locks"] += 1
                holder = None
                continue
            holder = None
        if holder and chance.random() < 0.3:
            over("cleared", at)
            action = chance.choice(["lock_cleared", "lock_cleared", "agent_missing"])
            lines.append((str(session), "user", action, holder, at, None))
            holder = None
            continue
        agent = chance.choice(AGENTS[1:])
        if holder:
            over("renewed" if holder == agent else "handed_over", at)
        ttl_s = chance.randrange(10, 9000)
        holder, set_at, until = agent, at, at + timedelta(seconds=ttl_s)
        lines.append((str(session), "user", "lock_set", agent, at, until))
        lines.append((str(session), "user", "approval_denied", None, at, None))
        if chance.random() < 0.3:
            lines.append((str(session), "system", "approval_expired", None, at, None))
            past.counts["cleanups", hour(at), "approvals"] += 1
    if holder:
        over("expired", until)
    return lines, (holder, set_at if holder else None, ttl_s)


def shown(house: House, figure: str) -> dict[tuple[datetime, str], int]:
    items = series(house.database, figure, SPAN, now=NOW)
    assert [item["at"] for item in items] == list(SPAN.moments), "each hour is there, also an empty one"
    kind = "ended" if figure == "locks" else "values"
    return {(item["at"], label): n for item in items for label, n in item[kind].items() if n}


def check_times(told: dict[str, Any], took: list[float], shares: tuple[int, ...]) -> None:
    took = sorted(took)
    assert told["count"] == len(took)
    for share in shares:
        bound = told[f"p{share}_ms"]
        if took:
            exact = took[math.ceil(len(took) * share / 100) - 1]
            assert exact <= bound + 0.01 <= max(exact, 1) * 2**0.25 + 1.02
        else:
            assert bound is None


def count(house: House, kinds: tuple[str, ...] = counting.KINDS, limit: int = 100) -> int:
    """As the clean-up does, until nothing is left. How many there were."""
    total = 0
    for kind in kinds:
        while (some := counting.count(house.database, kind, limit, now=NOW)) == limit:
            total += some
        total += some
    return total


def check(house: House, past: Past) -> None:
    for figure in FIGURES:
        if figure not in ("latency", "stages"):
            assert shown(house, figure) == past.of(figure), figure
    for item in series(house.database, "latency", SPAN, now=NOW):
        check_times(item, past.latencies.get((item["at"], ""), []), (50, 95, 99))
    for item in series(house.database, "stages", SPAN, now=NOW):
        for stage in STAGES:
            check_times(item["stages"][stage], past.latencies.get((item["at"], stage), []), (50, 95))
    for item in series(house.database, "locks", SPAN, now=NOW):
        for one in item["agents"]:
            times = sorted(past.held[item["at"], one["agent"]])
            assert (one["count"], one["still_held"]) == (len(times), 0)
            assert one["mean_s"] == pytest.approx(sum(times) / len(times), abs=0.002)
            exact = times[math.ceil(len(times) / 2) - 1]
            assert exact <= one["p50_s"] + 0.001 <= exact * 2**0.25 + 0.003


@pytest.mark.parametrize("seed", [1, 2])
def test_figures_are_what_the_rows_are(house: House, database_url: str, seed: int) -> None:
    """Before any of it is counted, at any moment between, and when all of it is."""
    past = make_past(database_url, seed)
    check(house, past)
    chance = random.Random(seed)
    for _ in range(6):
        for kind in counting.KINDS:
            counting.count(house.database, kind, 1 + chance.randrange(20), now=NOW)
        check(house, past)
    assert count(house)
    check(house, past)
    assert count(house) == 0
    uncounted = "SELECT (SELECT count(*) FROM turns WHERE NOT counted AND ended_at IS NOT NULL) + "
    assert run(
        database_url,
        f"{uncounted} (SELECT count(*) FROM conversation_states WHERE NOT counted) + "
        f"(SELECT count(*) FROM audit_log WHERE NOT counted AND {COUNTS})",
    ) == [(0,)]


def test_what_ends_changes_no_figure_of_the_past(house: House, database_url: str) -> None:
    """Half is ended by its ID, half is cleaned up, by four at once, while others count; and each stands in the book as what it was."""
    past = make_past(database_url, seed=random.randrange(10**6), sessions=60)
    check(house, past)
    for (name, at, label), number in list(past.counts.items()):
        if (name, label) == ("turns", "waiting"):
            past.counts[name, at, "abandoned"] += number
            past.counts[name, at, label] = 0

    causes: list[BaseException | None] = []

    def end(session: UUID) -> None:
        try:
            endings.end_session(house.database, SessionId(session), now=NOW)
        except DatabaseConflict as late:  # it was cleaned up at the same moment
            causes.append(late.__cause__)

    def clean(_: int) -> int:
        return len(expired.clean_up(house.database, 3, now=NOW))

    def counted(number: int) -> int:
        return counting.count(house.database, counting.KINDS[number % 3], 7, now=NOW)

    with ThreadPoolExecutor(3) as counters, ThreadPoolExecutor(4) as pool:
        counts = counters.map(counted, range(60))
        ending = [pool.submit(end, session) for session in past.sessions[:30]]
        cleaned = sum(pool.map(clean, range(40)))
        for one in ending:
            one.result(20)
        cleaned += sum(pool.map(clean, range(10)))
        # An open turn keeps its conversation alive.
        still_there = [session for (session,) in run(database_url, "SELECT id FROM conversation_states")]
        list(pool.map(end, map(UUID, map(str, still_there))))
        assert sum(counts) > 50
    assert not any(causes), "two waited for each other"
    check(house, past)
    after = Range(SPAN.until, SPAN.until + timedelta(days=1), "day")
    (today,) = series(house.database, "sessions", after, now=NOW)
    assert today["values"] == {"ended": 60 - cleaned, "expired": cleaned}
    (today,) = series(house.database, "cleanups", after, now=NOW)
    assert today["values"] == {"sessions": cleaned}
    assert cleaned
    assert still_there


def book(url: str) -> list[tuple[Any, ...]]:
    return [(name, label, int(value)) for name, label, value in run(url, BOOK)]


def test_an_end_that_comes_too_late_counts_nothing(house: House, database_url: str, device: UUID) -> None:
    answer(house, arrival(device))
    with ThreadPoolExecutor(1) as pool:
        with in_the_way(database_url, "UPDATE conversation_states SET version = version + 1"):
            ending = pool.submit(endings.end, house.database, DeviceId(device))
            wait_for_locks(database_url, 1)
        assert ending.exception(20) is not None
    assert book(database_url) == []
    assert endings.end(house.database, DeviceId(device))
    assert endings.end(house.database, DeviceId(device)) is None
    assert [row for row in book(database_url) if row[0] in ("sessions", "turns")] == [
        ("sessions", "begun", 1),
        ("sessions", "ended", 1),
        ("turns", "completed", 1),
    ]


def test_a_turn_that_is_being_answered_is_counted_as_abandoned(
    house: House, database_url: str, device: UUID
) -> None:
    held(house, arrival(device))
    assert endings.end(house.database, DeviceId(device))
    assert ("turns", "abandoned", 1) in book(database_url)


def test_one_that_was_merged_away_is_not_said_to_have_expired(
    house: House, database_url: str, device: UUID
) -> None:
    answer(house, arrival(device))
    idle(database_url)
    run(database_url, "UPDATE conversation_states SET merged_into = id")
    assert len(expired.clean_up(house.database, 9)) == 1
    assert ("sessions", "merged", 1) in book(database_url)


def test_turns_that_were_copied_are_counted_where_they_were_said(
    house: House, database_url: str, device: UUID
) -> None:
    answer(house, arrival(device))
    answer(house, arrival(uuid4()))
    run(
        database_url,
        "UPDATE messages SET origin_session = session_id, origin_seq = seq WHERE session_id = "
        "(SELECT session_id FROM connections WHERE device_id = %s)",
        str(device),
    )
    today = day_of(datetime.now(UTC))
    for _ in range(2):
        (turns,) = series(house.database, "turns", today)
        assert turns["values"] == {"completed": 1}
        endings.end(house.database, DeviceId(device))


def test_application_sessions_that_are_cleaned_up_are_counted(house: House, database_url: str) -> None:
    for _ in range(3):
        beside(database_url, uuid4(), left_s=-1)
    assert expired.clean_up_alone(house.database, 2) == 2
    assert expired.clean_up_alone(house.database, 2) == 1
    assert book(database_url) == [("cleanups", "application_sessions", 3)]


def test_whoever_counts_at_the_same_moment_does_not_wait(house: House, database_url: str) -> None:
    """The counts of all other shards are being written at this moment."""
    for _ in range(2):
        answer(house, arrival(uuid4()))
    idle(database_url)
    mine = house.database.row(text("SELECT pg_backend_pid() % 8 AS shard"), {})
    assert mine is not None
    with in_the_way(
        database_url,
        "INSERT INTO daily_stats (day, hour, name, label, shard, value) SELECT CAST(now() AT TIME ZONE 'UTC' AS date), "
        "EXTRACT(HOUR FROM now() AT TIME ZONE 'UTC'), 'sessions', 'expired', shard, 1 "
        f"FROM generate_series(0, 7) AS shard WHERE shard <> {mine['shard']}",
    ):
        assert len(expired.clean_up(house.database, 9)) == 2
    assert ("sessions", "expired", 2 + 7) in book(database_url)


def test_percentiles_are_the_bound_that_so_many_stay_within() -> None:
    assert percentile({}, 50) is None
    assert percentile({7: 1}, 99) == 7
    assert [percentile({1: 50, 2: 45, 3: 5}, share) for share in (50, 51, 95, 96)] == [1, 2, 2, 3]


def test_every_figure_can_be_asked_for() -> None:
    assert set(get_args(Figure)) == set(FIGURES)


def test_a_lock_that_is_held_is_told_as_such(house: House, database_url: str, device: UUID) -> None:
    answer(house, arrival(device))
    house.sessions.set_session_lock(DeviceId(device), "manager")
    (today,) = series(house.database, "locks", day_of(datetime.now(UTC)))
    (one,) = today["agents"]
    assert (one["agent"], one["count"], one["still_held"], one["mean_s"]) == ("manager", 1, 1, None)
    endings.end(house.database, DeviceId(device))
    (today,) = series(house.database, "locks", day_of(datetime.now(UTC)))
    assert today["ended"] == {"ended": 1}


def test_a_lock_whose_end_began_to_be_written_before_it_is_told(
    house: House, database_url: str, device: UUID
) -> None:
    """A holder's statement began before the hour, and waited for its owner's, which began within it."""
    answer(house, arrival(device))
    for _ in range(2):
        house.sessions.set_session_lock(DeviceId(device), "manager")
    this = hour(datetime.now(UTC))
    for which, at in (("min", this + timedelta(milliseconds=10)), ("max", this - timedelta(milliseconds=10))):
        run(database_url, f"UPDATE audit_log SET at = %s WHERE id = (SELECT {which}(id) FROM audit_log)", at)
    span = Range(this, this + timedelta(hours=1), "hour")
    before = series(house.database, "locks", span)
    assert before[0]["ended"]["renewed"] == 1
    assert counting.count(house.database, "counted_locks", 9) == 2
    assert series(house.database, "locks", span) == before


def test_what_stands_now_is_told_by_agent(house: House, database_url: str) -> None:
    busy, asleep, locked, gone = (uuid4() for _ in range(4))
    for device in (asleep, locked, gone):
        answer(house, arrival(device))
    house.sessions.set_session_lock(DeviceId(locked), "manager")
    ended = answer(house, arrival(gone)).session_id
    run(database_url, "UPDATE conversation_states SET last_active_at = now() - interval '10 minutes'")
    held(house, arrival(busy))
    idle(database_url, ended)
    run(
        database_url, "UPDATE turns SET created_at = now() - interval '10 minutes' WHERE ended_at IS NOT NULL"
    )
    answer(house, arrival(locked))
    told = {one.agent: one for one in figures.standing(house.database, active_s=300)}
    assert {agent: (one.active, one.busy, one.locked) for agent, one in told.items()} == {
        None: (1, 1, 0),
        "manager": (1, 0, 1),
    }
    assert figures.kept(house.database) == 4
    waits = figures.waiting(house.database)
    assert (waits.running, waits.queued, waits.waiting, waits.oldest_queued_at) == (1, 0, 0, None)
