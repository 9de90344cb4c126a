"""The network between a client and Redis does what the test says, and nothing else."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import closing, contextmanager
from io import BytesIO
from typing import Any

import pytest
import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from dev.postgres.processes import until
from dev.redis import EmbeddedRedis
from dev.redis.resp import encoded
from tests.network.clients import SILENCE_S, WAIT_S, meanwhile
from tests.network.faults import Fault
from tests.network.proxy import FaultyProxy
from tests.network.redis_protocol import Redis
from tests.network.threads import threads


@pytest.fixture
def proxy(redis: EmbeddedRedis) -> Iterator[FaultyProxy]:
    with FaultyProxy(redis.url) as proxy:
        yield proxy


@contextmanager
def connected(url: str, **options: Any) -> Iterator[redis_py.Redis]:
    """A client that asks once, and hears what happened."""
    retry = Retry(NoBackoff(), 0)
    with closing(redis_py.Redis.from_url(url, retry=retry, socket_timeout=WAIT_S, **options)) as client:
        yield client


def count(redis: EmbeddedRedis) -> int:
    held = redis.ask("GET", "count")
    return int(held) if isinstance(held, bytes) else 0


def done(proxy: FaultyProxy) -> list[str]:
    return [str(one) for one in proxy.done]


@pytest.mark.parametrize("protocol", [2, 3])
def test_without_faults_nothing_is_changed(proxy: FaultyProxy, redis: EmbeddedRedis, protocol: int) -> None:
    big = bytes(range(256)) * 4096
    with connected(proxy.url, protocol=protocol) as client:
        assert client.set("big", big)
        assert client.get("big") == big
        assert client.get("none") is None
        client.hset("hash", mapping={"a": "1", "b": ""})
        assert client.hgetall("hash") == {b"a": b"1", b"b": b""}
        assert client.eval("return {1, {'x', false}, {}}", 0) == [1, [b"x", None], []]
        with pytest.raises(redis_py.ResponseError, match="not an integer"):
            client.incr("big")
        with client.pipeline() as pipeline:
            pipeline.incr("count")
            pipeline.incr("count")
            assert pipeline.execute() == [1, 2]
    assert count(redis) == 2
    assert proxy.done == []


def test_a_reply_is_one_value_and_what_comes_unasked_is_none() -> None:
    said = [b"%1\r\n+a\r\n*2\r\n:1\r\n$-1\r\n", b">2\r\n+pushed\r\n$3\r\nx\r\n\r\n", b"_\r\n", b"-ERR x\r\n"]
    values = list(Redis().replies(BytesIO(b"".join(said))))
    assert [value.raw for value in values] == said
    assert [value.ends_reply for value in values] == [True, False, True, True]


def test_a_server_on_a_unix_socket_is_reached_too(redis: EmbeddedRedis) -> None:
    with FaultyProxy(redis.socket_url) as proxy, connected(proxy.url) as client:
        assert client.ping()


@pytest.mark.parametrize("how", [{"close": True}, {"reset": True}, {}])
def test_a_dropped_request_never_arrives(
    proxy: FaultyProxy, redis: EmbeddedRedis, how: dict[str, bool]
) -> None:
    proxy.faults.add(Fault.drop_request(matching="INCR", **how))
    with connected(proxy.url) as client:
        asking = meanwhile(client.incr, "count")
        assert proxy.done.wait_for(1)
        if not how:
            assert not wait([asking], SILENCE_S).done
            proxy.refuse()
        assert isinstance(asking.exception(WAIT_S), redis_py.ConnectionError)
    assert count(redis) == 0


def test_a_reset_is_a_reset(proxy: FaultyProxy) -> None:
    proxy.faults.add(Fault.drop_request(matching="PING", reset=True))
    with connected(proxy.url) as client:
        client.get("warm")
        with pytest.raises(redis_py.ConnectionError, match="reset by peer"):
            client.ping()


@pytest.mark.parametrize("how", [{"close": True}, {"reset": True}, {}])
def test_a_dropped_reply_is_of_a_command_that_was_carried_out(
    proxy: FaultyProxy, redis: EmbeddedRedis, how: dict[str, bool]
) -> None:
    proxy.faults.add(Fault.drop_reply(matching="INCR", **how))
    with connected(proxy.url) as client:
        asking = meanwhile(client.incr, "count")
        assert proxy.done.wait_for(1)
        assert count(redis) == 1
        if not how:
            assert not wait([asking], SILENCE_S).done
            proxy.refuse()
        assert isinstance(asking.exception(WAIT_S), redis_py.ConnectionError)


def test_a_cut_reply_ends_after_so_many_bytes(proxy: FaultyProxy, redis: EmbeddedRedis) -> None:
    redis.ask("SET", "key", "value")
    proxy.faults.add(Fault.cut_reply(matching="GET key", after_bytes=6))
    with raw(proxy, redis) as client:
        client.sendall(encoded(["GET", "key"]))
        assert everything(client) == b"$5\r\nva"


def test_garbage_comes_in_place_of_the_reply(proxy: FaultyProxy, redis: EmbeddedRedis) -> None:
    proxy.faults.add(Fault.garbage(matching="INCR"))
    with connected(proxy.url) as client:
        with pytest.raises(redis_py.RedisError, match="garbage"):
            client.incr("count")
        assert client.incr("count") == 2
    assert count(redis) == 2
    assert done(proxy) == ["garbage close: INCRBY count 1"]


def test_a_late_command_arrives_later(proxy: FaultyProxy) -> None:
    proxy.faults.add(Fault.delay(0.2, matching="INCR"))
    with connected(proxy.url) as client:
        begun = time.monotonic()
        assert client.incr("count") == 1
        assert time.monotonic() - begun >= 0.2


def test_a_held_command_arrives_though_its_client_has_gone(proxy: FaultyProxy, redis: EmbeddedRedis) -> None:
    let_go = threading.Event()
    proxy.faults.add(Fault.hold(let_go, matching="INCR"))
    with raw(proxy, redis) as client:
        client.sendall(encoded(["INCR", "count"]))
        assert proxy.done.wait_for(1)
    assert count(redis) == 0
    let_go.set()
    assert until(lambda: count(redis) == 1, WAIT_S)


def test_a_redis_that_is_down_cuts_and_refuses(proxy: FaultyProxy) -> None:
    with connected(proxy.url) as client:
        assert client.ping()
        proxy.refuse()
        for _ in range(2):
            with pytest.raises(redis_py.ConnectionError):
                client.ping()
        proxy.accept()
        assert client.ping()


def test_a_connect_can_hang(proxy: FaultyProxy) -> None:
    proxy.hang_connects()
    with connected(proxy.url) as client:
        asking = meanwhile(client.ping)
        assert not wait([asking], SILENCE_S).done
        proxy.refuse()
        assert isinstance(asking.exception(WAIT_S), redis_py.ConnectionError)


def test_a_client_with_a_timeout_gives_up_on_silence(proxy: FaultyProxy) -> None:
    proxy.faults.add(Fault.drop_request(matching="PING"))
    retry = Retry(NoBackoff(), 0)
    with closing(redis_py.Redis.from_url(proxy.url, retry=retry, socket_timeout=0.1)) as client:
        with pytest.raises(redis_py.TimeoutError):
            client.ping()
        assert client.ping()


def test_nothing_is_left_behind(redis: EmbeddedRedis) -> None:
    before = threads()
    with FaultyProxy(redis.url) as proxy:
        proxy.faults.add(Fault.drop_request(matching="lost"), Fault.hold(threading.Event(), matching="held"))
        with connected(proxy.url) as client:
            asking = [meanwhile(client.get, key) for key in ("lost", "held")]
            assert proxy.done.wait_for(2)
            proxy.refuse()
            wait(asking, WAIT_S)
    assert threads() <= before


@contextmanager
def raw(proxy: FaultyProxy, redis: EmbeddedRedis) -> Iterator[socket.socket]:
    """A client that sends what it is told to, and has logged in."""
    port = int(proxy.url.rpartition(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as client:
        client.sendall(encoded(["AUTH", redis.password]))
        assert client.recv(100) == b"+OK\r\n"
        yield client


def everything(client: socket.socket) -> bytes:
    said = b""
    while part := client.recv(1000):
        said += part
    return said
