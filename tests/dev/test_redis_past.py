"""A front that answers with yesterday's news: what keys held some writes ago, and nothing else."""

from collections.abc import Iterator

import pytest

from dev.redis import EmbeddedRedis, Fault, RedisFront
from tests.dev.rest import call

INCR = ["INCR", "count"]
GET = ["GET", "key"]


@pytest.fixture
def forgetful(redis: EmbeddedRedis) -> Iterator[RedisFront]:
    """One that can answer with what was true two writes ago."""
    with RedisFront(redis.wire, remembers=2) as front:
        yield front


def count(redis: EmbeddedRedis) -> int:
    held = redis.ask("GET", "count")
    return int(held) if isinstance(held, bytes) else 0


def test_stale_reads_tell_what_was_so_many_writes_ago(forgetful: RedisFront) -> None:
    for value in ("one", "two", "three"):
        call(forgetful, body=["SET", "key", value])
    forgetful.faults.add(Fault.stale(1), Fault.stale(2))
    assert [call(forgetful, body=GET).result for _ in range(3)] == ["two", "one", "three"]


def test_stale_a_key_may_not_yet_be_there_or_still_be(forgetful: RedisFront) -> None:
    call(forgetful, body=["SET", "key", "value", "EX", 100])
    forgetful.faults.always(Fault.stale(1))
    assert call(forgetful, body=GET).result is None
    call(forgetful, body=["DEL", "key"])
    assert call(forgetful, body=GET).result == "value"
    assert 0 < call(forgetful, body=["TTL", "key"]).result <= 100
    assert call(forgetful, body=["EXISTS", "key"]).result == 1
    forgetful.faults.always()
    assert call(forgetful, body=["EXISTS", "key"]).result == 0


def test_stale_one_answer_leaves_nothing_for_the_next(forgetful: RedisFront) -> None:
    for value in ("one", "two"):
        call(forgetful, body=["SET", "key", value])
    forgetful.faults.add(Fault.stale(1), Fault.stale(2))
    assert [call(forgetful, body=GET).result for _ in range(2)] == ["one", None]


def test_stale_a_key_without_any_past_is_told_as_it_is(forgetful: RedisFront, redis: EmbeddedRedis) -> None:
    redis.ask("SET", "key", "by another way")
    forgetful.faults.always(Fault.stale(2))
    assert call(forgetful, body=GET).result == "by another way"
    assert call(forgetful, body=["DBSIZE"]).result == 1


def test_stale_reads_of_every_type_and_of_many_keys(forgetful: RedisFront) -> None:
    before = [["HSET", "h", "f", "1"], ["SADD", "s", "1"], ["SET", "a", "1"], ["SET", "b", "1"]]
    after = [["HSET", "h", "f", "2"], ["SADD", "s", "2"], ["MSET", "a", "2", "b", "2"]]
    reads = [["HGETALL", "h"], ["SMEMBERS", "s"], ["MGET", "b", "a", "none"]]
    call(forgetful, "/pipeline", before)
    call(forgetful, "/pipeline", after)
    forgetful.faults.add(Fault.stale(1))
    said = call(forgetful, "/pipeline", reads).json
    assert [one["result"] for one in said] == [["f", "1"], ["1"], ["1", "1", None]]
    assert call(forgetful, body=["HGETALL", "h"]).result == ["f", "2"]


def test_stale_writes_and_scripts_and_transactions_are_true(
    forgetful: RedisFront, redis: EmbeddedRedis
) -> None:
    forgetful.faults.always(Fault.stale(1))
    script = "return redis.call('INCR', KEYS[1])"
    assert [call(forgetful, body=["EVAL", script, 1, "count"]).result for _ in range(2)] == [1, 2]
    assert call(forgetful, body=["GET", "count"]).result == "1", "what a script wrote has a past as well"
    assert call(forgetful, "/multi-exec", [INCR, ["GET", "count"]]).json[1] == {"result": "3"}
    assert call(forgetful, body=["GET", "count"]).result == "2"
    assert count(redis) == 3


def test_a_front_cannot_tell_what_it_does_not_remember(front: RedisFront, forgetful: RedisFront) -> None:
    with pytest.raises(ValueError, match="remembers 0 writes"):
        front.faults.add(Fault.stale())
    with pytest.raises(ValueError, match="remembers 2 writes"):
        forgetful.faults.always(Fault.stale(3))
