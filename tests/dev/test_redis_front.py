"""Upstash's REST API in front of a real Redis: what is asked in any of its shapes is done, and told as Upstash tells it.

Everything here runs against each redis-server that this machine has: the one on the PATH and the one of the wheel.
"""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from upstash_redis.errors import UpstashError

from dev.redis import EmbeddedRedis, RedisFront, program
from tests.dev.rest import WAIT_S, call, call_by, in_base64, opened, upstash


def servers() -> dict[str, Path | None]:
    found = {"path": program.on_path(), "wheel": program.in_wheel()}
    return {name: place for name, place in found.items() if place is not None} or {"none": None}


@pytest.fixture(scope="session", params=[*servers().values()], ids=[*servers()])
def redis_server(request: pytest.FixtureRequest, needs_redis: None) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tcp=True, program=request.param) as server:
        yield server


# --- Upstash's own client


def test_the_client_of_upstash_finds_what_it_expects(front: RedisFront) -> None:
    with upstash(front) as client:
        assert client.ping() == "PONG"
        assert client.set("key", "välue")
        assert client.get("key") == "välue"
        assert client.get("none") is None
        assert client.incr("count") == 1
        assert client.hset("hash", values={"a": 1, "b": ""}) == 2
        assert client.hgetall("hash") == {"a": "1", "b": ""}
        assert client.type("key") == "string"
        assert not client.set("key", "other", nx=True)
        assert client.set("short", "x", ex=100)
        assert 0 < client.ttl("short") <= 100
        assert client.mget("key", "none", "count") == ["välue", None, "1"]
        assert client.incrbyfloat("float", 1.5) == 1.5
        assert client.delete("key", "hash") == 2


def test_scripts_are_loaded_and_called_by_their_digest(front: RedisFront) -> None:
    script = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
    with upstash(front) as client:
        with pytest.raises(UpstashError, match="NOSCRIPT"):
            client.evalsha("0" * 40, keys=["count"], args=["2"])
        digest = client.script_load(script)
        assert client.evalsha(digest, keys=["count"], args=["2"]) == 2
        assert client.eval(script, keys=["count"], args=["3"]) == 5
        assert client.eval("return {1, 'x', {2, false, 'OK'}, {}}") == [1, "x", [2, None, "OK"], []]
        with pytest.raises(UpstashError, match="on purpose"):
            client.eval("return redis.error_reply('on purpose')")


def test_a_pipeline_is_one_request(front: RedisFront) -> None:
    with upstash(front) as client:
        pipeline = client.pipeline()
        pipeline.set("count", 1)
        pipeline.incr("count")
        pipeline.get("count")
        assert pipeline.exec() == [True, 2, "2"]
    assert [one.path for one in front.requests] == ["/pipeline"]
    assert front.requests[0].commands == (("SET", "count", "1"), ("INCR", "count"), ("GET", "count"))


def test_a_transaction_is_one_request(front: RedisFront) -> None:
    with upstash(front) as client:
        transaction = client.multi()
        transaction.set("count", 1)
        transaction.incr("count")
        assert transaction.exec() == [True, 2]
    assert [one.path for one in front.requests] == ["/multi-exec"]


def test_errors_are_those_of_redis(front: RedisFront) -> None:
    with upstash(front) as client:
        client.set("key", "value")
        with pytest.raises(UpstashError, match="ERR value is not an integer or out of range"):
            client.incr("key")
        with pytest.raises(UpstashError, match="WRONGTYPE"):
            client.lpush("key", "x")


def test_a_wrong_token_is_not_let_in(front: RedisFront) -> None:
    with upstash(front, token="wrong") as client, pytest.raises(UpstashError, match="WRONGPASS"):
        client.get("key")


