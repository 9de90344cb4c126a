"""The threads that ask Redis: how many, for how long, and in which process."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.cache.allowance import Allowance
from core.cache.commands import Redis
from core.cache.guard import Guard
from core.figures import Figures
from dev.redis import Fault, RedisFront
from tests.cache.asking import PING, SHORT_S, cache_threads
from tests.cache.conftest import BUDGET_S, MovedClock, Way, warmed
from tests.cache.contract import plenty
from tests.cache.names import StuckNames
from tests.cache.relay import Relay
from tests.conversations import until

ROOT = Path(__file__).parent.parent.parent


def test_threads_are_used_again(guard: Guard) -> None:
    for _ in range(50):
        assert guard.run(PING, plenty()) == ["PONG"]
    assert len(cache_threads()) == 1


def test_too_many_at_once_are_none_at_once_and_no_failure(way: Way, guard: Guard, figures: Figures) -> None:
    way.redis.pause()
    pending = [guard.later(PING) for _ in range(8)]
    allowance = plenty()
    for _ in range(20):
        assert guard.run(PING, allowance) is None
    assert allowance.left_s() == plenty().left_s(), "nobody waited"
    way.redis.resume()
    assert all(one.join(plenty()) for one in pending)
    assert figures.snapshot()["cache.skipped"] == {"crowded": 20}
    assert guard.state == "closed"
    assert guard.run(PING, plenty()) == ["PONG"]
    assert len(cache_threads()) <= 8


@pytest.fixture
def stuck(unloaded: Redis, names: StuckNames, clock: MovedClock, figures: Figures) -> Iterator[Guard]:
    """Each call must look the name up, and that does not end."""
    guard = warmed(Guard(unloaded, SHORT_S, figures, clock.monotonic))
    names.answers.clear()
    unloaded.close()
    yield guard
    names.answers.set()
    guard.close()


def recovers(guard: Guard, clock: MovedClock) -> None:
    """By itself, as time goes by."""

    def asked() -> bool:
        clock.ahead_s += 31.0
        return guard.run(PING, plenty()) == ["PONG"]

    until(asked)


def test_threads_stuck_in_a_lookup_are_written_off_and_others_take_their_place(
    stuck: Guard, names: StuckNames, clock: MovedClock, figures: Figures
) -> None:
    for _ in range(3):
        assert stuck.run(PING, Allowance(SHORT_S)) is None
    assert stuck.state == "open", "whoever waited for all of its time knows"
    until(lambda: names.waiting == 3)
    clock.ahead_s += 1.0
    assert stuck.run(PING, Allowance(SHORT_S)) is None, "the try of the half-open circuit is stuck too"
    assert stuck.state == "open"
    assert figures.snapshot()["cache.threads_lost"] == 3
    assert set(figures.snapshot()["cache.failures"]) == {"timeout"}
    names.answers.set()
    recovers(stuck, clock)
    until(lambda: not stuck._lost)


def test_for_ever_stuck_threads_do_not_become_more_and_more(
    stuck: Guard, names: StuckNames, clock: MovedClock
) -> None:
    for _ in range(40):
        clock.ahead_s += 31.0
        stuck.run(PING, Allowance(0.01))
    assert len(cache_threads()) <= 16
    allowance = plenty()
    assert stuck.run(PING, allowance) is None
    assert allowance.left_s() == plenty().left_s(), "nobody waited"
    names.answers.set()
    recovers(stuck, clock)
    until(lambda: not stuck._lost)


@pytest.mark.parametrize("budget_s", [SHORT_S])
def test_threads_that_are_held_up_by_drips_are_freed(
    way: Way, guard: Guard, relay: Relay, front: RedisFront, clock: MovedClock, figures: Figures
) -> None:
    """Each read is in time, so no time-out of a socket would ever end it."""
    way.redis.ask("SET", "k", "x" * 5_000)
    relay.drip_s = 0.02
    way.faults["drip"]()
    for _ in range(3):
        assert guard.run([("GET", "k")], Allowance(SHORT_S)) is None
    assert guard.state == "open"
    assert len(guard._busy) == 3
    front.faults.clear()
    relay.behave("well", cut=False)
    recovers(guard, clock)
    assert figures.snapshot()["cache.threads_lost"] >= 3
    until(lambda: not guard._lost, patience_s=2.0)


def test_no_thread_is_left_after_closing(way: Way, figures: Figures) -> None:
    guard = warmed(Guard(way.client, BUDGET_S, figures))
    for _ in range(5):
        guard.later(PING)
    guard.run(PING, plenty())
    guard.close()
    assert not cache_threads()


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_no_thread_is_left_after_closing_whatever_it_waited_for(
    way: Way, figures: Figures, fault: str
) -> None:
    guard = warmed(Guard(way.client, BUDGET_S, figures))
    way.faults[fault]()
    pending = [guard.later(PING) for _ in range(4)]
    began = time.monotonic()
    guard.close()
    assert time.monotonic() - began < 2.0
    assert not cache_threads()
    assert fault == "drip" or not any(one.join(plenty()) for one in pending)


def test_after_closing_the_answer_is_none(way: Way, figures: Figures) -> None:
    guard = warmed(Guard(way.client, BUDGET_S, figures))
    guard.close()
    assert guard.run(PING, plenty()) is None
    assert not guard.later(PING).join(plenty())
    guard.warm()
    guard.close()
    assert figures.snapshot()["cache.skipped"] == {"closed": 2}
    assert not cache_threads()


def test_a_machine_without_threads_to_spare_is_no_error(
    way: Way, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = warmed(Guard(way.client, BUDGET_S, figures))
    guard.close()
    guard = Guard(way.client, BUDGET_S, figures)

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        guard.warm()
        assert guard.run(PING, plenty()) is None
    warmed(guard)
    assert guard.run(PING, plenty()) == ["PONG"]
    guard.close()


def test_a_forked_child_asks_by_threads_of_its_own(way: Way, guard: Guard) -> None:
    assert guard.run([("SET", "who", "parent")], plenty()) == ["OK"]
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = b"?"
        try:
            said = repr({str(guard.run([("ECHO", "child")], plenty())) for _ in range(5)}).encode()
        finally:
            os.write(writing, said)
            os._exit(0)
    assert os.read(reading, 100) == b"""{"['child']"}"""
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
    assert guard.run([("GET", "who")], plenty()) == ["parent"]


def in_a_fresh_process(script: str, *given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *given],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_importing_the_cache_loads_no_client_library() -> None:
    script = """
