"""Whatever a Redis does: nothing is raised, nobody waits beyond the allowance, and when it is mended it serves again."""

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from core.cache.allowance import Allowance
from core.cache.commands import CacheFailed
from core.cache.entry import Entry
from core.cache.guard import Guard
from core.cache.shelf import RedisShelf
from core.figures import Figures
from core.settings import Secret
from dev.redis import Fault, RedisFront
from tests.cache.conftest import MovedClock, Way, warmed
from tests.cache.contract import KEY, plenty
from tests.conversations import until

ALLOWANCE_S = 0.15
SOMEBODY = "3f2b8c1e-5a4d-4c7b-9e1f-2a6d8b0c4e57"
# Of a machine with two cores on which much else runs.
LONGEST_S = 0.4

NATIVE = [
    "hang", "drip", "reset", "half", "down", "garbage", "endless", "wrong length", "denied", "loading", "quota",
    "no permission",
]  # fmt: skip
REST = [
    "hang", "drip", "slow", "cut", "reset", "half", "down", "html", "html as if well", "busy", "moved", "garbage",
    "endless", "wrong type", "a list of what is wrong", "not base64", "neither", "too few", "too many", "null",
    "denied", "quota", "no permission",
]  # fmt: skip
FAULTS = [("redis", fault) for fault in NATIVE] + [("upstash", fault) for fault in REST]

KINDS = {
    "hang": {"timeout"}, "drip": {"timeout", "transport"}, "slow": {"timeout"}, "cut": {"transport"}, "reset": {"transport"},
    "half": {"transport", "garbage"}, "down": {"transport"}, "garbage": {"garbage"}, "endless": {"garbage", "timeout"},
    "wrong length": {"garbage", "timeout"}, "denied": {"denied"}, "loading": {"status"},
    "quota": {"refused", "status"}, "no permission": {"refused", "status"}, "html": {"status"}, "busy": {"status"}, "moved": {"status"},
}  # fmt: skip


def an_entry(clock: MovedClock) -> Entry:
    return Entry(5, 10, "{}", clock.utc() + timedelta(seconds=60))


def each_thing(shelf: RedisShelf, clock: MovedClock) -> dict[str, Callable[[Allowance], object]]:
    return {
        "look": lambda allowance: shelf.look(KEY, allowance),
        "offer": lambda allowance: shelf.offer(KEY, an_entry(clock), allowance),
        "mark": lambda allowance: shelf.mark(KEY, 5, 9, allowance) or None,
        "mark_later": lambda allowance: shelf.mark_later(KEY, 5, 9).join(allowance) or None,
        "remember": lambda allowance: shelf.remember("device:1", "x", 60).join(allowance) or None,
        "recall": lambda allowance: shelf.recall("device:1", allowance),
    }


@pytest.fixture
def budget_s() -> float:
    """Longer than anybody here waits: it is the allowance that ends a wait."""
    return 0.6


@pytest.fixture
def closing() -> Iterator[list[Guard]]:
    guards: list[Guard] = []
    yield guards
    for guard in guards:
        guard.close()


@pytest.mark.parametrize(("way", "fault"), FAULTS, indirect=["way"])
def test_each_thing_that_is_asked_comes_to_nothing_in_time(
    way: Way, fault: str, budget_s: float, clock: MovedClock, closing: list[Guard]
) -> None:
    """What the machine was busy with once is not held against it."""
    slow: list[dict[str, float]] = []
    while len(slow) < 3:
        way.mend()
        figures = Figures()
        guard = warmed(Guard(way.client, budget_s, figures, clock.monotonic))
        closing.append(guard)
        took_s = asked_each(way, fault, RedisShelf(guard, "test:", figures, clock.utc), clock)
        until(lambda guard=guard: guard.state == "open")  # type: ignore[misc]
        failures = figures.snapshot()["cache.failures"]
        assert set(failures) <= KINDS.get(fault, {"garbage"}), failures
        if max(took_s.values()) < LONGEST_S:
            return
        slow.append(took_s)
    pytest.fail(f"took {slow}")


def asked_each(way: Way, fault: str, shelf: RedisShelf, clock: MovedClock) -> dict[str, float]:
    """How long each thing took, none of which may give anything."""
    put(shelf, clock)
    shelf.remember("device:1", "x", 60).join(plenty())
    way.faults[fault]()
    took_s: dict[str, float] = {}
    for name, ask in each_thing(shelf, clock).items():
        began = time.monotonic()
        assert not ask(Allowance(ALLOWANCE_S)), name
        took_s[name] = time.monotonic() - began
    return took_s


def put(shelf: RedisShelf, clock: MovedClock) -> None:
    shelf.offer(KEY, an_entry(clock), plenty())
    assert shelf.look(KEY, plenty()) is not None


