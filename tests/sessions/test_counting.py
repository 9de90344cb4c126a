"""Sixteen threads, and then four processes, update one session a thousand times each: none of it is lost.

They stand for the functions that a busy user's taps wake at once. Memory is shared by threads alone: processes have none in
common, so there it is the threads that count.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from core.ids import SessionId
from core.sessions.memory import MemoryStorage
from core.sessions.storage import Storage
from dev.redis import EmbeddedRedis, RedisFront
from tests.databases import ROOT
from tests.sessions.writer import counters, one_more, storage_at

THREADS, PROCESSES, TIMES = 16, 4, 1000


def by_threads(storage: Storage) -> SessionId:
    managed = counters(storage)
    made = managed.create(state={"n": 0})

    def write(_: int) -> None:
        for _ in range(TIMES):
            managed.update(made.id, one_more, within_s=60)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(write, range(THREADS)))
    return made.id


def by_processes(where: dict[str, Any], session_id: SessionId) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.sessions.writer"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    told = json.dumps({"where": where, "id": str(session_id), "times": TIMES})
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(f"{told}\n")
        writer.stdin.flush()
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n", timeout=100)
    assert [writer.returncode for writer in writers] == [0] * PROCESSES


def counted(storage: Storage, session_id: SessionId) -> tuple[int, int]:
    found = counters(storage).get(session_id)
    assert found is not None
    return found.state["n"], found.version - 1


def test_in_memory_sixteen_threads_lose_nothing() -> None:
    storage = MemoryStorage()
    assert counted(storage, by_threads(storage)) == (THREADS * TIMES, THREADS * TIMES)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["postgres", "redis", "upstash", "layered"])
def test_sixteen_threads_and_then_four_processes_lose_nothing(
    kind: str, stack: ExitStack, request: pytest.FixtureRequest
) -> None:
    where = place(kind, request.getfixturevalue)
    storage = storage_at(where, stack)
    session_id = by_threads(storage)
    assert counted(storage, session_id) == (THREADS * TIMES, THREADS * TIMES)
    by_processes(where, session_id)
    total = (THREADS + PROCESSES) * TIMES
    assert counted(storage_at(where, stack), session_id) == (total, total)


def place(kind: str, asked: Callable[[str], Any]) -> dict[str, Any]:
    """What another process must know to come to the same storage."""
    where: dict[str, Any] = {"kind": kind}
    if kind in ("postgres", "layered"):
        where["postgres"] = asked("database_url")
    if kind != "postgres":
        redis: EmbeddedRedis = asked("redis")
        where["redis"] = redis.url
    if kind == "upstash":
        front: RedisFront = asked("front")
        where |= {"front": front.url, "token": front.token}
    return where
