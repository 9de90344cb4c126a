"""Every storage in turn, each empty."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import cast

import pytest

from core.sessions.layered import Mode
from core.store.database import Database
from dev.postgres import EmbeddedPostgres
from dev.redis import EmbeddedRedis, RedisFront
from tests.databases import new_database
from tests.sessions import rigs
from tests.sessions.rigs import Rig

Asked = Callable[[str], object]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres, template: str) -> Iterator[Database]:
    """One for a whole file: each test has sessions of users of its own."""
    with new_database(postgres, template) as url, rigs.door(url) as database:
        yield database


def build(kind: str, asked: Asked, stack: ExitStack) -> Rig:
    """`asked`: gives a fixture by its name, so that who needs no Redis starts none."""
    if kind == "memory":
        return rigs.memory()
    if kind == "postgres":
        return rigs.postgres(cast(Database, asked("database")))
    if kind == "redis":
        return rigs.native(cast(EmbeddedRedis, asked("redis")), stack)
    if kind == "upstash":
        redis, front = asked("redis"), asked("front")
        return rigs.rest(cast(EmbeddedRedis, redis), cast(RedisFront, front), stack)
    mode, _, shelf = kind.partition(" on ")
    database = cast(Database, asked("database"))
    if shelf == "memory":
        return rigs.on_memory(database, cast(Mode, mode))
    return rigs.on_redis(database, cast(EmbeddedRedis, asked("redis")), cast(Mode, mode), stack)


@pytest.fixture(
    params=[
        "memory",
        "postgres",
        "redis",
        "upstash",
        "sync-on-access on memory",
        "sync-on-access on redis",
        "write-only-backup on memory",
        "write-only-backup on redis",
    ]
)
def rig(request: pytest.FixtureRequest, stack: ExitStack) -> Rig:
    return build(request.param, request.getfixturevalue, stack)
