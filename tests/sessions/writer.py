"""A process of its own that updates one session: `python -m tests.sessions.writer`, told what to do by a line of JSON."""

import json
import sys
from contextlib import ExitStack
from typing import Any
from uuid import UUID

from core.cache.clock import utc_now
from core.cache.native import NativeRedis
from core.cache.upstash import UpstashRedis
from core.ids import SessionId
from core.sessions.layered import LayeredStorage
from core.sessions.manager import SessionManager
from core.sessions.postgres import PostgresStorage
from core.sessions.redis_storage import RedisStorage
from core.sessions.session import Session
from core.sessions.storage import Storage
from core.settings import Secret
from tests.sessions.rigs import door, shelf_at


def one_more(session: Session[dict[str, int]]) -> Session[dict[str, int]]:
    return session.with_state({"n": session.state["n"] + 1})


def counters(storage: Storage) -> SessionManager[dict[str, int]]:
    return SessionManager(dict[str, int], storage, namespace="counting")


def storage_at(where: dict[str, Any], stack: ExitStack) -> Storage:
    if where["kind"] in ("redis", "upstash"):
        native = where["kind"] == "redis"
        redis = (
            NativeRedis(Secret(where["redis"]))
            if native
            else UpstashRedis(where["front"], Secret(where["token"]))
        )
        stack.callback(redis.close)
        return RedisStorage(redis)
    authority = PostgresStorage(stack.enter_context(door(where["postgres"])))
    if where["kind"] == "postgres":
        return authority
    return LayeredStorage(
        authority, stack.enter_context(shelf_at(NativeRedis(Secret(where["redis"])), utc_now))
    )


def main() -> None:
    told = json.loads(sys.stdin.readline())
    with ExitStack() as stack:
        managed = counters(storage_at(told["where"], stack))
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(told["times"]):
            managed.update(SessionId(UUID(told["id"])), one_more, within_s=60)


if __name__ == "__main__":
    main()