# --- shapes of a command


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/", ["SET", "key", "value", "EX", 100]),
        ("", ["set", "key", "value", "ex", "100"]),
        ("/set/key/value/EX/100", None),
        ("/set/key/value?EX=100", None),
        ("/set/key?EX=100", b"value"),
        ("/set/key/value?EX=100&NX", None),
        ("/set/%6b%65y?EX=100", b"value"),
    ],
)
def test_one_command_in_each_shape(front: RedisFront, redis: EmbeddedRedis, path: str, body: object) -> None:
    assert call(front, path, body).json == {"result": "OK"}
    assert redis.ask("GET", "key") == b"value"
    assert redis.ask("TTL", "key") in (99, 100)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_methods_that_carry_a_command(front: RedisFront, method: str) -> None:
    assert call(front, "/set/key/value", method=method).result == "OK"
    assert call(front, "/get/key", method=method).result == "value"


def test_head_tells_the_size_alone(front: RedisFront, redis: EmbeddedRedis) -> None:
    port = int(front.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as client:
        head = f"HEAD /set/key/value?_token={front.token} HTTP/1.1\r\nconnection: close\r\n\r\n"
        client.sendall(head.encode())
        said = b"".join(iter(lambda: client.recv(1000), b""))
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: 15\r\n" in said
    assert said.endswith(b"\r\n\r\n")
    assert redis.ask("GET", "key") == b"value"


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_not_allowed(front: RedisFront, method: str) -> None:
    said = call(front, "/set/key/value", method=method)
    assert (said.status, said.content) == (405, b"")


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/set/a%2Fb/x", b"a/b"),
        ("/set/a+b/x", b"a+b"),
        ("/set/a%20b/x", b"a b"),
        ("/set/%C3%A4/x", "ä".encode()),
        ("/set/%FF%00/x", b"\xff\x00"),
        ("/set/a%3Fb/x", b"a?b"),
        ("/set//x", b""),
    ],
)
def test_words_of_the_path_are_decoded(
    front: RedisFront, redis: EmbeddedRedis, path: str, key: bytes
) -> None:
    assert call(front, path).result == "OK"
    assert redis.ask("KEYS", "*") == [key]


def test_words_of_the_query_are_decoded_and_come_last(front: RedisFront) -> None:
    said = call(front, "/eval/return%20ARGV/0/path?a+b=%C3%A4&c%26d=&e", b"body")
    assert said.result == ["path", "body", "a b", "ä", "c&d", "", "e"]
    said = call(front, f"/eval/return%20ARGV/0?_token={front.token}&a=b", token="")
    assert said.result == ["a", "b"], "the token is no word"


def test_numbers_and_truth_are_words_as_they_were_written(front: RedisFront) -> None:
    body = b'["EVAL", "return ARGV", 0, 1, 1.0, 1e5, -0, 12345678901234567890, true, false, "", "\\ud83d\\ude00"]'
    said = call(front, body=body).result
    assert said == ["1", "1.0", "1e5", "-0", "12345678901234567890", "true", "false", "", "😀"]


def test_half_a_surrogate_is_replaced(front: RedisFront) -> None:
    assert call(front, body=b'["ECHO", "a\\ud83db"]').result == "a\ufffdb"


# --- replies


def test_replies_of_every_kind(front: RedisFront) -> None:
    script = "return {1, -2, 'text', false, {'nested', {3}}, {}, 'OK'}"
    assert call(front, body=["EVAL", script, 0]).result == [1, -2, "text", None, ["nested", [3]], [], "OK"]
    assert call(front, body=["INCRBY", "count", "9223372036854775807"]).result == 9223372036854775807
    assert call(front, body=["INCRBYFLOAT", "float", "3.25"]).result == "3.25"
    assert call(front, body=["LRANGE", "none", 0, -1]).result == []
    assert call(front, body=["PING"]).result == "PONG"


def test_answers_are_json_and_carry_a_sync_token(front: RedisFront) -> None:
    first = call(front, body=["SET", "key", "value"])
    second = call(front, body=["SET", "key", "value"], upstash_sync_token=first.headers["upstash-sync-token"])
    assert first.headers["content-type"] == "application/json"
    assert first.headers["upstash-sync-token"] != second.headers["upstash-sync-token"]


