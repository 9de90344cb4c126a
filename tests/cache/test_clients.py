"""Both ways give the same replies, and neither does what its library would do by itself."""

import gc
import http.server
import json
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from core.cache.commands import CacheFailed, Command, Refused
from core.cache.native import NativeRedis
from core.cache.upstash import UpstashRedis
from core.settings import Secret
from dev.redis import EmbeddedRedis, Fault, RedisFront
from tests.cache.conftest import Way
from tests.cache.relay import Relay
from tests.conversations import until

LONG_S = 10.0

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


# --- connections that died while they were kept


def test_a_redis_that_was_restarted_costs_no_answer(way: Way) -> None:
    assert way.client.run([("PING",)], LONG_S) == ["PONG"]
    way.redis.kill()
    way.redis.start()
    assert way.client.run([("PING",)], LONG_S) == ["PONG"]


def test_native_a_connection_that_was_closed_over_there_costs_no_answer(native: Way, relay: Relay) -> None:
    for _ in range(3):
        assert native.client.run([("PING",)], LONG_S) == ["PONG"]
        native.redis.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert relay.connections >= 2


def test_native_a_connection_that_ends_at_the_first_byte_is_replaced_at_once(
    native: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a freeze: it looks well until it is used."""
    from redis.connection import AbstractConnection

    assert native.client.run([("PING",)], LONG_S) == ["PONG"]
    native.redis.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    monkeypatch.setattr(AbstractConnection, "can_read", lambda *_: False)
    assert native.client.run([("PING",)], LONG_S) == ["PONG"]


def test_native_a_new_connection_that_ends_is_not_tried_again(native: Way, relay: Relay) -> None:
    relay.behave("reset")
    with pytest.raises(CacheFailed) as failed:
        native.client.run([("PING",)], LONG_S)
    assert failed.value.kind == "transport"
    assert relay.connections == 1


def test_native_a_connection_with_something_left_to_say_is_not_used_again(native: Way, relay: Relay) -> None:
    """Its next reply would be taken for that of another command."""
    assert native.client.run([("PING",)], LONG_S) == ["PONG"]
    relay.behave("say", b"+OK\r\n+OK\r\n", cut=False)
    assert native.client.run([("PING",)], LONG_S) == ["OK"]
    relay.behave("well", cut=False)
    assert native.client.run([("GET", "nothing")], LONG_S) == [None]


def test_native_what_was_idle_for_long_is_not_trusted(
    native: Way, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    native.client.run([("PING",)], LONG_S)
    native.client.run([("PING",)], LONG_S)
    assert relay.connections == 1
    monkeypatch.setattr("core.cache.native._IDLE_S", 0.0)
    native.client.run([("PING",)], LONG_S)
    assert relay.connections == 2


def test_rest_a_connection_that_died_while_it_was_kept_costs_no_answer(rest: Way, front: RedisFront) -> None:
    assert rest.client.run([("PING",)], LONG_S) == ["PONG"]
    front.faults.add(Fault.cut())
    assert rest.client.run([("PING",)], LONG_S) == ["PONG"]
    assert [request.fault for request in front.requests] == [None, "cut", None]


def test_rest_a_new_connection_that_ends_is_not_tried_again(rest: Way, front: RedisFront) -> None:
    front.faults.always(Fault.cut())
    with pytest.raises(CacheFailed):
        rest.client.run([("PING",)], LONG_S)
    assert len(list(front.requests)) == 1


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


# --- native: what is said on connecting


def test_native_nothing_is_said_on_connecting_but_auth_and_select(redis: EmbeddedRedis) -> None:
    client = NativeRedis(Secret(redis.url.removesuffix("/0") + "/3"))
    with redis.wire() as wire:
        wire.ask("CONFIG", "RESETSTAT")
        client.run([("GET", "k")], LONG_S)
        said = wire.ask("INFO", "commandstats")
    client.close()
    assert isinstance(said, bytes)
    names = [line.partition(b":")[0].removeprefix(b"cmdstat_") for line in said.splitlines()[1:]]
    assert {name for name in names if not name.startswith(b"config")} == {b"auth", b"select", b"get"}


def test_native_a_wrong_password_is_told_as_that(redis: EmbeddedRedis) -> None:
    client = NativeRedis(Secret(f"redis://:wrong@127.0.0.1:{redis.port}/0"))
    with pytest.raises(CacheFailed) as failed:
        client.run([("PING",)], LONG_S)
    assert failed.value.kind == "denied"
    client.close()


def test_native_serves_by_a_unix_socket_too(redis: EmbeddedRedis) -> None:
    client = NativeRedis(Secret(redis.socket_url))
    assert client.run([("PING",)], LONG_S) == ["PONG"]
    client.close()


def test_native_options_of_the_library_in_the_address_change_nothing(redis: EmbeddedRedis) -> None:
    """Such as a time-out of an hour, or replies that come decoded."""
    options = "?socket_timeout=3600&decode_responses=yes&max_connections=1&protocol=3&retry_on_timeout=yes"
    client = NativeRedis(Secret(redis.url + options))
    assert client.run([("SET", "k", "v"), ("GET", "k")], LONG_S) == ["OK", "v"]
    client.close()


# --- REST: what is sent


def test_rest_what_is_asked_is_one_pipeline_without_telemetry(rest: Way, front: RedisFront) -> None:
    rest.client.run([("SET", "k", 2**53 + 1), ("GET", "k")], LONG_S)
    [request] = front.requests
    assert (request.method, request.path) == ("POST", "/pipeline")
    assert request.commands == (("SET", "k", str(2**53 + 1)), ("GET", "k"))
    assert not [name for name in request.headers if "telemetry" in name.lower()]


def test_rest_numbers_are_sent_as_text(rest: Way, front: RedisFront, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where JSON is read into doubles, 2^53 + 1 is 2^53."""
    import httpx

    sent: list[bytes] = []
    real = httpx.Request

    def note(*about: Any, **more: Any) -> httpx.Request:
        sent.append(more["content"])
        return real(*about, **more)

    monkeypatch.setattr(httpx, "Request", note)
    rest.client.run([("SET", "k", 2**53 + 1), ("INCRBYFLOAT", "f", 1.5)], LONG_S)
    assert [json.loads(body) for body in sent] == [
        [["SET", "k", str(2**53 + 1)], ["INCRBYFLOAT", "f", "1.5"]]
    ]


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


def test_rest_reads_what_it_wrote_by_the_token_of_its_last_answer(rest: Way, front: RedisFront) -> None:
    for _ in range(2):
        rest.client.run([("PING",)], LONG_S)
    first, second = front.requests
    sent = {name.lower(): value for name, value in second.headers.items()}
    assert sent["upstash-sync-token"] == "sync-1"
    assert not {name.lower(): value for name, value in first.headers.items()}.get("upstash-sync-token")


def test_rest_nothing_is_sent_again_after_an_error(rest: Way, front: RedisFront) -> None:
    rest.client.run([("PING",)], LONG_S)
    for fault in (Fault.html(), Fault.garbage(), Fault.wrong_token(), Fault.truncated()):
        front.faults.add(fault)
        assert failure_of(lambda: rest.client.run([("INCR", "n")], LONG_S)) is not None
        rest.client.run([("PING",)], LONG_S)
    assert [request.commands[0][0] for request in front.requests if request.commands].count("INCR") == 4


def test_rest_a_discarded_transaction_is_no_error_of_ours(front: RedisFront, rest: Way) -> None:
    """The library would raise AttributeError; we ask for no transactions, and read what comes instead of a list."""
    front.faults.add(Fault.answer(200, '{"error": "EXECABORT Transaction discarded"}'))
    with pytest.raises(CacheFailed) as failed:
        rest.client.run([("GET", "k"), ("GET", "k")], LONG_S)
    assert failed.value.kind == "garbage"


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[str]]]:
    """Notes what it is asked for, and answers 502."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_error(502)

        def log_message(self, *said: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()
    thread.join()


@contextmanager
def closing(client: UpstashRedis) -> Iterator[UpstashRedis]:
    try:
        yield client
    finally:
        client.close()


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_rest_a_proxy_of_the_environment_is_not_used_for_loopback(
    front: RedisFront, proxy: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    address, asked = proxy
    monkeypatch.setenv(name, address)
    for host in ("127.0.0.1", "localhost"):
        url = front.url.replace("127.0.0.1", host)
        with closing(UpstashRedis(url, Secret(front.token))) as client:
            assert client.run([("PING",)], LONG_S) == ["PONG"]
    assert not asked


def test_rest_a_proxy_of_the_environment_is_used_for_others(
    proxy: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = proxy
    monkeypatch.delenv("all_proxy", raising=False)
    monkeypatch.setenv("http_proxy", address)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with closing(UpstashRedis("http://redis.example", Secret("token"))) as client:
        with pytest.raises(CacheFailed) as failed:
            client.run([("PING",)], LONG_S)
        assert failed.value.kind == "status"
        monkeypatch.setenv("no_proxy", "redis.example")
        assert asked == ["http://redis.example/pipeline"]


def test_every_failure_has_a_known_kind_and_holds_nothing(way: Way) -> None:
    for name, fault in way.faults.items():
        fault()
        failed = failure_of(lambda: way.client.run([("GET", "k")], 0.05))
        assert failed is None or failed.kind in CacheFailed.KINDS, name
        assert not in_flight(way.client), "what failed is let go of"


def failure_of(work: Callable[[], object]) -> CacheFailed | None:
    try:
        work()
    except CacheFailed as failed:
        return failed
    return None
