"""What Upstash's REST API does not do is refused, in its words: what cannot be read, what it has not, whom it does not know."""

import pytest
from upstash_redis.errors import UpstashError

from dev.redis import EmbeddedRedis, RedisFront, repertoire
from tests.dev.rest import call, upstash

# --- what is not served


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/", b"", "ERR failed to parse command"),
        ("/", b"{", "ERR failed to parse command"),
        ("/", b"\xff\xfe", "ERR failed to parse command"),
        ("/", b'"GET"', "ERR failed to parse command"),
        ("/", b'{"0": "GET"}', "ERR failed to parse command"),
        ("/", b'["ECHO", ["nested"]]', "ERR failed to parse command"),
        ("/", b'["ECHO", null]', "ERR failed to parse command"),
        ("/", b'["ECHO", NaN]', "ERR failed to parse command"),
        ("/", b"[" * 100_000, "ERR failed to parse command"),
        ("/", b"[]", "ERR empty command"),
        ("/pipeline", b"[", "ERR failed to parse pipeline request"),
        ("/pipeline", b'{"commands": []}', "ERR failed to parse pipeline request"),
        ("/pipeline", b'["GET", "key"]', "ERR failed to parse pipeline request"),
        ("/pipeline", b"[]", "ERR empty pipeline request"),
        ("/multi-exec", b"[]", "ERR empty multi-exec request"),
        ("/multi-exec", b'["GET"]', "ERR failed to parse multi-exec request"),
        ("/", b'["GET"]', "ERR wrong number of arguments for 'get' command"),
        ("/get", b"", "ERR wrong number of arguments for 'get' command"),
    ],
)
def test_what_cannot_be_read_is_said_to_be_so(front: RedisFront, path: str, body: bytes, error: str) -> None:
    said = call(front, path, body)
    assert (said.status, said.error) == (400, error)


@pytest.mark.parametrize(
    "name", ["AUTH", "SELECT", "CLIENT", "MULTI", "EXEC", "WATCH", "SUBSCRIBE", "MONITOR", "hello", "QUIT"]
)
def test_what_needs_a_connection_is_not_for_rest(front: RedisFront, name: str) -> None:
    expected = f'ERR Command "{name.upper()}" is not allowed in REST or it has a special context path'
    assert call(front, body=[name, "x"]).error == expected
    assert call(front, f"/{name}/x").error == expected


@pytest.mark.parametrize(
    "command",
    [
        ["BLPOP", "list", 0],
        ["BRPOP", "list", 0],
        ["BLMOVE", "a", "b", "LEFT", "LEFT", 0],
        ["BZPOPMIN", "set", 0],
        ["XREAD", "BLOCK", 0, "STREAMS", "stream", "$"],
        ["XREADGROUP", "GROUP", "g", "c", "block", 0, "STREAMS", "stream", ">"],
        ["WAIT", 1, 0],
        ["CONFIG", "GET", "*"],
        ["SHUTDOWN", "NOSAVE"],
        ["DEBUG", "SLEEP", 0],
        ["CLUSTER", "INFO"],
        ["OBJECT", "ENCODING", "key"],
        ["MEMORY", "USAGE", "key"],
        ["NOSUCH"],
    ],
)
def test_what_upstash_does_not_have_is_not_available(front: RedisFront, command: list[object]) -> None:
    assert call(front, body=command).error == (
        f"ERR Command is not available: '{command[0]}'. "
        "See https://upstash.com/docs/redis/overall/rediscompatibility for details"
    )
    assert call(front, body=["PING"]).result == "PONG"


def test_what_an_older_redis_does_not_have_is_not_available_either(
    front: RedisFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repertoire, "_SERVED", repertoire._SERVED | {"TOONEW"})
    assert call(front, body=["TOONEW", "x"]).error.startswith("ERR Command is not available: 'TOONEW'")


def test_a_stream_named_block_is_no_reason_to_refuse(front: RedisFront) -> None:
    call(front, body=["XADD", "BLOCK", "*", "a", "b"])
    assert call(front, body=["XREAD", "STREAMS", "BLOCK", "0"]).result[0][0] == "BLOCK"


# --- tokens


@pytest.mark.parametrize("path", ["/", "/get/key", "/pipeline", "/multi-exec", "/nowhere"])
@pytest.mark.parametrize("token", ["wrong", "", "ä"])
def test_without_the_token_nothing_is_served(front: RedisFront, path: str, token: str) -> None:
    said = call(front, path, [["GET", "key"]], token=token and token.encode().decode("latin-1"))
    assert said.status == 401
    assert said.error.startswith("WRONGPASS invalid or missing auth token")
    assert front.requests[-1].commands == ()


def test_the_token_may_come_in_the_query(front: RedisFront) -> None:
    assert call(front, f"/set/key/value?_token={front.token}", token="").result == "OK"
    assert call(front, f"/?_token={front.token}", ["GET", "key"], token="").result == "value"
    assert call(front, "/get/key?_token=wrong", token="").status == 401
    assert call(front, f"/get/key?_token={front.token}", token="wrong").status == 401, "the header counts"
    assert not any(front.token in one.path + str(one.headers) for one in front.requests)


@pytest.mark.parametrize(
    "command",
    [["SET", "key", "x"], ["DEL", "key"], ["EVAL", "return 1", 0], ["FLUSHALL"], ["KEYS", "*"], ["SCAN", 0]],
)
def test_the_read_only_token_refuses_what_is_not_a_plain_read(
    front: RedisFront, redis: EmbeddedRedis, command: list[object]
) -> None:
    redis.ask("SET", "key", "value")
    said = call(front, body=command, token=front.read_only_token)
    name = str(command[0]).lower()
    assert (said.status, said.error) == (
        400,
        f"NOPERM this user has no permissions to run the '{name}' command or its subcommand",
    )
    assert redis.ask("GET", "key") == b"value"


def test_the_read_only_token_reads(front: RedisFront, redis: EmbeddedRedis) -> None:
    redis.ask("SET", "key", "value")
    with upstash(front, token=front.read_only_token) as client:
        assert client.get("key") == "value"
        assert client.ttl("key") == -1
        assert client.ping() == "PONG"
        pipeline = client.pipeline()
        pipeline.get("key")
        pipeline.set("key", "x")
        with pytest.raises(UpstashError, match="NOPERM"):
            pipeline.exec()
    assert redis.ask("GET", "key") == b"value"
