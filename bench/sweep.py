"""A great many expired sessions, swept by several clean-ups at once while turns run.

    make sweep            or: python -m bench.sweep --sessions 20000 --archive 2000

The database is real, with full durability. Each clean-up is a process with one connection, as a function on Lambda is; so is each client,
whose turns take one round with a tool and ask no model. What has machines of its own when it is deployed, the functions that clean up and S3,
yields this one's processor to the clients and the database (`nice`), or it would be their work on it that turns wait for. The sweep rests from time to time, and what turns took meanwhile is what its
turns are compared with: so whatever else this machine does, it does to both.

In the end every expired session is gone, in the book, and (where an archive was asked for) in the archive; and no live one was touched.
"""

import argparse
import itertools
import math
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg2

from bench.contestants import Latchkey
from bench.conversations import conversation, database
from bench.stored import fill
from core.deadline import Deadline
from core.house import build_house
from core.settings import read_settings
from dev.s3 import count, serving_s3

_CONTEXT = multiprocessing.get_context("spawn")
_SWEEPS_S = 20.0
_RESTS_S = 8.0
_RESTS_SHORTLY_S = 2.0
_TELLS_EVERY_S = 15.0
_BAR = 2.0
_BUCKET = "archive"
_CONVERSATIONS = 20
_TURNS = 30
_NICE = 19


@dataclass(frozen=True, slots=True)
class Asked:
    sessions: int
    archive: int
    cleaners: int
    clients: int
    turns_a_second: float
    # Too short, on a machine too busy, to say anything of times: they are told, and fail nothing.
    is_short: bool


@dataclass(slots=True)
class Stage:
    """What the processes share."""

    sweeping: Any
    over: Any
    # Of each client, when all is over: (seconds, whether it was swept meanwhile) of its turns, and its devices. How many each clean-up
    # ended, at once.
    turns: Any
    ended: Any


def main() -> None:
    asked = _arguments()
    with database() as url:
        fell_short = _sweep(url, asked, asked.sessions, None)
        if asked.archive:
            with serving_s3(_BUCKET, yields=True):
                fell_short |= _sweep(url, asked, asked.archive, _BUCKET)
    sys.exit("\nthe sweep falls short" if fell_short else 0)


def _sweep(url: str, asked: Asked, sessions: int, bucket: str | None) -> bool:
    _say(f"{sessions} expired sessions{', to be archived first' if bucket else ''}")
    fill(url, sessions, _say)
    before = _expired(url)
    stage = Stage(_CONTEXT.Event(), _CONTEXT.Event(), _CONTEXT.Queue(), _CONTEXT.Queue())
    clients = [
        _CONTEXT.Process(target=_talk, args=(url, asked.turns_a_second / asked.clients, stage))
        for _ in range(asked.clients)
    ]
    cleaners = [_CONTEXT.Process(target=_clean, args=(url, bucket, stage)) for _ in range(asked.cleaners)]
    for process in [*clients, *cleaners]:
        process.start()
    swept_s = _conduct(stage, sessions, cleaners, _RESTS_SHORTLY_S if asked.is_short else _RESTS_S)
    talked = [stage.turns.get() for _ in clients]
    took = [one for some, _ in talked for one in some]
    live = [device for _, devices in talked for device in devices]
    for process in [*clients, *cleaners]:
        process.join()
    ended = _expired(url) - before
    print(f"\n| swept by {asked.cleaners} at once | |\n|---|---|")
    print(f"| sessions | {ended} in {swept_s:.0f} s: {ended / swept_s:.0f}/s |", flush=True)
    slow = [*_compare(took)]
    short = [*([] if asked.is_short else slow), *_check(url, sessions, ended, live, bucket)]
    for line in short:
        print(f"FALLS SHORT: {line}", flush=True)
    return bool(short)


def _conduct(stage: Stage, sessions: int, cleaners: list[Any], rests_s: float) -> float:
    """For how long it was swept."""
    time.sleep(rests_s)
    swept_s, done, told = 0.0, 0, time.monotonic()
    while done < sessions and any(cleaner.is_alive() for cleaner in cleaners):
        stage.sweeping.set()
        begun = time.monotonic()
        while done < sessions and time.monotonic() - begun < _SWEEPS_S:
            while not stage.ended.empty():
                done += stage.ended.get()
            time.sleep(0.1)
            if time.monotonic() - told > _TELLS_EVERY_S:
                told = time.monotonic()
                _say(f"{done} of {sessions} are gone, {done / (swept_s + told - begun):.0f}/s")
        stage.sweeping.clear()
        swept_s += time.monotonic() - begun
        time.sleep(rests_s)
        while not stage.ended.empty():
            done += stage.ended.get()
    stage.over.set()
    return swept_s


# ---- the processes