def test_binary_values_are_whole_in_base64_and_readable_without(
    front: RedisFront, redis: EmbeddedRedis
) -> None:
    value = bytes(range(256))
    assert call(front, "/set/key", value).result == "OK"
    assert redis.ask("GET", "key") == value
    assert call(front, "/get/key", upstash_encoding="base64").result == in_base64(value)
    plain = call(front, "/get/key").result
    assert plain.startswith("".join(map(chr, range(128))))
    assert "\ufffd" in plain


def test_in_base64_all_strings_are_encoded_but_the_status_ok(front: RedisFront) -> None:
    def ask(*command: object) -> Any:
        return call(front, body=command, upstash_encoding="base64").result

    assert ask("SET", "key", "OK") == "OK"
    assert ask("GET", "key") == in_base64(b"OK"), "a value is not a status"
    assert ask("PING") == in_base64(b"PONG")
    assert ask("EVAL", "return {'a', 1, {'b'}, false}", 0) == [in_base64(b"a"), 1, [in_base64(b"b")], None]
    assert call(front, body=["INCR", "key"], upstash_encoding="base64").error.startswith("ERR value")


def test_a_megabyte_goes_in_and_comes_out(front: RedisFront) -> None:
    value = "ä" * 500_000
    with upstash(front) as client:
        assert client.set("key", value)
        assert client.get("key") == value
    assert call(front, "/get/key").result == value


def test_a_request_that_is_too_large_is_refused_and_the_connection_goes_on(front: RedisFront) -> None:
    with opened(front) as connection:
        said = call_by(connection, front, "/set/key", b"x" * (10 * 1024 * 1024 + 1))
        assert said.error.startswith("ERR max request size exceeded")
        assert call_by(connection, front, "/get/key").result is None


# --- several at once


def test_each_of_a_pipeline_is_answered_on_its_own(front: RedisFront) -> None:
    commands = [["SET", "key", "value"], ["INCR", "key"], ["AUTH", "x"], [], ["NOSUCH"], ["GET", "key"]]
    said = call(front, "/pipeline", commands)
    assert said.status == 200
    assert [next(iter(one)) for one in said.json] == ["result", "error", "error", "error", "error", "result"]
    assert said.json[1]["error"] == "ERR value is not an integer or out of range"
    assert said.json[3]["error"] == "ERR empty pipeline command"
    assert said.json[5] == {"result": "value"}


def test_a_pipeline_is_encoded_as_one_command_is(front: RedisFront) -> None:
    said = call(front, "/pipeline", [["SET", "key", "a"], ["GET", "key"]], upstash_encoding="base64")
    assert said.json == [{"result": "OK"}, {"result": in_base64(b"a")}]


def test_an_error_within_a_transaction_stops_nothing(front: RedisFront, redis: EmbeddedRedis) -> None:
    said = call(front, "/multi-exec", [["SET", "key", "value"], ["INCR", "key"], ["SET", "other", "x"]])
    assert said.status == 200
    assert said.json == [
        {"result": "OK"},
        {"error": "ERR value is not an integer or out of range"},
        {"result": "OK"},
    ]
    assert redis.ask("GET", "other") == b"x"


@pytest.mark.parametrize(
    "wrong", [["SET", "key"], ["NOSUCH"], ["CONFIG", "GET", "*"], ["MULTI"], ["BLPOP", "list", 0], []]
)
@pytest.mark.parametrize("alone", [False, True])
def test_a_transaction_with_a_wrong_command_is_discarded_as_a_whole(
    front: RedisFront, redis: EmbeddedRedis, wrong: list[object], alone: bool
) -> None:
    others: list[list[object]] = [] if alone else [["SET", "key", "value"]]
    said = call(front, "/multi-exec", [*others, wrong])
    assert said.status == 400
    assert said.error.startswith("EXECABORT Transaction discarded because of: ERR ")
    assert redis.ask("GET", "key") is None
    assert call(front, "/multi-exec", [["SET", "key", "value"]]).json == [{"result": "OK"}]


