"""What can be made to go wrong at the REST front goes wrong as it was asked to, and for that request alone."""

import http.client
import json
import socket
import threading
import time

import httpx
import pytest
from upstash_redis.errors import UpstashError

from dev.postgres.processes import until
from dev.redis import EmbeddedRedis, Fault, RedisFront
from tests.dev.rest import WAIT_S, call, call_by, opened, upstash
from tests.network.clients import meanwhile

INCR = ["INCR", "count"]
GET = ["GET", "key"]


def count(redis: EmbeddedRedis) -> int:
    held = redis.ask("GET", "count")
    return int(held) if isinstance(held, bytes) else 0


def ended(front: RedisFront, body: object = INCR) -> type[Exception]:
    """How the connection ended that was to bring the answer."""
    with pytest.raises((OSError, http.client.HTTPException)) as ending:
        call(front, body=body)
    return ending.type


# --- no answer


def test_hanging_is_silence_until_the_client_goes(front: RedisFront, redis: EmbeddedRedis) -> None:
    front.faults.add(Fault.hang())
    with pytest.raises(TimeoutError):
        call(front, body=INCR, timeout_s=0.1)
    assert count(redis) == 0
    assert call(front, body=INCR).result == 1


def test_hanging_ends_with_the_front(front: RedisFront) -> None:
    front.faults.add(Fault.hang())
    asking = meanwhile(call, front, "/", INCR)
    assert front.requests.wait_for(1)
    front.stop()
    assert isinstance(asking.exception(WAIT_S), OSError | http.client.HTTPException)


@pytest.mark.parametrize("reset", [False, True])
def test_cut_the_command_is_not_carried_out(front: RedisFront, redis: EmbeddedRedis, reset: bool) -> None:
    front.faults.add(Fault.cut(reset=reset))
    assert ended(front) is (ConnectionResetError if reset else http.client.RemoteDisconnected)
    assert count(redis) == 0


@pytest.mark.parametrize("reset", [False, True])
def test_lost_it_is_carried_out_and_nobody_hears_of_it(
    front: RedisFront, redis: EmbeddedRedis, reset: bool
) -> None:
    front.faults.add(Fault.lost(reset=reset))
    assert ended(front) is (ConnectionResetError if reset else http.client.RemoteDisconnected)
    assert count(redis) == 1


def test_a_client_that_tries_again_after_a_lost_reply_does_it_twice(
    front: RedisFront, redis: EmbeddedRedis
) -> None:
    front.faults.add(Fault.lost())
    with upstash(front) as client:
        client._http._retries = 1
        client._http._retry_interval = 0
        assert client.incr("count") == 2


def test_down_everything_is_cut_and_refused_until_it_is_back(front: RedisFront, redis: EmbeddedRedis) -> None:
    url = front.url
    with opened(front) as kept:
        assert call_by(kept, front, body=INCR).result == 1
        front.refuse()
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                call(front, body=INCR)
        with pytest.raises((OSError, http.client.HTTPException)):
            call_by(kept, front, body=INCR)
    front.accept()
    assert front.url == url
    assert call(front, body=INCR).result == 2
    assert count(redis) == 2


def test_down_nobody_else_gets_its_port(front: RedisFront) -> None:
    port = int(front.url.rpartition(":")[2])
    front.refuse()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    front.accept()


def test_a_paused_redis_hangs_the_front_too_and_down_still_ends_it(
    front: RedisFront, redis: EmbeddedRedis
) -> None:
    assert call(front, body=INCR).result == 1
    redis.pause()
    asking = [meanwhile(call, front, "/", INCR) for _ in range(2)]
    assert not until(lambda: any(one.done() for one in asking), 0.1)
    begun = time.monotonic()
    front.refuse()
    assert time.monotonic() - begun < 2, "nobody was waited for"
    assert all(isinstance(one.exception(WAIT_S), OSError | http.client.HTTPException) for one in asking)
    redis.resume()


# --- late


def test_slow_it_is_carried_out_at_once_and_answered_later(front: RedisFront, redis: EmbeddedRedis) -> None:
    front.faults.add(Fault.slow(0.2))
    begun = time.monotonic()
    asking = meanwhile(call, front, "/", INCR)
    assert until(lambda: count(redis) == 1, 0.2)
    assert asking.result(WAIT_S).result == 1
    assert time.monotonic() - begun >= 0.2


