"""What only Redis has: keys that go by themselves, lists that do not, and errors of its own."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from core.cache.native import NativeRedis
from core.cache.upstash import UpstashRedis
from core.errors import StorageUnavailable, TooManySessions
from core.ids import SessionId, UserId
from core.sessions.manager import SessionManager
from core.sessions.redis_storage import RedisStorage
from core.settings import Secret
from dev.redis import EmbeddedRedis, Fault, RedisFront
from tests.sessions.rigs import age

Desks = SessionManager[dict[str, int]]


@pytest.fixture
def storage(redis: EmbeddedRedis) -> Iterator[RedisStorage]:
    storage = RedisStorage(NativeRedis(Secret(redis.url)), prefix="app1:")
    yield storage
    storage.close()


@pytest.fixture
def desks(storage: RedisStorage) -> Desks:
    return SessionManager(dict[str, int], storage, namespace="desk", default_ttl_s=100)


def keys(redis: EmbeddedRedis) -> set[str]:
    found = redis.ask("KEYS", "*")
    assert isinstance(found, list)
    return {key.decode() for key in found if isinstance(key, bytes)}


def test_keys_are_named_as_it_says(desks: Desks, redis: EmbeddedRedis) -> None:
    owner = UserId(uuid4())
    made = desks.create(user_id=owner, state={})
    assert keys(redis) == {f"app1:desk:session:{made.id}", f"app1:desk:user_sessions:{owner}"}


def test_what_redis_lets_go_of_by_itself_is_not_listed_and_takes_no_place(
    storage: RedisStorage, redis: EmbeddedRedis
) -> None:
    desks: Desks = SessionManager(dict[str, int], storage, namespace="desk", most_per_user=2)
    owner = UserId(uuid4())
    gone, kept = desks.create(user_id=owner, state={}), desks.create(user_id=owner, state={})
    redis.ask("DEL", f"app1:desk:session:{gone.id}")
    assert redis.ask("ZCARD", f"app1:desk:user_sessions:{owner}") == 2
    third = desks.create(user_id=owner, state={})
    assert desks.list_for_user(owner) == [kept.id, third.id]
    with pytest.raises(TooManySessions):
        desks.create(user_id=owner, state={})


def test_nothing_is_left_when_all_time_is_over(desks: Desks, redis: EmbeddedRedis) -> None:
    owner = UserId(uuid4())
    for ttl_s in (10, 100, 50):
        desks.create(user_id=owner, state={}, ttl_s=ttl_s)
    age(redis, 60)
    assert len(desks.list_for_user(owner)) == 1
    age(redis, 40)
    assert keys(redis) == set()


def test_a_list_outlives_a_session_whose_time_was_extended(desks: Desks, redis: EmbeddedRedis) -> None:
    owner = UserId(uuid4())
    made = desks.create(user_id=owner, state={})
    desks.set_ttl(made.id, 10_000)
    age(redis, 9_000)
    assert desks.list_for_user(owner) == [made.id]
    assert desks.get(made.id) is not None
    age(redis, 9_000)
    assert desks.list_for_user(owner) == [made.id]


def test_a_list_that_was_lost_is_mended_by_use(desks: Desks, redis: EmbeddedRedis) -> None:
    owner = UserId(uuid4())
    made = desks.create(user_id=owner, state={"n": 1})
    redis.ask("DEL", f"app1:desk:user_sessions:{owner}")
    desks.update(made.id, lambda s: s.with_state({"n": 2}))
    assert desks.list_for_user(owner) == [made.id]


def test_cleaning_up_goes_through_all_lists_of_its_namespace(
    storage: RedisStorage, redis: EmbeddedRedis
) -> None:
    """Also where the names in front would mean something else to a search."""
    odd = RedisStorage(storage._redis, prefix="a*[?]\\:")
    desks: Desks = SessionManager(dict[str, int], odd, namespace="desk")
    other: Desks = SessionManager(dict[str, int], storage, namespace="desk")
    for _ in range(30):
        for managed in (desks, other):
            made = managed.create(user_id=UserId(uuid4()), state={})
            managed.create(user_id=made.user_id, state={})
    for key in keys(redis):
        if ":session:" in key and hash(key) % 2:
            redis.ask("DEL", key)
    gone = 60 - sum(key.startswith("a*[?]\\:desk:session:") for key in keys(redis))
    assert desks.cleanup_expired() == gone
    assert desks.cleanup_expired() == 0


def test_what_is_no_session_at_its_key_is_an_error_and_stays(desks: Desks, redis: EmbeddedRedis) -> None:
    made = desks.create(state={})
    key = f"app1:desk:session:{made.id}"
    redis.ask("SET", key, "somebody else's")
    with pytest.raises(StorageUnavailable):
        desks.get(made.id)
    redis.ask("DEL", key)
    redis.ask(
        "HSET",
        key,
        "epoch",
        "x",
        "version",
        "y",
        "ttl",
        "100",
        "active",
        "1",
        "user",
        "",
        "body",
        "",
        "created",
        "",
    )
    with pytest.raises(StorageUnavailable):
        desks.get(made.id)


def test_a_full_redis_says_so_and_still_reads_and_deletes(desks: Desks, redis: EmbeddedRedis) -> None:
    made = desks.create(state={"n": 1})
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StorageUnavailable):
        desks.create(state={})
    for _ in range(3):
        redis.ask("CONFIG", "SET", "maxmemory", "0")
        age(redis, 60)
        redis.ask("CONFIG", "SET", "maxmemory", "1")
        found = desks.get(made.id)
        assert found is not None
        assert found.state == {"n": 1}
    assert desks.delete(made.id)


def test_its_memory_is_told(desks: Desks) -> None:
    health = desks.health()
    assert health.is_well
    assert (health.size_bytes or 0) > 100_000


def test_a_redis_that_is_away_is_one_error(
    desks: Desks, redis: EmbeddedRedis, caplog: pytest.LogCaptureFixture
) -> None:
    redis.kill()
    with pytest.raises(StorageUnavailable):
        desks.get(SessionId(uuid4()))
    assert not desks.health().is_well
    assert "transport" in caplog.text
    assert redis.password not in caplog.text


FAULTS = [
    Fault.html(),
    Fault.garbage(),
    Fault.wrong_type(),
    Fault.wrong_token(),
    Fault.cut(),
    Fault.truncated(),
    Fault.error("ERR hunter2"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_whatever_comes_over_rest_is_an_answer_or_one_error(
    front: RedisFront, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    client = UpstashRedis(front.url, Secret(front.token))
    desks: Desks = SessionManager(dict[str, int], RedisStorage(client), namespace="desk")
    made, owner = desks.create(state={"n": 0}), UserId(uuid4())
    front.faults.always(fault)
    asks: list[Callable[[], object]] = [
        lambda: desks.get(made.id),
        lambda: desks.create(state={}, user_id=owner),
        lambda: desks.delete(made.id),
        lambda: desks.exists(made.id),
        lambda: desks.get_ttl(made.id),
        lambda: desks.set_ttl(made.id, 10),
        lambda: desks.list_for_user(owner),
        desks.cleanup_expired,
    ]
    for ask in asks:
        with pytest.raises(StorageUnavailable):
            ask()
    assert not desks.health().is_well
    front.faults.clear()
    assert desks.health().is_well
    assert front.token not in caplog.text
    assert "hunter2" not in caplog.text
    client.close()