import pkgutil, sys, core.cache
for module in pkgutil.iter_modules(core.cache.__path__):
    __import__(f"core.cache.{module.name}")
heavy = {"redis", "upstash_redis", "httpx", "httpcore", "ssl", "asyncio"} & set(sys.modules)
assert not heavy, heavy
"""
    done = in_a_fresh_process(script)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["redis", "upstash"])
def test_a_hanging_redis_does_not_keep_a_process_from_ending(
    relay: Relay, front: RedisFront, kind: str
) -> None:
    script = """
import sys, time
from core.cache.allowance import Allowance
from core.cache.guard import Guard
from core.cache.native import NativeRedis
from core.cache.upstash import UpstashRedis
from core.figures import Figures
from core.settings import Secret
client = NativeRedis(Secret(sys.argv[2])) if sys.argv[1] == "redis" else UpstashRedis(sys.argv[2], Secret(sys.argv[3]))
guard = Guard(client, 60.0, Figures())
guard.warm()
while guard.state == "warming":
    pass
for _ in range(4):
    guard.later([("PING",)])
print(guard.run([("PING",)], Allowance(0.05)))
"""
    # The hello is answered, and nothing after it.
    if kind == "redis":
        relay.behave("say", b"+OK\r\n", times=1)
        given = [f"redis://127.0.0.1:{relay.port}/0"]
    else:
        front.faults.add(Fault.none())
        front.faults.always(Fault.hang())
        given = [front.url, front.token]
    began = time.monotonic()
    done = in_a_fresh_process(script, kind, *given)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "None\n"
    assert time.monotonic() - began < 15.0


def test_the_hop_to_another_thread_costs_little(native: Way, figures: Figures) -> None:
    """About 30 µs on an idle machine; here only that it is no millisecond."""
    guard = warmed(Guard(native.client, 5.0, figures))
    by: dict[str, Callable[[], object]] = {
        "itself": lambda: native.client.run(PING, 5.0),
        "hop": lambda: guard.run(PING, plenty()),
    }
    took: dict[str, list[float]] = {name: [] for name in by}
    for _ in range(300):
        for name, ask in by.items():
            began = time.perf_counter()
            ask()
            took[name].append(time.perf_counter() - began)
    median = {name: sorted(times)[150] for name, times in took.items()}
    print({name: f"{seconds * 1e6:.0f} µs" for name, seconds in median.items()})
    assert median["hop"] - median["itself"] < 0.001
    guard.close()