def test_late_it_reaches_redis_though_its_client_has_gone(front: RedisFront, redis: EmbeddedRedis) -> None:
    front.faults.add(Fault.late(0.2))
    with pytest.raises(TimeoutError):
        call(front, body=INCR, timeout_s=0.05)
    assert count(redis) == 0
    assert until(lambda: count(redis) == 1, WAIT_S)


def test_held_it_reaches_redis_when_the_test_says_so(front: RedisFront, redis: EmbeddedRedis) -> None:
    let_go = threading.Event()
    front.faults.add(Fault.hold(let_go))
    asking = meanwhile(call, front, "/", INCR)
    assert front.requests.wait_for(1)
    assert front.requests[0].commands == (("INCR", "count"),)
    assert count(redis) == 0
    let_go.set()
    assert asking.result(WAIT_S).result == 1
    assert front.requests.total == 1, "it is one request, however long it took"


def test_held_for_good_it_ends_with_the_front(front: RedisFront, redis: EmbeddedRedis) -> None:
    front.faults.add(Fault.hold(threading.Event()), Fault.late(60))
    asking = [meanwhile(call, front, "/", INCR) for _ in range(2)]
    assert front.requests.wait_for(2)
    front.stop()
    assert all(isinstance(one.exception(WAIT_S), OSError | http.client.HTTPException) for one in asking)
    assert count(redis) == 0


def test_dripping_the_answer_comes_byte_by_byte(front: RedisFront) -> None:
    front.faults.add(Fault.drip(0.001))
    begun = time.monotonic()
    assert call(front, body=["ECHO", "x" * 50]).result == "x" * 50
    assert time.monotonic() - begun >= 0.1


def test_a_timeout_for_each_read_does_not_end_what_drips(front: RedisFront) -> None:
    front.faults.add(Fault.drip(0.004))
    with upstash(front) as client:
        client._http._client.timeout = httpx.Timeout(0.2)
        begun = time.monotonic()
        assert client.echo("x" * 20) == "x" * 20
        assert time.monotonic() - begun > 2 * 0.2


# --- another answer


def test_half_an_answer(front: RedisFront, redis: EmbeddedRedis) -> None:
    front.faults.add(Fault.truncated())
    assert ended(front) is http.client.IncompleteRead
    assert count(redis) == 1


@pytest.mark.parametrize(
    ("fault", "status", "media_type"),
    [
        (Fault.html(), 500, "text/html"),
        (Fault.html(503), 503, "text/html"),
        (Fault.garbage(), 200, "application/json"),
        (Fault.answer(429, '{"error": "slow down"}'), 429, "application/json"),
        (Fault.answer(200, b""), 200, "application/json"),
    ],
)
def test_an_answer_of_the_tests_own_does_not_touch_redis(
    front: RedisFront, redis: EmbeddedRedis, fault: Fault, status: int, media_type: str
) -> None:
    front.faults.add(fault)
    said = call(front, body=INCR)
    assert (said.status, said.content, said.headers["content-type"]) == (status, fault.body, media_type)
    assert count(redis) == 0
    assert front.requests[-1].status == status


@pytest.mark.parametrize("fault", [Fault.html(), Fault.garbage()])
def test_garbage_is_not_understood_by_the_client(front: RedisFront, fault: Fault) -> None:
    front.faults.add(fault)
    with upstash(front) as client, pytest.raises(ValueError):
        client.get("key")


def test_an_answer_of_the_wrong_type_is_fine_json(front: RedisFront) -> None:
    front.faults.add(Fault.wrong_type())
    assert call(front, body=GET).result == {"unexpected": [True, 1.5]}


def test_a_token_that_was_revoked(front: RedisFront, redis: EmbeddedRedis) -> None:
    front.faults.add(Fault.wrong_token())
    with upstash(front) as client, pytest.raises(UpstashError, match="WRONGPASS"):
        client.incr("count")
    assert count(redis) == 0


# --- errors of Redis


def test_an_error_for_each_command(front: RedisFront, redis: EmbeddedRedis) -> None:
    front.faults.always(Fault.error("OOM command not allowed"))
    assert call(front, body=INCR).error == "OOM command not allowed"
    assert call(front, "/pipeline", [INCR, GET]).json == [{"error": "OOM command not allowed"}] * 2
    assert call(front, "/multi-exec", [INCR, GET]).error.endswith("OOM command not allowed")
    assert count(redis) == 0


