"""Both ways give the same replies, and neither does what its library would do by itself."""

import gc
import os
import socket
import threading
import time
import traceback
from typing import Any

import pytest

from core.cache.commands import CacheFailed, Command, Refused
from core.cache.native import NativeRedis
from core.cache.upstash import UpstashRedis
from tests.cache.asking import LONG_S, failure_of
from tests.cache.conftest import Way
from tests.conversations import until

# The library would turn most of these into something else.
EXCHANGES: list[tuple[Command, Any]] = [
    (("SET", "k", "v"), "OK"),
    (("GET", "k"), "v"),
    (("GET", "nothing"), None),
    (("SET", "ok", "OK"), "OK"),
    (("GET", "ok"), "OK"),
    (("SET", "u", "ünïcödé 🎉 \x00\r\n"), "OK"),
    (("GET", "u"), "ünïcödé 🎉 \x00\r\n"),
    (("SET", "empty", ""), "OK"),
    (("GET", "empty"), ""),
    (("INCRBY", "n", 2**53 + 1), 2**53 + 1),
    (("INCRBYFLOAT", "f", 1.5), "1.5"),
    (("PEXPIRE", "k", 100_000), 1),
    (("PERSIST", "k"), 1),
    (("EXISTS", "k", "u", "nothing"), 2),
    (("HSET", "h", "a", "1", "b", "2"), 2),
    (("HGETALL", "h"), ["a", "1", "b", "2"]),
    (("SADD", "s", "x"), 1),
    (("SMEMBERS", "s"), ["x"]),
    (("SISMEMBER", "s", "x"), 1),
    (("ZADD", "z", 1.5, "m"), 1),
    (("ZRANGE", "z", 0, -1, "WITHSCORES"), ["m", "1.5"]),
    (("MGET", "k", "nothing"), ["v", None]),
    (("LRANGE", "nothing", 0, -1), []),
    (("EVAL", "return {1, 'x', false, {2}}", 0), [1, "x", None, [2]]),
    (("EVAL", "return ARGV[1]", 0, 2**53 + 1), str(2**53 + 1)),
    (("EVAL", "return redis.status_reply('FINE')", 0), "FINE"),
    (("PING",), "PONG"),
    (("DEL", "k"), 1),
    (("TYPE", "k"), "none"),
]


@pytest.mark.parametrize(
    ("command", "reply"), EXCHANGES, ids=[str(number) for number in range(len(EXCHANGES))]
)
def test_a_reply_comes_as_redis_gave_it(way: Way, command: Command, reply: object) -> None:
    before = [command for command, _ in EXCHANGES[: [known for known, _ in EXCHANGES].index(command)]]
    replies = way.client.run([*before, command], LONG_S)
    assert len(replies) == len(before) + 1
    assert replies[-1] == reply
    assert type(replies[-1]) is type(reply)


def test_one_refused_command_hides_no_other(way: Way) -> None:
    replies = way.client.run([("SET", "k", "v"), ("LPUSH", "k", 1), ("NONSENSE",), ("GET", "k")], LONG_S)
    assert [type(reply) for reply in replies] == [str, Refused, Refused, str]
    assert [replies[1].code, replies[2].code] == ["WRONGTYPE", "ERR"]
    assert replies[1].message.startswith("WRONGTYPE Operation against a key")
    assert replies[3] == "v"


@pytest.mark.parametrize(
    ("prepare", "command", "code"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("SET", "k", "v"), "OOM"),
        (("CONFIG", "SET", "maxmemory", "1"), ("EVAL", "return redis.call('SET', 'k', 'v')", 0), "OOM"),
        (("SET", "k", "v"), ("EVAL", "return redis.call('LPUSH', 'k', 'v')", 0), "WRONGTYPE"),
        (("PING",), ("EVALSHA", "0" * 40, 0), "NOSCRIPT"),
        (("PING",), ("EVAL", "return nonsense(", 0), "ERR"),
    ],
)
def test_why_a_command_was_refused_is_told_by_its_code(
    way: Way, prepare: tuple[str, ...], command: Command, code: str
) -> None:
    way.redis.ask(*prepare)
    [reply] = way.client.run([command], LONG_S)
    assert isinstance(reply, Refused)
    assert reply.code == code


