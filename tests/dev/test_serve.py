"""`make run`, as a process: its errors are sentences, and a hundred devices at once are a hundred conversations."""

import os
import re
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from core.settings import Secret, read_settings
from dev import serve
from dev.postgres.processes import is_over, until
from tests.databases import run
from tests.dev.served import Served


@pytest.fixture
def served(database_url: str) -> Iterator[Served]:
    # A hundred devices of one address are more than a network may have.
    with Served(DATABASE_URL=database_url, RATE_ADDRESS_PER_MINUTE="0") as running:
        yield running


def test_a_run_is_open_unless_it_is_asked_otherwise_and_operators_have_a_token() -> None:
    given: dict[str, str] = {"ACCESS_MODE": " ", "ADMIN_TOKEN": ""}
    made = serve._let_in(given)
    assert made is not None
    assert given == {"ACCESS_MODE": "open", "ADMIN_TOKEN": made}
    assert read_settings(given).admin_token == Secret(made)
    kept = {"ACCESS_MODE": "bound", "ADMIN_TOKEN": "a" * 40}
    assert serve._let_in(kept) is None
    assert kept == {"ACCESS_MODE": "bound", "ADMIN_TOKEN": "a" * 40}


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


@pytest.mark.usefixtures("needs_redis")
def test_redis_is_served_behind_the_rest_front(served: Served) -> None:
    step = step_of(served, "redis")
    assert re.search(r"embedded \d+\.\d+\.\d+, over REST at http://127\.0\.0\.1:\d+", step)
    (server,) = redis_servers_under(served.process.pid)
    assert server.is_running()
    url = step.rpartition(" at ")[2].split()[0]
    assert "WRONGPASS" in refusal_of(url), "and nobody else may use it"


@pytest.mark.usefixtures("needs_redis")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_redis_ends_with_the_run_however_that_ends(database_url: str, signum: signal.Signals) -> None:
    running = Served(DATABASE_URL=database_url)
    (server,) = redis_servers_under(running.process.pid)
    running.end(signum)
    assert gone([server])


@pytest.mark.usefixtures("needs_redis")
def test_kill_nine_of_make_leaves_no_redis_behind(database_url: str) -> None:
    make = [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])"]
    running = Served(DATABASE_URL=database_url, MAKELEVEL="1", through=make)
    (served,) = psutil.Process(running.process.pid).children()
    servers = redis_servers_under(served.pid)
    assert len(servers) == 1
    running.process.kill()
    assert "stopped" in running.end(signal.SIGKILL)
    assert gone([served, *servers])


@pytest.mark.usefixtures("needs_redis")
def test_ctrl_c_in_the_terminal_reaches_the_run_and_not_its_redis(database_url: str) -> None:
    """The terminal signals the whole group; Redis must outlive the requests that are being answered."""
    running = Served(DATABASE_URL=database_url)
    (server,) = redis_servers_under(running.process.pid)
    assert os.getpgid(server.pid) == server.pid != os.getpgid(running.process.pid)
    running.end(signal.SIGINT)
    assert gone([server])


def test_without_any_redis_the_run_goes_on_and_says_how_to_get_one(database_url: str) -> None:
    without = (
        "import dev.redis.program as program, dev.serve\n"
        "program.on_path = program.in_wheel = lambda: None\n"
        "dev.serve.main()"
    )
    with Served(DATABASE_URL=database_url, program=("-c", without)) as running:
        assert "none. There is no redis-server on this machine; get it by `apt-get install" in step_of(
            running, "redis"
        )
        assert running.call("POST", "/v1/turns", {"message": "Hello"})[0] == 200


@pytest.mark.parametrize(
    "environ",
    [
        {"REDIS_URL": "redis://:hunter2@127.0.0.1:1/0"},
        {"UPSTASH_REDIS_REST_URL": "http://127.0.0.1:1", "UPSTASH_REDIS_REST_TOKEN": "hunter2"},
    ],
)
def test_a_redis_of_ones_own_is_taken_as_it_is(database_url: str, environ: dict[str, str]) -> None:
    with Served(DATABASE_URL=database_url, **environ) as running:
        assert f"yours, from {next(iter(environ))}" in step_of(running, "redis")
        assert not redis_servers_under(running.process.pid)
        assert "hunter2" not in running.said


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


def step_of(served: Served, name: str) -> str:
    return next(line for line in served.said.splitlines() if line.split()[1:2] == [name])


def redis_servers_under(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if child.name() == "redis-server"]


def gone(processes: list[psutil.Process]) -> bool:
    return until(lambda: all(map(is_over, processes)), 10)


def refusal_of(url: str) -> str:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{url}/get/key", timeout=10)
    with refused.value as answer:
        return answer.read().decode()


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
