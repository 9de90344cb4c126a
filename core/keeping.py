"""Keeping: where application sessions are kept, and what is asked before Postgres, as the settings have it.

Postgres and Redis      a shelf in Redis over Postgres
Postgres alone          Postgres; as a write-only backup a shelf in this process's memory over it
Redis alone             Redis
neither                 this process's memory, which ends with it; that is said
"""

import logging
from typing import cast

from core.cache.commands import Redis
from core.cache.guard import Guard
from core.cache.memory import MemoryShelf
from core.cache.native import NativeRedis
from core.cache.shelf import NoShelf, RedisShelf, Shelf
from core.cache.upstash import UpstashRedis
from core.figures import Figures
from core.sessions.farewell import Farewell
from core.sessions.layered import LayeredStorage, Mode
from core.sessions.memory import MemoryStorage
from core.sessions.postgres import PostgresStorage
from core.sessions.redis_storage import RedisStorage
from core.sessions.storage import Storage
from core.settings import Settings
from core.store.database import Database
from core.values import dataclass

_log = logging.getLogger(__name__)

# Of the budget; the rest is what it takes to be told that the wait is over, and to go on.
_WAITED = 0.9

_IN_MEMORY = "application sessions are in this process's memory and end with it: neither DATABASE_URL nor a Redis is configured"


@dataclass(frozen=True, slots=True)
class Keeping:
    storage: Storage
    shelf: Shelf
    farewell: Farewell
    # None: there is no Redis to be asked.
    guard: Guard | None
    # How long one request may wait for it, all in all.
    wait_s: float

    def warm(self) -> None:
        """Loads what it takes to ask Redis, and says hello, in the background: nothing waits for that."""
        if self.guard is not None:
            self.guard.warm()

    def partials(self, prefix: str) -> Shelf | None:
        """Where what is being said is kept, apart from the figures of the cache: it is looked for ten times a second."""
        return None if self.guard is None else RedisShelf(self.guard, prefix, Figures())

    def shown(self) -> dict[str, str]:
        """For an operator: where sessions are kept, and how the cache is doing."""
        cache = "none" if self.guard is None else f"{self.guard.kind}, {self.guard.state}"
        return {"sessions": self.storage.kind, "cache": cache}

    def close(self) -> None:
        self.storage.close()
        if self.guard is not None:
            self.guard.close()


def keeping(settings: Settings, database: Database | None, figures: Figures) -> Keeping:
    redis = _redis(settings)
    wait_s = settings.cache_budget_ms / 1000 * _WAITED
    guard = None if redis is None else Guard(redis, wait_s, figures)
    shelf: Shelf = NoShelf() if guard is None else RedisShelf(guard, settings.cache_prefix, figures)
    farewell = Farewell(shelf, wait_s)
    storage = _storage(settings, database, redis, farewell, figures)
    return Keeping(storage, shelf, farewell, guard, wait_s)


def _storage(
    settings: Settings,
    database: Database | None,
    redis: Redis | None,
    farewell: Farewell,
    figures: Figures,
) -> Storage:
    if database is None:
        if redis is not None:
            return RedisStorage(redis, prefix=settings.cache_prefix)
        _log.warning(_IN_MEMORY)
        return MemoryStorage()
    mode, authority = cast("Mode", settings.session_cache), PostgresStorage(database, ended=farewell)
    shelf = farewell.shelf
    if redis is None:
        if mode == "sync-on-access":
            return authority
        shelf = MemoryShelf(figures=figures)
    farewell.layered = LayeredStorage(authority, shelf, mode=mode, budget_s=farewell.wait_s)
    return farewell.layered


def _redis(settings: Settings) -> Redis | None:
    if settings.redis_url is not None:
        return NativeRedis(settings.redis_url)
    if settings.upstash_redis_rest_url is None or settings.upstash_redis_rest_token is None:
        return None
    return UpstashRedis(settings.upstash_redis_rest_url, settings.upstash_redis_rest_token)
