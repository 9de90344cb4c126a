"""The server itself: what it records, many clients, keep-alive, stopping, the command line."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dev.demo_model import DemoModel, Fault, Reply
from tests.demo_model.raw import HEADERS, Raw, ask

ROOT = Path(__file__).parents[2]


def port_of(model: DemoModel) -> int:
    return int(model.url.rsplit(":", 1)[1])


def test_requests_are_recorded_without_secrets(model: DemoModel, raw: Raw) -> None:
    raw.send(ask("Hi"), authorization="Bearer secret-token")
    raw.send(b"{", path="/v1/messages?beta=true")
    good, bad = model.requests
    assert (good.path, good.status, good.body["messages"][0]["content"]) == ("/v1/messages", 200, "Hi")
    assert (bad.path, bad.status, bad.body) == ("/v1/messages?beta=true", 400, None)
    assert good.headers["anthropic-version"] == HEADERS["anthropic-version"]
    assert "secret" not in repr([good, bad])


def test_request_ids_differ(raw: Raw) -> None:
    assert raw.send(ask()).headers["request-id"] != raw.send(ask()).headers["request-id"]


def test_only_so_many_requests_are_kept() -> None:
    with DemoModel(keep_requests=2) as model, Raw(model.url) as raw:
        for word in ("one", "two", "three"):
            raw.send(ask(word))
        assert [request.body["messages"][0]["content"] for request in model.requests] == ["two", "three"]


def test_two_hundred_clients_are_served_at_once(model: DemoModel) -> None:
    """All hang on the same server at the same moment; then each gets its own answer."""
    started, answers = threading.Barrier(200), []

    def call(number: int) -> None:
        with Raw(model.url) as raw:
            started.wait(30)
            answers.append((number, raw.send(ask(f"Number {number}")).body["content"][0]["text"]))

    callers = [threading.Thread(target=call, args=(number,)) for number in range(200)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert len(answers) == 200
    assert all(f'"Number {number}"' in text for number, text in answers)


def test_stop_is_prompt_with_open_connections_and_may_be_called_twice() -> None:
    model = DemoModel().start()
    sockets = [socket.create_connection(("127.0.0.1", port_of(model))) for _ in range(20)]
    started = time.monotonic()
    model.stop()
    model.stop()
    assert time.monotonic() - started < 2
    for sock in sockets:
        sock.close()
    with pytest.raises(RuntimeError, match="not started"):
        _ = model.url


def test_a_stopped_server_can_start_again_on_its_port() -> None:
    model = DemoModel().start()
    url = model.url
    model.stop()
    with model, Raw(model.url) as raw:
        assert model.url == url
        assert raw.send(ask()).status == 200


def test_a_connection_is_kept_through_refusals_and_streams(model: DemoModel) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(model), timeout=10)
    used = set()
    for body, status in ((ask(max_tokens=0), 400), (ask(stream=True), 200), (ask(), 200)):
        connection.request("POST", "/v1/messages", json.dumps(body), HEADERS)
        response = connection.getresponse()
        response.read()
        used.add(connection.sock.getsockname())
        assert response.status == status
    connection.close()
    assert len(used) == 1


@pytest.mark.parametrize(
    "rubbish", [b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"\x16\x03\x01\r\n\r\n"]
)
def test_what_is_no_http_gets_a_400_and_harms_nobody(model: DemoModel, raw: Raw, rubbish: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port_of(model)), timeout=10) as sock:
        sock.sendall(rubbish)
        assert sock.recv(65_536).startswith(b"HTTP/1.1 400 ")
    assert raw.send(ask()).status == 200


def test_a_body_in_chunks_is_read(model: DemoModel) -> None:
    body = json.dumps(ask()).encode()
    head = b"POST /v1/messages HTTP/1.1\r\nx-api-key: k\r\nanthropic-version: v\r\ntransfer-encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port_of(model)), timeout=10) as sock:
        sock.sendall(head + b"5\r\n" + body[:5] + b"\r\n%x\r\n" % len(body[5:]) + body[5:] + b"\r\n0\r\n\r\n")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_a_bug_of_the_demo_model_itself_is_told_as_one(
    model: DemoModel, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    model.replies.add(Reply([{"text": "a block without a type"}]))
    answer = raw.send(ask())
    assert (answer.status, "bug in the demo model" in answer.error["message"]) == (500, True)
    assert "KeyError" in capsys.readouterr().err
    assert (model.requests[0].status, model.requests[0].refusal) == (500, answer.error["message"])
    assert raw.send(ask()).status == 200


def test_the_server_s_and_the_reply_s_delay_add_up() -> None:
    with DemoModel(delay_s=0.02) as model, Raw(model.url) as raw:
        model.replies.add(Reply("Slow.", delay_s=0.02))
        model.faults.add(Fault.delay(0.02))
        started = time.monotonic()
        assert raw.send(ask()).body["content"][0]["text"] == "Slow."
        assert time.monotonic() - started >= 0.06


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [sys.executable, "-m", "dev.demo_model", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    with started:
        try:
            yield started
        finally:
            started.kill()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_end(ending: signal.Signals) -> None:
    with command("--port", "0") as running:
        assert running.stdout
        line = running.stdout.readline()
        url = next(word for word in line.split() if word.startswith("http"))
        with Raw(url) as raw:
            assert raw.send(ask()).status == 200
            running.send_signal(ending)
            out, errors = running.communicate(timeout=10)
        assert (running.returncode, out, errors) == (0, "The demo model has stopped.\n", "")


def test_a_taken_port_is_told_in_a_sentence(model: DemoModel) -> None:
    with command("--port", str(port_of(model))) as refused:
        out, errors = refused.communicate(timeout=10)
    assert (refused.returncode, out) == (1, "")
    assert errors.startswith(f"Port {port_of(model)} of 127.0.0.1 is taken")
    assert "Traceback" not in errors


def test_the_command_tells_how_it_is_used() -> None:
    with command("--help") as asked:
        out, _ = asked.communicate(timeout=10)
    assert (asked.returncode, "--port" in out) == (0, True)
    with command("--port", "many") as wrong:
        _, errors = wrong.communicate(timeout=10)
    assert (wrong.returncode, "many is no port" in errors) == (2, True)
