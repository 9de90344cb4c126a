"""The same conversation with a Redis that is well, away, late, lying or coming and going: the same answers, byte for byte."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import quantiles

import pytest

from core.cache.allowance import Allowance
from dev.demo_model import DemoModel
from dev.postgres import EmbeddedPostgres
from dev.redis import EmbeddedRedis, Fault, RedisFront
from tests.chaos.conversation import Talk, Told, hold
from tests.conversations import refusals
from tests.databases import new_database

BUDGET_MS = 150
# A busy machine has something else to do when a wait is over.
TO_WAKE_UP_S = 0.1
NOISE_S = 0.15
_NAP_S = 0.005
# More than this is no excuse, or a wait that is ours would be one: it makes others late, too.
_EXCUSED_S = 1.0

# What goes wrong, and what is done before each step.
Trouble = Callable[[RedisFront, EmbeddedRedis, random.Random], Callable[[], None]]


def _nothing() -> None:
    pass


def well(front: RedisFront, redis: EmbeddedRedis, rng: random.Random) -> Callable[[], None]:
    return _nothing


def away(front: RedisFront, redis: EmbeddedRedis, rng: random.Random) -> Callable[[], None]:
    front.refuse()
    return _nothing


def always(fault: Fault) -> Trouble:
    def trouble(front: RedisFront, redis: EmbeddedRedis, rng: random.Random) -> Callable[[], None]:
        front.faults.always(fault)
        return _nothing

    return trouble


def forgetting(front: RedisFront, redis: EmbeddedRedis, rng: random.Random) -> Callable[[], None]:
    return redis.clear


def garbling(front: RedisFront, redis: EmbeddedRedis, rng: random.Random) -> Callable[[], None]:
    """Each value has a byte flipped, is cut, is another key's, or is no value of ours at all."""

    def garble() -> None:
        kept = {key: redis.ask("GET", key) for key in _listed(redis.ask("KEYS", "*"))}
        values = {key: value for key, value in kept.items() if isinstance(value, bytes)}
        for key, value in values.items():
            another = rng.choice(list(values.values()))
            redis.ask("SET", key, rng.choice([_flipped(value, rng), _cut(value, rng), another, _alien(rng)]))

    return garble


def _flipped(value: bytes, rng: random.Random) -> bytes:
    if not value:
        return b"?"
    place = rng.randrange(len(value))
    return value[:place] + bytes([value[place] ^ (1 << rng.randrange(8))]) + value[place + 1 :]


def _cut(value: bytes, rng: random.Random) -> bytes:
    return value[: rng.randrange(len(value) + 1)]


def _listed(reply: object) -> list[bytes]:
    assert isinstance(reply, list)
    return reply


def _alien(rng: random.Random) -> bytes:
    return rng.choice([b"", b"null", b"[]", b'{"id": 1}', b"\xff\xfe", b"[" * 5000, b"9" * 400])


def coming_and_going(front: RedisFront, redis: EmbeddedRedis, rng: random.Random) -> Callable[[], None]:
    faults = [
        Fault.none(),
        Fault.cut(),
        Fault.lost(),
        Fault.hang(),
        Fault.late(0.3),
        Fault.slow(0.1),
        Fault.html(502),
    ]

    def flap() -> None:
        front.faults.script(*(rng.choice([Fault.none(), rng.choice(faults)]) for _ in range(7)))

    return flap


TROUBLES: dict[str, Trouble] = {
    "well": well,
    "away": away,
    "hanging": always(Fault.hang()),
    "slow": always(Fault.slow(0.2)),
    "dripping": always(Fault.drip(0.01)),
    "refusing the token": always(Fault.wrong_token()),
    "full": always(Fault.error("OOM command not allowed when used memory > 'maxmemory'.", matching="EVAL")),
    "an error for each command": always(Fault.error("ERR something is wrong")),
    "forgetting": forgetting,
    "answering garbage": always(Fault.garbage()),
    "answering with a page": always(Fault.html()),
    "answering something else": always(Fault.wrong_type()),
    "garbling what it keeps": garbling,
    "stale by a write": always(Fault.stale(1)),
    "stale by three writes": always(Fault.stale(3)),
    "losing every mark": always(Fault.cut(matching="EVAL")),
    "hearing of everything late": always(Fault.late(0.3, matching="EVAL")),
    "coming and going": coming_and_going,
}