def _clean(url: str, bucket: str | None, stage: Stage) -> None:
    os.nice(_NICE)
    house = build_house(
        read_settings({"DATABASE_URL": url, "ACCESS_MODE": "open", "ARCHIVE_BUCKET": bucket or ""})
    )
    while not stage.over.is_set():
        if stage.sweeping.wait(0.2):
            # In short pieces, so that a rest is one; what is on its way to the archive is waited for.
            cleaned = house.cleaning.clean(Deadline.after(1.0 if bucket is None else _SWEEPS_S))
            stage.ended.put(cleaned.done["sessions"])
            if cleaned.is_over:
                stage.over.wait(0.2)
    house.close()


def _talk(url: str, turns_a_second: float, stage: Stage) -> None:
    """At moments of their own: not as fast as they can, for nobody does that. A conversation ends before it is one to be compacted."""
    took: list[tuple[float, bool]] = []
    devices: list[UUID] = []
    function = Latchkey(url, calls=True, remembers=True)
    chance = random.Random(os.getpid())  # noqa: S311 - spreads turns out
    for number in itertools.count():
        if stage.over.is_set():
            break
        if number % (_CONVERSATIONS * _TURNS) == 0:
            current = [conversation(url, 10) for _ in range(_CONVERSATIONS)]
            devices += current
        device, was_swept = current[number % _CONVERSATIONS], stage.sweeping.is_set()
        begun = time.perf_counter()
        function.turn(device)
        seconds = time.perf_counter() - begun
        if stage.sweeping.is_set() is was_swept:
            took.append((seconds, was_swept))
        time.sleep(chance.expovariate(turns_a_second))
    stage.turns.put((took, devices))
    function.close()


# ---- what came of it


def _compare(took: list[tuple[float, bool]]) -> Iterator[str]:
    resting = sorted(seconds for seconds, swept in took if not swept)
    swept = sorted(seconds for seconds, swept in took if swept)
    print(f"| turns | {len(resting)} while it rested, {len(swept)} while it swept |")
    for share in (50, 99):
        one, other = _percentile(resting, share), _percentile(swept, share)
        print(
            f"| p{share} of a turn | {one * 1e3:.1f} ms, {other * 1e3:.1f} ms: {other / one:.2f}× (to reach: ≤ {_BAR:g}×) |",
            flush=True,
        )
        if share == 99 and other > _BAR * one:
            yield f"live turns' p99 is {other / one:.2f}× that without the sweep"


def _percentile(ordered: list[float], share: int) -> float:
    return ordered[min(len(ordered) - 1, math.ceil(len(ordered) * share / 100) - 1)]


def _check(url: str, sessions: int, ended: int, live: list[list[UUID]], bucket: str | None) -> Iterator[str]:
    if ended != sessions:
        yield f"{ended} of {sessions} are in the book as expired"
    left = _one(
        url, "SELECT count(*) FROM conversation_states WHERE last_active_at < now() - interval '1 hour'"
    )
    if left:
        yield f"{left} expired ones are still there"
    for table in ("turns", "messages", "tool_calls", "audit_log"):
        orphans = _one(
            url,
            f"SELECT count(*) FROM {table} t LEFT JOIN conversation_states s ON s.id = t.session_id WHERE s.id IS NULL",
        )
        if orphans:
            yield f"{orphans} rows of {table} belong to nothing"
    devices = [str(device) for device in live]
    whole = _one(
        url,
        "SELECT count(*) FROM connections c JOIN conversation_states s ON s.id = c.session_id WHERE c.device_id = ANY(%s::uuid[]) "
        "AND s.message_seq = (SELECT count(*) FROM messages m WHERE m.session_id = s.id)",
        devices,
    )
    if whole != len(devices):
        yield f"of {len(devices)} live sessions {whole} are whole"
    if bucket is not None:
        kept = count(bucket)
        print(f"| in the archive | {kept} |", flush=True)
        if kept != sessions:
            yield f"the archive has {kept} of {sessions}"


def _expired(url: str) -> int:
    return _one(
        url,
        "SELECT COALESCE(sum(value), 0)::bigint FROM daily_stats WHERE name = 'sessions' AND label = 'expired'",
    )


def _one(url: str, statement: str, *parameters: Any) -> int:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        ((value,),) = cursor.fetchall()
    return int(value)


def _say(line: str) -> None:
    print(f"sweep  {line}", file=sys.stderr, flush=True)


def _arguments() -> Asked:
    parser = argparse.ArgumentParser(
        prog="python -m bench.sweep", description=(__doc__ or "").splitlines()[0]
    )
    whole: Callable[[str], int] = int
    parser.add_argument(
        "--sessions", type=whole, default=1_000_000, help="how many have expired (default 1000000)"
    )
    parser.add_argument(
        "--archive", type=whole, default=20_000, help="how many more are archived first (default 20000)"
    )
    parser.add_argument("--cleaners", type=whole, default=3, help="clean-ups at once (default 3)")
    parser.add_argument("--clients", type=whole, default=2, help="clients at once (default 2)")
    parser.add_argument(
        "--turns", type=float, default=20.0, help="turns a second of all clients (default 20)"
    )
    parser.add_argument("--short", action="store_true", help="times are told, and fail nothing")
    given = parser.parse_args()
    return Asked(given.sessions, given.archive, given.cleaners, given.clients, given.turns, given.short)


if __name__ == "__main__":
    main()
