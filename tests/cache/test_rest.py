"""The client over REST: what is sent, by which way, and how often."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from core.cache.commands import CacheFailed
from core.cache.upstash import UpstashRedis
from core.settings import Secret
from dev.redis import Fault, RedisFront
from tests.cache.asking import LONG_S, failure_of
from tests.cache.conftest import Way


def test_a_connection_that_died_while_it_was_kept_costs_no_answer(rest: Way, front: RedisFront) -> None:
    assert rest.client.run([("PING",)], LONG_S) == ["PONG"]
    front.faults.add(Fault.cut())
    assert rest.client.run([("PING",)], LONG_S) == ["PONG"]
    assert [request.fault for request in front.requests] == [None, "cut", None]


def test_a_new_connection_that_ends_is_not_tried_again(rest: Way, front: RedisFront) -> None:
    front.faults.always(Fault.cut())
    with pytest.raises(CacheFailed):
        rest.client.run([("PING",)], LONG_S)
    assert len(list(front.requests)) == 1


def test_what_is_asked_is_one_pipeline_without_telemetry(rest: Way, front: RedisFront) -> None:
    rest.client.run([("SET", "k", 2**53 + 1), ("GET", "k")], LONG_S)
    [request] = front.requests
    assert (request.method, request.path) == ("POST", "/pipeline")
    assert request.commands == (("SET", "k", str(2**53 + 1)), ("GET", "k"))
    assert not [name for name in request.headers if "telemetry" in name.lower()]


def test_numbers_are_sent_as_text(rest: Way, front: RedisFront, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_reads_what_it_wrote_by_the_token_of_its_last_answer(rest: Way, front: RedisFront) -> None:
    for _ in range(2):
        rest.client.run([("PING",)], LONG_S)
    first, second = front.requests
    sent = {name.lower(): value for name, value in second.headers.items()}
    assert sent["upstash-sync-token"] == "sync-1"
    assert not {name.lower(): value for name, value in first.headers.items()}.get("upstash-sync-token")


def test_nothing_is_sent_again_after_an_error(rest: Way, front: RedisFront) -> None:
    rest.client.run([("PING",)], LONG_S)
    for fault in (Fault.html(), Fault.garbage(), Fault.wrong_token(), Fault.truncated()):
        front.faults.add(fault)
        assert failure_of(lambda: rest.client.run([("INCR", "n")], LONG_S)) is not None
        rest.client.run([("PING",)], LONG_S)
    assert [request.commands[0][0] for request in front.requests if request.commands].count("INCR") == 4


def test_a_discarded_transaction_is_no_error_of_ours(front: RedisFront, rest: Way) -> None:
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
def test_a_proxy_of_the_environment_is_not_used_for_loopback(
    front: RedisFront, proxy: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    address, asked = proxy
    monkeypatch.setenv(name, address)
    for host in ("127.0.0.1", "localhost"):
        url = front.url.replace("127.0.0.1", host)
        with closing(UpstashRedis(url, Secret(front.token))) as client:
            assert client.run([("PING",)], LONG_S) == ["PONG"]
    assert not asked


def test_a_proxy_of_the_environment_is_used_for_others(
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
