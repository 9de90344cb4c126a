"""What a look at a conversation costs with a cache and without, and what each storage of application sessions costs.

    make bench            or: python -m bench.sessions --rounds 200

The same call through the application, as a function on Lambda makes it: without a cache, from a cache over REST, and from one
by Redis's own protocol. All are on this machine, so a round trip costs nothing here; where it costs a millisecond, the counts of
round trips are what matters. Then the time that a Redis which hangs adds to a request.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self
from uuid import UUID, uuid4

from mangum import Mangum

from bench.conversations import conversation, database
from bench.turn import Figure, timed
from core.cache.native import NativeRedis
from core.cache.upstash import UpstashRedis
from core.house import House, build_house
from core.ids import UserId
from core.sessions.manager import SessionManager
from core.sessions.memory import MemoryStorage
from core.sessions.redis_storage import RedisStorage
from core.sessions.session import Session
from core.sessions.storage import Storage
from core.settings import Secret, read_settings
from dev.redis import EmbeddedRedis, Fault, RedisFront
from functions.app import build_app
from tests.wire import WireCounter

BUDGET_MS = 150
_HANGS = 400

Count = Callable[[], int]


@dataclass(slots=True)
class Function:
    house: House
    handler: Mangum

    @classmethod
    @contextmanager
    def over(cls, url: str, cache: dict[str, str]) -> Iterator[Self]:
        house = _house(url, cache)
        app = build_app(house, one_at_a_time=True)
        yield cls(house, Mangum(app, lifespan="off", text_mime_types=["application/json"]))
        house.close()

    def look(self, device: UUID) -> None:
        answer = self.handler(_event(device), None)  # type: ignore[arg-type]  # Lambda's context, which nobody asks
        assert answer["statusCode"] == 200, answer


def _house(url: str, cache: dict[str, str]) -> House:
    """One that has loaded what it takes to ask Redis."""
    house = build_house(
        read_settings(
            {"DATABASE_URL": url, "ACCESS_MODE": "open", "CACHE_BUDGET_MS": str(BUDGET_MS), **cache}
        )
    )
    while house.keeping.guard is not None and house.keeping.guard.state == "warming":
        pass
    return house


def main() -> None:
    asked = _arguments()
    with database() as url, EmbeddedRedis(tcp=True) as redis, RedisFront(redis.wire) as front:
        rest = {"UPSTASH_REDIS_REST_URL": front.url, "UPSTASH_REDIS_REST_TOKEN": front.token}
        _looks(url, redis, front, rest, asked.rounds)
        figures = [*_storages(url, redis, front), _hanging(url, front, rest)]
    for figure in figures:
        print(figure.line(), flush=True)
    missed = [figure for figure in figures if not figure.is_reached]
    sys.exit(f"\n{len(missed)} figures fall short" if missed else 0)


def _looks(url: str, redis: EmbeddedRedis, front: RedisFront, rest: dict[str, str], rounds: int) -> None:
    print(
        f"\nGET /v1/session, medians of {rounds} alternating rounds\n\n| from | ms | to Postgres | to Redis |\n|---|---:|---:|---:|"
    )
    ways: dict[str, tuple[dict[str, str], Count]] = {
        "Postgres, no cache": ({}, lambda: 0),
        "a cache over REST": (rest, lambda: front.requests.total),
        "a cache by Redis's own protocol": (
            {"REDIS_URL": redis.url, "CACHE_PREFIX": "own:"},
            lambda: _asked(redis),
        ),
    }
    device = conversation(url, 10)
    with ExitStack() as running:
        functions = [running.enter_context(Function.over(url, cache)) for cache, _ in ways.values()]
        took = _alternating([partial(function.look, device) for function in functions], rounds)
    for (name, (cache, asked)), seconds in zip(ways.items(), took, strict=True):
        print(f"| {name} | {seconds * 1e3:.2f} | {_trips(url, cache, asked, device)} |", flush=True)


def _trips(url: str, cache: dict[str, str], asked: Count, device: UUID) -> str:
    """Of the second look, counted where they pass, which takes time of its own."""
    with WireCounter(url) as wire, Function.over(wire.url, cache) as function:
        function.look(device)
        before = wire.count.round_trips, asked()
        function.look(device)
        return f"{wire.count.round_trips - before[0]} | {asked() - before[1]}"


def _storages(url: str, redis: EmbeddedRedis, front: RedisFront) -> list[Figure]:
    """Round trips of a get and of an update, and what they take side by side."""
    print("\n| storage | get, ms | update, ms |\n|---|---:|---:|")
    figures = []
    with WireCounter(url) as wire, ExitStack() as running:
        cached = {"REDIS_URL": redis.url, "CACHE_PREFIX": "layer:"}
        counted, direct = _house(wire.url, {}), _house(url, {})
        counted_layer, layer = _house(wire.url, cached), _house(url, cached)
        own, rest = NativeRedis(Secret(redis.url)), UpstashRedis(front.url, Secret(front.token))
        for one in (counted, direct, counted_layer, layer, own, rest):
            running.callback(one.close)
        # Postgres is counted on the wire, and timed without that.
        storages: dict[str, tuple[Storage, Storage, Count]] = {
            "memory": (MemoryStorage(), MemoryStorage(), lambda: 0),
            "Postgres": (counted.keeping.storage, direct.keeping.storage, lambda: wire.count.round_trips),
            "Redis": (RedisStorage(own), RedisStorage(own), lambda: _asked(redis)),
            "Redis over REST": (RedisStorage(rest), RedisStorage(rest), lambda: front.requests.total),
            # Of both: a get is one to Redis; an update reads there, writes to Postgres, and puts it back there.
            "Redis over Postgres": (
                counted_layer.keeping.storage,
                layer.keeping.storage,
                lambda: wire.count.round_trips + _asked(redis),
            ),
        }
        for name, (on_the_wire, timed_alone, count) in storages.items():
            bars = (1, 3 if name == "Redis over Postgres" else 2)
            for what, call, most in zip(("a get", "an update"), _calls(on_the_wire), bars, strict=True):
                before = count()
                call()
                trips = count() - before
                figures.append(
                    Figure(f"round trips of {what}, {name}", f"{trips} of {most}", trips / most, 1.0)
                )
            get_s, update_s = _alternating(_calls(timed_alone), 200)
            print(f"| {name} | {get_s * 1e3:.2f} | {update_s * 1e3:.2f} |", flush=True)
    return figures


def _calls(storage: Storage) -> list[Callable[[], object]]:
    manager: SessionManager[dict[str, int]] = SessionManager(dict, storage, namespace="bench")
    made = manager.create(user_id=UserId(uuid4()))
    return [partial(manager.get, made.id), partial(manager.update, made.id, _one_more)]


def _hanging(url: str, front: RedisFront, rest: dict[str, str]) -> Figure:
    """The slowest of a hundred looks while Redis takes requests and never answers, beside the same without Redis."""
    device = conversation(url, 10)
    with Function.over(url, {}) as without, Function.over(url, rest) as hanging:
        front.faults.always(Fault.hang())
        added = sorted(
            timed(partial(hanging.look, device)) - timed(partial(without.look, device)) for _ in range(_HANGS)
        )
        front.faults.clear()
    p99 = added[round(0.99 * _HANGS) - 1]
    said = f"p99 {p99 * 1e3:.1f} ms, most {added[-1] * 1e3:.0f} ms of {BUDGET_MS} ms"
    return Figure("time that a hanging Redis adds", said, p99 * 1000 / BUDGET_MS, 1.0)


def _one_more(session: Session[dict[str, int]]) -> Session[dict[str, int]]:
    return session.with_state({"n": session.state.get("n", 0) + 1})


def _alternating(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    took: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for place, call in enumerate(calls):
            took[place].append(timed(call))
    return [statistics.median(times) for times in took]


def _asked(redis: EmbeddedRedis) -> int:
    """Commands that came by its own protocol, one a round trip here; the front's are not counted, nor is this question."""
    said = redis.ask("INFO", "commandstats")
    assert isinstance(said, bytes)
    stats = dict(line.split(":", 1) for line in said.decode().splitlines() if ":" in line)
    return sum(
        int(stats.get(f"cmdstat_{name}", "calls=0").split(",")[0].removeprefix("calls="))
        for name in ("eval", "mget")
    )


def _event(device: UUID) -> dict[str, Any]:
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/v1/session",
        "rawQueryString": "",
        "headers": {"host": "api.example.com", "x-device-id": str(device)},
        "requestContext": {
            "http": {"method": "GET", "path": "/v1/session", "sourceIp": "192.0.2.1"},
            "requestId": "bench",
            "stage": "$default",
        },
        "isBase64Encoded": False,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.sessions", description="What looks and sessions cost."
    )
    parser.add_argument("--rounds", type=int, default=300, help="looks by each way (default 300)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
