"""What each call costs, counted where it passes: on the wire to Postgres, by Redis itself, at the door of its REST API."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

import pytest

from core.cache.clock import utc_now
from core.cache.native import NativeRedis
from core.cache.upstash import UpstashRedis
from core.ids import SessionId, UserId
from core.sessions.layered import LayeredStorage
from core.sessions.manager import SessionManager
from core.sessions.postgres import PostgresStorage
from core.sessions.redis_storage import RedisStorage
from core.sessions.session import NewSession, Session
from core.sessions.storage import Storage
from core.settings import Secret
from dev.redis import EmbeddedRedis, RedisFront
from tests.sessions.rigs import Counted, door, shelf_at
from tests.sessions.writer import counters, one_more
from tests.wire import WireCounter

Counter = Callable[[], int]


@contextmanager
def on_the_wire(url: str) -> Iterator[tuple[PostgresStorage, Counter]]:
    with WireCounter(url) as wire, door(wire.url, pool_size=1) as database:
        yield PostgresStorage(database), lambda: wire.count.round_trips


def costs(storage: Storage, counter: Counter) -> dict[str, int]:
    managed = counters(storage)
    managed.exists(SessionId(uuid4()))  # it has connected
    return {name: _cost(counter, call) for name, call in _calls(managed).items()}


def _calls(managed: SessionManager[dict[str, int]]) -> dict[str, Callable[[], object]]:
    owner = UserId(uuid4())
    made = managed.create(state={"n": 0}, user_id=owner)
    many: list[NewSession[dict[str, int]]] = [NewSession(user_id=owner) for _ in range(20)]
    return {
        "create": lambda: managed.create(user_id=owner),
        "get": lambda: managed.get(made.id),
        "update": lambda: managed.update(made.id, one_more),
        "unchanged": lambda: managed.update(made.id, lambda s: s),
        "exists": lambda: managed.exists(made.id),
        "get_ttl": lambda: managed.get_ttl(made.id),
        "set_ttl": lambda: managed.set_ttl(made.id, 600),
        "list": lambda: managed.list_for_user(owner),
        "store 20": lambda: managed.store_many(many),
        "delete 20": lambda: managed.delete_many(managed.list_for_user(owner)[-20:]),
    }


def _cost(counter: Counter, call: Callable[[], object]) -> int:
    before = counter()
    call()
    return counter() - before


EACH_STORAGE = {
    "create": 1,
    "get": 1,
    "update": 2,
    "unchanged": 1,
    "exists": 1,
    "get_ttl": 1,
    "set_ttl": 1,
    "list": 1,
    "store 20": 1,
    "delete 20": 2,  # the list of them is one
}


def test_postgres(database_url: str) -> None:
    with on_the_wire(database_url) as (storage, counter):
        assert costs(storage, counter) == EACH_STORAGE


def test_redis(redis: EmbeddedRedis) -> None:
    counted = Counted(NativeRedis(Secret(redis.url)))
    assert costs(RedisStorage(counted), lambda: counted.round_trips) == EACH_STORAGE
    counted.close()


def test_redis_over_rest(front: RedisFront) -> None:
    storage = RedisStorage(UpstashRedis(front.url, Secret(front.token)))
    assert costs(storage, lambda: front.requests.total) == EACH_STORAGE
    storage.close()


ON_A_SHELF = {
    # Of Postgres, of the shelf.
    "create": (1, 1),
    "get": (0, 1),
    "update": (1, 2),  # its read is the shelf's
    "unchanged": (1, 2),  # the shelf's word does not do for that
    "exists": (0, 1),
    "get_ttl": (1, 0),
    "set_ttl": (1, 1),
    "list": (1, 0),
    "store 20": (1, 0),
    "delete 20": (2, 20),
}


@pytest.mark.parametrize("place", ["postgres", "redis"])
def test_the_layer(database_url: str, redis: EmbeddedRedis, stack: ExitStack, place: str) -> None:
    authority, on_wire = stack.enter_context(on_the_wire(database_url))
    counted = Counted(NativeRedis(Secret(redis.url)))
    storage = LayeredStorage(authority, stack.enter_context(shelf_at(counted, utc_now)), budget_s=2.0)
    counter = on_wire if place == "postgres" else lambda: counted.round_trips
    column = int(place == "redis")
    assert costs(storage, counter) == {name: cost[column] for name, cost in ON_A_SHELF.items()}


def test_a_retry_costs_one_round_trip(database_url: str) -> None:
    """What a refused write gives back is what the next try is made on."""
    with on_the_wire(database_url) as (storage, counter), door(database_url) as beside:
        managed, other = counters(storage), counters(PostgresStorage(beside))
        made = managed.create(state={"n": 0})
        quicker = [1, 2, 3]  # times that somebody else is

        def change(session: Session[dict[str, int]]) -> Session[dict[str, int]]:
            if quicker:
                quicker.pop()
                other.update(made.id, one_more)
            return one_more(session)

        assert _cost(counter, lambda: managed.update(made.id, change)) == 2 + 3
        found = managed.get(made.id)
        assert found is not None
        assert found.state == {"n": 4}