@pytest.mark.parametrize(("way", "fault"), FAULTS, indirect=["way"])
def test_the_circuit_opens_and_when_it_is_mended_closes_by_itself(
    way: Way, fault: str, shelf: RedisShelf, guard: Guard, clock: MovedClock, figures: Figures
) -> None:
    put(shelf, clock)
    way.faults[fault]()
    for _ in range(3):
        shelf.look(KEY, Allowance(ALLOWANCE_S))
    until(lambda: guard.state == "open")
    assert shelf.look(KEY, plenty()) is None
    assert figures.snapshot()["cache.skipped"] == {"circuit": 1}, "it was not asked"
    assert figures.snapshot()["cache.circuit_openings"] == 1

    way.mend()
    assert shelf.look(KEY, plenty()) is None
    clock.ahead_s += 1.0
    assert guard.state == "half-open"
    assert shelf.look(KEY, plenty()) is not None, "the one call that is let through"
    assert guard.state == "closed"


def test_all_that_one_request_asks_waits_for_one_allowance(
    way: Way, shelf: RedisShelf, clock: MovedClock, figures: Figures
) -> None:
    way.faults["hang"]()
    allowance = Allowance(ALLOWANCE_S)
    began = time.monotonic()
    for ask in each_thing(shelf, clock).values():
        assert not ask(allowance)
    assert time.monotonic() - began < 5 * ALLOWANCE_S, "one for each would be six"
    assert allowance.left_s() == 0
    assert figures.snapshot()["cache.skipped"]["allowance"] >= 2


def test_somebody_with_little_time_left_does_not_open_the_circuit(
    way: Way, shelf: RedisShelf, guard: Guard, figures: Figures
) -> None:
    for _ in range(20):
        shelf.look(KEY, Allowance(0.000_001))
    until(lambda: figures.snapshot().get("cache.latency", {}).get("count", 0) >= 1)
    assert guard.state == "closed"
    assert "cache.failures" not in figures.snapshot()


def test_a_full_redis_keeps_the_circuit_closed(
    way: Way, shelf: RedisShelf, guard: Guard, clock: MovedClock, figures: Figures
) -> None:
    way.redis.ask("CONFIG", "SET", "maxmemory", "1")
    for _ in range(5):
        shelf.offer(KEY, an_entry(clock), plenty())
    assert guard.state == "closed"
    assert figures.snapshot()["cache.refused"] == {"OOM": 5}
    assert figures.snapshot()["cache.puts"] == {"failed": 5}


def test_a_paused_redis_serves_when_it_goes_on(
    way: Way, shelf: RedisShelf, guard: Guard, clock: MovedClock
) -> None:
    shelf.offer(KEY, an_entry(clock), plenty())
    way.redis.pause()
    for _ in range(3):
        assert shelf.look(KEY, Allowance(ALLOWANCE_S)) is None
    until(lambda: guard.state == "open")
    way.redis.resume()
    clock.ahead_s += 1.0
    assert shelf.look(KEY, plenty()) is not None


@pytest.mark.parametrize("way", ["upstash"], indirect=True)
def test_a_mark_that_arrives_after_what_was_sent_after_it_harms_nothing(
    way: Way, front: RedisFront, shelf: RedisShelf, clock: MovedClock
) -> None:
    arrives = threading.Event()
    front.faults.add(Fault.hold(arrives, matching="EVAL"))
    pending = shelf.mark_later(KEY, 5, 10)
    until(lambda: len(front.faults) == 0)
    shelf.offer(KEY, an_entry(clock), plenty())
    arrives.set()
    assert pending.join(plenty())
    found = shelf.look(KEY, plenty())
    assert found is not None
    assert (found.epoch, found.version) == (5, 10)


@pytest.mark.parametrize(("way", "fault"), FAULTS, indirect=["way"])
def test_no_address_and_no_token_is_told_to_anybody(
    way: Way, fault: str, shelf: RedisShelf, clock: MovedClock, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = [str(value) for value in hidden(way.client)]
    assert len(secrets) >= 2
    way.faults[fault]()
    said = [repr(way.client), str(way.client)]
    with caplog.at_level(logging.INFO):
        try:
            said += map(str, way.client.run([("GET", SOMEBODY)], 0.1))
        except CacheFailed as failed:
            said += traceback.format_exception(failed)
        shelf.look(KEY, Allowance(ALLOWANCE_S))
    said += [record.getMessage() for record in caplog.records]
    for text in said:
        assert not any(secret in text for secret in [*secrets, "127.0.0.1", SOMEBODY]), text


def hidden(client: object) -> list[str]:
    """The parts of its address and its token."""
    found = []
    for value in vars(client).values():
        text = value.reveal() if isinstance(value, Secret) else value
        if isinstance(text, str):
            found += [
                text,
                *(part for part in text.replace("@", ":").replace("/", ":").split(":") if len(part) > 4),
            ]
    return [part for part in found if part not in ("redis", "upstash")]