@contextmanager
def conversation(
    postgres: EmbeddedPostgres, template: str, cache: dict[str, str], meanwhile: Callable[[], None]
) -> Iterator[Talk]:
    with DemoModel() as model, new_database(postgres, template) as url:
        environ = {
            "DATABASE_URL": url,
            "ACCESS_MODE": "open",
            "RATE_DEVICE_PER_MINUTE": "100000",
            "RATE_DEVICE_BURST": "100000",
            "DATABASE_POOL_SIZE": "4",
            "ANTHROPIC_API_KEY": "demo",
            "ANTHROPIC_BASE_URL": model.url,
            "CACHE_BUDGET_MS": str(BUDGET_MS),
        }
        with Talk.between({**environ, **cache}, meanwhile) as talk:
            yield talk
        assert refusals(model) == []


@pytest.fixture(scope="module")
def without(postgres: EmbeddedPostgres, template: str) -> Told:
    """What is answered where there is no Redis."""
    with conversation(postgres, template, {}, _nothing) as talk:
        hold(talk)
    return talk.told


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> dict[Allowance, float]:
    """How long each request waited for Redis, by the clock and not by its own account."""
    waited: dict[Allowance, float] = {}
    waiting = Allowance.waiting

    @contextmanager
    def timed(self: Allowance) -> Iterator[float]:
        began = time.perf_counter()
        with waiting(self) as left_s:
            yield left_s
        waited[self] = waited.get(self, 0) + time.perf_counter() - began

    monkeypatch.setattr(Allowance, "waiting", timed)
    return waited


class Lateness:
    """How late this machine wakes up whoever only sleeps, while something else is measured: so much of a wait is not Redis's."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._over = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        watch = threading.Thread(target=self._watch)
        watch.start()
        try:
            yield
        finally:
            self._over.set()
            watch.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            since = time.perf_counter()
            self._over.wait(_NAP_S)
            self.worst_s = max(self.worst_s, min(_EXCUSED_S, time.perf_counter() - since - _NAP_S))


@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_answers_are_the_same_and_hardly_later(
    trouble: str,
    postgres: EmbeddedPostgres,
    template: str,
    redis: EmbeddedRedis,
    without: Told,
    waits: dict[Allowance, float],
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    late = Lateness()
    with RedisFront(redis.wire, remembers=3) as front:
        cache = {"UPSTASH_REDIS_REST_URL": front.url, "UPSTASH_REDIS_REST_TOKEN": front.token}
        steps: list[Callable[[], None]] = [_nothing]
        with conversation(postgres, template, cache, lambda: steps[-1]()) as talk:
            _until_warm(talk)
            steps.append(TROUBLES[trouble](front, redis, random.Random(seed)))
            with late.watched():
                hold(talk)
    assert talk.told.answers == without.answers
    waited = max(waits.values(), default=0)
    assert waited <= BUDGET_MS / 1000 + TO_WAKE_UP_S + late.worst_s, "all that one request waits for Redis"
    added = [took - before for took, before in zip(talk.told.took_s, without.took_s, strict=True)]
    assert len(added) > 100
    # What is not waiting for Redis is noise of this machine, which may be busy: `python -m bench.sessions` has an idle one.
    assert quantiles(added, n=100, method="inclusive")[98] <= BUDGET_MS / 1000 + NOISE_S + late.worst_s
    if trouble == "well":
        hits = talk.houses[0].figures.snapshot().get("cache.hits", 0) + talk.houses[1].figures.snapshot().get(
            "cache.hits", 0
        )
        assert hits >= 20, "nothing was answered from the cache, so this proves nothing"


def _until_warm(talk: Talk) -> None:
    for house in talk.houses:
        while house.keeping.shown()["cache"] != "upstash, closed":
            pass