def test_the_code_of_what_nobody_knows_is_err() -> None:
    assert Refused("3f2b8c1e-5a4d").code == "ERR"
    assert Refused("ADA is the name of somebody").code == "ERR"
    assert Refused("").code == "ERR"


def test_binary_garbage_is_a_text_and_no_failure(way: Way) -> None:
    way.redis.ask("SET", "k", b"\xff\xfe\x00\x80")
    assert way.client.run([("GET", "k"), ("PING",)], LONG_S) == ["\ufffd\ufffd\x00\ufffd", "PONG"]


def test_a_value_of_a_megabyte_passes(way: Way) -> None:
    value = "x" * 1_000_000
    assert way.client.run([("SET", "k", value), ("GET", "k")], LONG_S) == ["OK", value]


def test_calls_at_once_do_not_take_each_others_replies(way: Way) -> None:
    wrong: list[object] = []

    def ask(number: int) -> None:
        for turn in range(60):
            said = f"{number}.{turn}"
            replies = way.client.run(
                [("SET", f"k{number}", said), ("GET", f"k{number}"), ("ECHO", said)], LONG_S
            )
            wrong.extend([replies] if replies != ["OK", said, said] else [])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_hang_ends_with_the_time_that_was_given(way: Way) -> None:
    way.client.run([("PING",)], LONG_S)
    way.faults["hang"]()
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(CacheFailed) as failed:
            way.client.run([("PING",)], 0.1)
        assert failed.value.kind == "timeout"
        assert time.monotonic() - began < 1.0


def test_a_redis_that_was_restarted_costs_no_answer(way: Way) -> None:
    assert way.client.run([("PING",)], LONG_S) == ["PONG"]
    way.redis.kill()
    way.redis.start()
    assert way.client.run([("PING",)], LONG_S) == ["PONG"]


def test_a_few_connections_are_kept_and_used_again(way: Way) -> None:
    for _ in range(20):
        way.client.run([("PING",)], LONG_S)
    clients = way.redis.ask("INFO", "clients")
    assert isinstance(clients, bytes)
    connected = int(clients.partition(b"connected_clients:")[2].split()[0])
    assert connected <= 3


def test_a_forked_child_uses_connections_of_its_own(way: Way) -> None:
    assert way.client.run([("SET", "who", "parent")], LONG_S) == ["OK"]
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = b"?"
        try:
            for _ in range(20):
                said = repr(way.client.run([("ECHO", "child")], LONG_S)).encode()
        finally:
            os.write(writing, said)
            os._exit(0)
    for _ in range(20):
        assert way.client.run([("ECHO", "parent")], LONG_S) == ["parent"]
    assert os.read(reading, 100) == b"['child']"
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
    assert way.client.run([("GET", "who")], LONG_S) == ["parent"]


def test_closing_ends_what_is_waited_for_and_leaves_nothing_open(way: Way) -> None:
    way.client.run([("PING",)], LONG_S)
    way.faults["hang"]()
    ended: list[object] = []

    def wait() -> None:
        with pytest.raises(CacheFailed) as failed:
            way.client.run([("PING",)], 60.0)
        ended.append(failed.value.kind)

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: in_flight(way.client))
    while not ended:  # it may have been just about to send
        way.client.close()
        thread.join(0.05)
    assert ended == ["transport"]
    way.mend()
    assert way.client.run([("PING",)], LONG_S) == ["PONG"], "it opens anew"
    way.client.close()
    gc.collect()  # a socket that was left open would be a warning, and so an error


def in_flight(client: object) -> bool:
    if isinstance(client, NativeRedis):
        return bool(client._used)
    assert isinstance(client, UpstashRedis)
    return client._line is not None and client._line.users > 0


def test_what_a_library_says_of_the_host_is_not_repeated(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does when a certificate is of another name."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(1, "certificate is not valid for 'some-host.example'")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    failed = failure_of(lambda: way.client.run([("PING",)], LONG_S))
    assert failed is not None
    assert failed.kind == "transport"
    assert "some-host" not in "".join(traceback.format_exception(failed))


def test_every_failure_has_a_known_kind_and_holds_nothing(way: Way) -> None:
    for name, fault in way.faults.items():
        fault()
        failed = failure_of(lambda: way.client.run([("GET", "k")], 0.05))
        assert failed is None or failed.kind in CacheFailed.KINDS, name
        assert not in_flight(way.client), "what failed is let go of"