def test_an_error_for_one_of_several(front: RedisFront, redis: EmbeddedRedis) -> None:
    front.faults.add(Fault.error("ERR on purpose", nth=1))
    assert call(front, "/pipeline", [INCR, INCR, INCR]).json == [
        {"result": 1},
        {"error": "ERR on purpose"},
        {"result": 2},
    ]
    front.faults.add(Fault.error("ERR on purpose", nth=1))
    assert call(front, "/multi-exec", [INCR, INCR]).status == 400
    assert count(redis) == 2


# --- which request


def test_a_fault_waits_for_the_request_that_it_matches(front: RedisFront) -> None:
    front.faults.add(Fault.html(matching="INCR count"), Fault.html(503, matching="nobody sends this"))
    assert call(front, body=GET).result is None
    assert len(front.faults) == 2
    assert call(front, "/pipeline", [GET, INCR]).status == 500
    assert call(front, body=INCR).result == 1
    assert len(front.faults) == 1


def test_a_script_of_faults_goes_round(front: RedisFront) -> None:
    front.faults.script(Fault.none(), Fault.html(), Fault.html(503))
    assert [call(front, body=GET).status for _ in range(6)] == [200, 500, 503, 200, 500, 503]
    front.faults.add(Fault.html(502))
    assert [call(front, body=GET).status for _ in range(2)] == [502, 200], "what was added comes first"
    front.faults.script()
    assert call(front, body=GET).status == 200


def test_a_standing_fault_stays_until_it_is_taken_back(front: RedisFront) -> None:
    front.faults.always(Fault.html())
    assert [call(front, body=GET).status for _ in range(3)] == [500, 500, 500]
    assert call(front, token="wrong").status == 500, "whoever asks"
    front.faults.always()
    assert call(front, body=GET).status == 200
    front.faults.always(Fault.html())
    front.faults.clear()
    assert call(front, body=GET).status == 200


# --- the record


def test_the_record_tells_what_came_and_what_was_done(front: RedisFront) -> None:
    front.faults.add(
        Fault.cut(reset=True, matching="DEL"), Fault.error("ERR on purpose", nth=1, matching="INCR")
    )
    call(front, "/set/key", b"value")
    call(front, "/pipeline", [GET, INCR], upstash_encoding="base64")
    call(front, body=b"no JSON")
    ended(front, ["DEL", "key"])
    told = [(one.method, one.path, one.commands, one.status, one.fault) for one in front.requests]
    assert told == [
        ("POST", "/set/key", (("set", "key", "value"),), 200, None),
        ("POST", "/pipeline", (("GET", "key"), ("INCR", "count")), 200, "error ERR on purpose nth=1"),
        ("POST", "/", (), 400, None),
        ("POST", "/", (("DEL", "key"),), 0, "cut reset"),
    ]
    assert front.requests[1].headers["upstash-encoding"] == "base64"
    assert front.requests[1].headers["authorization"] == "(kept out)"
    front.requests.clear()
    assert front.requests.total == 0


def test_a_request_is_in_the_record_before_its_answer_leaves(front: RedisFront) -> None:
    front.faults.always(Fault.slow(0.05))
    for number in range(5):
        call(front, body=INCR)
        assert front.requests.total == number + 1


def test_what_is_no_http_is_refused(front: RedisFront) -> None:
    port = int(front.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as client:
        client.sendall(b"*1\r\n$4\r\nPING\r\n\r\n")
        said = b"".join(iter(lambda: client.recv(1000), b""))
    assert said.startswith(b"HTTP/1.1 400 ")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"].startswith("ERR not HTTP")


def test_nothing_is_left_behind(redis: EmbeddedRedis) -> None:
    def clients() -> int:
        said = redis.ask("INFO", "clients")
        assert isinstance(said, bytes)
        return int(said.partition(b"connected_clients:")[2].split()[0])

    before, connected = set(threading.enumerate()), clients()
    with RedisFront(redis.wire) as front, opened(front) as kept:
        assert call_by(kept, front, body=INCR).result == 1
        front.faults.add(Fault.hang(), Fault.hold(threading.Event()))
        asking = [meanwhile(call, front, "/", INCR) for _ in range(2)]
        assert front.requests.wait_for(3)
    assert until(lambda: all(one.done() for one in asking), WAIT_S)
    assert until(lambda: set(threading.enumerate()) <= before, WAIT_S)
    assert until(lambda: clients() == connected, WAIT_S)
    front.stop()
