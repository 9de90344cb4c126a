"""A storage under test, with the means to move its time and to count its round trips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from core.cache.commands import Command, Redis
from core.cache.guard import Guard
from core.cache.memory import MemoryShelf
from core.cache.native import NativeRedis
from core.cache.shelf import RedisShelf, Shelf
from core.cache.upstash import UpstashRedis
from core.figures import Figures
from core.sessions.layered import LayeredStorage, Mode
from core.sessions.memory import MemoryStorage
from core.sessions.postgres import PostgresStorage
from core.sessions.redis_storage import RedisStorage
from core.sessions.storage import Storage
from core.settings import Secret
from core.store.database import Database
from dev.redis import EmbeddedRedis, RedisFront
from tests.conversations import until
from tests.store.test_database import open_door

# As if all that is in Redis had been put there so much earlier.
_AGE = """
local by = tonumber(ARGV[1])
for _, key in ipairs(redis.call('KEYS', '*')) do
    if redis.call('TYPE', key).ok == 'hash' then redis.call('HINCRBY', key, 'active', string.format('%.0f', -by * 1000)) end
    local left = redis.call('PTTL', key)
    if left >= 0 then redis.call('PEXPIRE', key, string.format('%.0f', left - by)) end
end
"""


@dataclass(slots=True)
class MovedClock:
    """Goes on as every clock does, and ahead when it is told to."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def age(redis: EmbeddedRedis, seconds: float) -> None:
    redis.ask("EVAL", _AGE, "0", str(round(seconds * 1000)))


@dataclass(slots=True)
class Rig:
    kind: str
    # Of the same place, as another process has it.
    another: Callable[[], Storage]
    clock: MovedClock
    redis: EmbeddedRedis | None = None
    storage: Storage = field(init=False)

    def __post_init__(self) -> None:
        self.storage = self.another()

    def pass_time(self, seconds: float) -> None:
        self.clock.ahead += timedelta(seconds=seconds)
        if self.redis is not None:
            age(self.redis, seconds)


def memory() -> Rig:
    clock = MovedClock()
    storage = MemoryStorage(clock)
    return Rig("memory", lambda: storage, clock)


def postgres(database: Database) -> Rig:
    clock = MovedClock()
    return Rig("postgres", lambda: PostgresStorage(database, now=clock), clock)


def native(redis: EmbeddedRedis, stack: ExitStack) -> Rig:
    def another() -> Storage:
        storage = RedisStorage(NativeRedis(Secret(redis.url)), prefix="test:")
        stack.callback(storage.close)
        return storage

    return Rig("redis", another, MovedClock(), redis)


def rest(redis: EmbeddedRedis, front: RedisFront, stack: ExitStack) -> Rig:
    def another() -> Storage:
        storage = RedisStorage(UpstashRedis(front.url, Secret(front.token)), prefix="test:")
        stack.callback(storage.close)
        return storage

    return Rig("upstash", another, MovedClock(), redis)


def on_memory(database: Database, mode: Mode) -> Rig:
    """Over Postgres, with a shelf in memory."""
    clock = MovedClock()
    shelf = MemoryShelf(clock)
    return Rig(f"{mode} on memory", lambda: _layered(database, shelf, mode, clock), clock)


def on_redis(database: Database, redis: EmbeddedRedis, mode: Mode, stack: ExitStack) -> Rig:
    """Over Postgres, with a shelf in Redis."""
    clock = MovedClock()
    shelf = stack.enter_context(shelf_at(NativeRedis(Secret(redis.url)), clock))
    return Rig(f"{mode} on redis", lambda: _layered(database, shelf, mode, clock), clock, redis)


def _layered(database: Database, shelf: Shelf, mode: Mode, clock: MovedClock) -> Storage:
    # More than the 150 ms of a request: a busy machine is not what is tested.
    return LayeredStorage(PostgresStorage(database, now=clock), shelf, mode=mode, budget_s=2.0, clock=clock)


class Counted:
    """A Redis whose round trips are counted."""

    def __init__(self, redis: Redis) -> None:
        self.kind = redis.kind
        self.round_trips = 0
        self._redis = redis

    def run(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        self.round_trips += 1
        return self._redis.run(commands, timeout_s)

    def close(self) -> None:
        self._redis.close()


@contextmanager
def shelf_at(redis: Redis, clock: Callable[[], datetime]) -> Iterator[Shelf]:
    figures = Figures()
    guard = Guard(redis, 2.0, figures)
    guard.warm()
    until(lambda: guard.state == "closed")
    yield RedisShelf(guard, "test:", figures, clock)
    guard.close()


@contextmanager
def door(url: str, **given: Any) -> Iterator[Database]:
    database = open_door(url, **{"pool_size": 4, **given})
    yield database
    database.close()
