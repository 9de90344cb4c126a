"""`make run`, as a process: its errors are sentences, and a hundred devices at once are a hundred conversations."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.databases import ROOT, run


class Served:
    """`python -m dev.serve` until it has said where it is."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC_", "DATABASE_", "MAKE"))}
        self.port = _free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "dev.serve", *arguments],
            cwd=ROOT,
            env={**clean, "PORT": str(self.port), **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if line.startswith("curl "):
                break

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)

    def end(self, signum: signal.Signals) -> str:
        if self.process.poll() is None:
            self.process.send_signal(signum)
        assert self.process.stdout is not None
        if self.process.stdout.closed:
            return ""
        with self.process.stdout as output:
            rest = output.read()
        self.process.wait(20)
        return rest

    def call(self, method: str, path: str, body: object = None, device: str | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"X-Device-ID": device or str(uuid4())}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        return answer.status, content


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def served(database_url: str) -> Iterator[Served]:
    with Served(DATABASE_URL=database_url) as running:
        yield running


def test_a_hundred_devices_at_once_are_a_hundred_whole_conversations(
    served: Served, database_url: str
) -> None:
    names = {str(uuid4()): f"Name{number}" for number in range(100)}

    def talk(device: str) -> None:
        for message in (f"My name is {names[device]}.", "Tell me a joke", "What is my name?"):
            status, turn = served.call("POST", "/v1/turns", {"message": message}, device)
            assert (status, turn["status"]) == (200, "completed"), turn
        assert f"Your name is {names[device]}:" in turn["reply"]
        status, page = served.call("GET", "/v1/session/messages", None, device)
        assert [item["role"] for item in page["items"]] == ["user", "assistant"] * 3
        assert [item["seq"] for item in page["items"]] == [1, 2, 3, 4, 5, 6]
        told = " ".join(item["content"][0]["text"] for item in page["items"])
        assert not [name for name in names.values() if name != names[device] and f"{name}." in told]

    with ThreadPoolExecutor(100) as pool:
        list(pool.map(talk, names))
    assert run(database_url, "SELECT count(*), count(DISTINCT session_id) FROM messages") == [(600, 100)]
    assert run(database_url, "SELECT status, count(*) FROM turns GROUP BY 1") == [("completed", 300)]


def test_a_conversation_outlives_kill_nine(tmp_path: Path) -> None:
    device = str(uuid4())
    home = f"--home={tmp_path}"
    first = Served(home)
    assert first.call("POST", "/v1/turns", {"message": "My name is Ada."}, device)[0] == 200
    first.end(signal.SIGKILL)
    with Served(home) as second:
        _, page = second.call("GET", "/v1/session/messages", None, device)
        assert [item["role"] for item in page["items"]] == ["user", "assistant"]
        _, turn = second.call("POST", "/v1/turns", {"message": "What is my name?"}, device)
        assert "Your name is Ada" in turn["reply"]
        assert "stopped" in second.end(signal.SIGINT)
        assert second.process.returncode == 0
    assert not _mentioning(str(tmp_path)), "Postgres went with it"


def test_a_turn_that_is_being_answered_is_finished_before_a_clean_stop(database_url: str) -> None:
    from dev.demo_model import DemoModel

    with DemoModel(delay_s=1.0) as slow:
        running = Served(DATABASE_URL=database_url, ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=slow.url)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(running.call, "POST", "/v1/turns", {"message": "Hello"})
            assert slow.requests.wait_for(1)
            running.end(signal.SIGTERM)
            status, turn = asked.result(20)
    assert (status, turn["status"]) == (200, "completed")


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PORT": "eighty"}, "PORT is 'eighty'; accepted: a whole number from 1 to 65535"),
        ({"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/x"}, "The database cannot be used: "),
        ({"DATABASE_URL": "mysql://u:hunter2@h/x", "SESSION_TTL": "x"}, "SESSION_TTL is 'x'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(environ: dict[str, str], said: str) -> None:
    running = Served(**environ)
    output = running.said + running.end(signal.SIGTERM)
    assert running.process.returncode == 1
    assert said in output
    assert "Traceback" not in output
    assert "hunter2" not in output


def test_a_port_in_use_is_said_in_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        running = Served(f"--port={port}")
        output = running.said + running.end(signal.SIGTERM)
    assert running.process.returncode == 1
    assert f"Port {port} cannot be used (Address already in use); choose another: make run PORT=" in output
    assert "Traceback" not in output


def _mentioning(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found
