"""A Redis by both ways, each of which can be broken and mended."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from core.cache.commands import Redis
from core.cache.guard import Guard
from core.cache.native import NativeRedis
from core.cache.shelf import RedisShelf
from core.cache.upstash import UpstashRedis
from core.figures import Figures
from core.settings import Secret
from dev.redis import EmbeddedRedis, RedisFront
from tests.cache.names import StuckNames
from tests.cache.relay import Relay
from tests.conversations import until

# Long enough for a Redis that is well, on a machine that is not; what is about time says how long itself.
BUDGET_S = 3.0


class MovedClock:
    """The real time, and as much more as a test likes. For a shelf and for a guard."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s

    def utc(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s)


@dataclass
class Way:
    """A client of the one Redis, and how it is broken by name."""

    client: Redis
    faults: dict[str, Callable[[], None]]
    mend: Callable[[], None]
    redis: EmbeddedRedis


@pytest.fixture(params=["redis", "upstash"])
def way(request: pytest.FixtureRequest) -> Way:
    made: Way = request.getfixturevalue("native" if request.param == "redis" else "rest")
    return made


@pytest.fixture
def relay(redis: EmbeddedRedis) -> Iterator[Relay]:
    with Relay(redis) as relay:
        yield relay


@pytest.fixture
def native(relay: Relay) -> Iterator[Way]:
    client = NativeRedis(relay.url())
    faults = native_faults(relay)
    yield Way(client, faults, lambda: relay.behave("well"), relay._redis)
    client.close()


@pytest.fixture
def rest(front: RedisFront, redis: EmbeddedRedis) -> Iterator[Way]:
    client = UpstashRedis(front.url, Secret(front.token))

    def mend() -> None:
        front.faults.clear()
        front.refuse()
        front.accept()

    yield Way(client, rest_faults(front), mend, redis)
    client.close()


def native_faults(relay: Relay) -> dict[str, Callable[[], None]]:
    said = {
        "garbage": b"\xff\xfe<html>\r\n",
        "endless": b"*1\r\n" * 5_000,
        "wrong length": b"$-7\r\n$x\r\n",
        "denied": b"-NOAUTH Authentication required.\r\n",
        "loading": b"-LOADING Redis is loading the dataset in memory\r\n",
        "quota": b"-ERR max daily request limit exceeded\r\n",
        "no permission": b"-NOPERM this user has no permissions\r\n",
    }
    kept = {name: lambda words=words: relay.behave("say", words) for name, words in said.items()}
    known = {name: lambda name=name: relay.behave(name) for name in ("hang", "drip", "reset", "half")}
    return {**kept, **known, "down": relay.refuse}


def rest_faults(front: RedisFront) -> dict[str, Callable[[], None]]:
    from dev.redis import Fault

    whole = {
        "hang": Fault.hang(),
        "drip": Fault.drip(0.02),
        "slow": Fault.slow(5.0),
        "cut": Fault.cut(),
        "reset": Fault.cut(reset=True),
        "half": Fault.truncated(),
        "html": Fault.html(),
        "html as if well": Fault.html(200),
        "busy": Fault.answer(429, '{"error": "too many requests"}'),
        "moved": Fault.answer(302, ""),
        "garbage": Fault.garbage(),
        "endless": Fault.answer(200, "[" * 100_000),
        "wrong type": Fault.wrong_type(),
        "a list of what is wrong": Fault.answer(200, '[{"result": 1.5}]'),
        "not base64": Fault.answer(200, '[{"result": "!!"}]'),
        "neither": Fault.answer(200, "[{}]"),
        "too few": Fault.answer(200, "[]"),
        "too many": Fault.answer(200, '[{"result": 1}, {"result": 1}]'),
        "null": Fault.answer(200, "null"),
        "denied": Fault.wrong_token(),
        "quota": Fault.error("ERR max daily request limit exceeded"),
        "no permission": Fault.error("NOPERM this user has no permissions"),
    }
    made = {name: lambda fault=fault: front.faults.always(fault) for name, fault in whole.items()}
    return {**made, "down": front.refuse}


@pytest.fixture
def figures() -> Figures:
    return Figures()


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def budget_s() -> float:
    return BUDGET_S


@pytest.fixture
def guard(way: Way, figures: Figures, clock: MovedClock, budget_s: float) -> Iterator[Guard]:
    made = warmed(Guard(way.client, budget_s, figures, clock.monotonic))
    yield made
    made.close()


@pytest.fixture
def shelf(guard: Guard, figures: Figures, clock: MovedClock) -> RedisShelf:
    return RedisShelf(guard, "test:", figures, clock.utc)


def warmed(guard: Guard) -> Guard:
    guard.warm()
    until(lambda: guard.state != "warming")
    return guard


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[StuckNames]:
    stuck = StuckNames(monkeypatch)
    yield stuck
    stuck.answers.set()


@pytest.fixture(params=["redis", "upstash"])
def unloaded(request: pytest.FixtureRequest, relay: Relay, front: RedisFront) -> Iterator[Redis]:
    """A client that has not been asked yet, at a host with a name."""
    token = Secret(front.token)
    rest = UpstashRedis(front.url.replace("127.0.0.1", "localhost"), token)
    client: Redis = NativeRedis(relay.url("localhost")) if request.param == "redis" else rest
    yield client
    client.close()