def test_nobody_comes_between_the_commands_of_a_transaction(front: RedisFront) -> None:
    over = threading.Event()

    def meddle() -> None:
        with opened(front) as connection:
            while not over.is_set():
                call_by(connection, front, body=["INCR", "count"])

    with ThreadPoolExecutor(2) as pool:
        meddling = [pool.submit(meddle) for _ in range(2)]
        for _ in range(100):
            first, second = call(front, "/multi-exec", [["INCR", "count"], ["INCR", "count"]]).json
            assert second["result"] == first["result"] + 1
        over.set()
        for one in meddling:
            one.result(10)


# --- the server behind


def test_the_front_and_the_native_protocol_see_the_same_data(front: RedisFront, redis: EmbeddedRedis) -> None:
    value = json.dumps({"text": "ä\u0000\U0001f600", "number": 1.5})
    with upstash(front) as rest, redis_py.Redis.from_url(redis.url, decode_responses=True) as native:
        rest.set("from-rest", value, ex=100)
        native.set("from-native", value, ex=100)
        assert native.get("from-rest") == rest.get("from-native") == value
        assert {rest.ttl("from-native"), native.ttl("from-rest")} <= {99, 100}
        rest.hset("hash", "a", "1")
        native.hset("hash", "b", "2")
        assert rest.hgetall("hash") == native.hgetall("hash") == {"a": "1", "b": "2"}
        script = "return redis.call('INCR', KEYS[1])"
        assert [rest.eval(script, keys=["n"]), native.eval(script, 1, "n")] == [1, 2]


def test_sixteen_clients_at_once_lose_nothing(front: RedisFront, redis: EmbeddedRedis) -> None:
    def work(number: int) -> None:
        with upstash(front) as client:
            for turn in range(50):
                client.set(f"own-{number}", turn)
                assert client.get(f"own-{number}") == str(turn), "nobody gets another's answer"
                client.incr("count")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert redis.ask("GET", "count") == b"800"
    assert front.requests.total == 16 * 50 * 3


def test_many_requests_go_over_one_connection(front: RedisFront) -> None:
    with opened(front) as connection:
        call_by(connection, front, body=["PING"])
        first = connection.sock
        assert [call_by(connection, front, body=["PING"]).result for _ in range(20)] == ["PONG"] * 20
        assert connection.sock is first is not None


def test_a_redis_that_was_killed_is_an_error_until_it_is_back(
    front: RedisFront, redis: EmbeddedRedis
) -> None:
    assert call(front, body=["SET", "key", "value"]).result == "OK"
    redis.kill()
    assert call(front, body=["GET", "key"]).status == 500
    redis.start()
    assert call(front, body=["GET", "key"]).result is None
    redis.kill()
    redis.start()
    assert call(front, body=["GET", "key"]).result is None, "no request meets a connection that is over"


def test_an_answer_that_came_too_late_is_nobodys(redis: EmbeddedRedis) -> None:
    redis.ask("MSET", "a", "of a", "b", "of b")
    with RedisFront(lambda: redis.wire(timeout_s=0.1)) as front:
        assert call(front, "/get/b").result == "of b"
        redis.pause()
        assert call(front, "/get/a").status == 500
        redis.resume()
        assert [call(front, "/get/b").result for _ in range(3)] == ["of b"] * 3


def test_a_full_redis_says_so(front: RedisFront, redis: EmbeddedRedis) -> None:
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    assert call(front, body=["SET", "key", "value"]).error.startswith("OOM command not allowed")
    assert call(front, body=["GET", "key"]).result is None
    discarded = call(front, "/multi-exec", [["GET", "key"], ["SET", "key", "value"]]).error
    assert discarded.startswith("EXECABORT Transaction discarded because of: OOM")
