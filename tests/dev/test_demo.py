"""`make demo`: what it tells has happened, what it made can be taken away, and nothing of it goes on."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.house import House
from core.wakeups import WorkerThreads
from dev.demo import second
from dev.demo.people import AddressBook
from dev.demo_model import DemoModel
from dev.postgres import EmbeddedPostgres
from dev.postgres.processes import is_over, until
from dev.running import Running, service_at, services
from tests.databases import ROOT, new_database, run
from tests.dev.served import Served, free_port, without_settings

# What is there before anybody comes: the schema's revision, and the example's doctors.
_FURNITURE = {"alembic_version", "clinic_doctors"}
# What outlives an erasure, and holds nothing of anybody: figures, receipts, and how much came from a network.
_BOOKS = {"daily_stats", "erasures", "address_rates"}


def play(home: Path, *arguments: str, **environ: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "dev.demo", f"--home={home}", *arguments],
        cwd=ROOT,
        env={**without_settings(), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def played(home: Path, *arguments: str, **environ: str) -> tuple[int, str]:
    playing = play(home, *arguments, **environ)
    said, _ = playing.communicate(timeout=100)
    assert "Traceback" not in said, said
    return playing.returncode, said


def rows(database_url: str) -> dict[str, int]:
    """Of each table that has any."""
    tables = run(
        database_url, "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema"
    )
    counts = {name: run(database_url, f"SELECT count(*) FROM {name}")[0][0] for (name,) in tables}
    return {name: count for name, count in counts.items() if count and name not in _FURNITURE}


@pytest.fixture
def served(database_url: str, tmp_path: Path) -> Iterator[Served]:
    with Served(f"--home={tmp_path}", DATABASE_URL=database_url) as running:
        yield running


def test_the_day_that_is_told_has_happened_and_can_be_taken_away(
    served: Served, database_url: str, tmp_path: Path
) -> None:
    assert rows(database_url) == {}, "a run fills nothing with what nobody has said"
    _, somebody_else = served.call("POST", "/v1/turns", {"message": "Hello, I am nobody of theirs."})
    before = rows(database_url)

    code, said = played(tmp_path, "--quick", DATABASE_URL=database_url)
    assert code == 0, said
    assert "left out" not in said
    has_happened(said, database_url)

    again, erased = played(tmp_path, "--erase", DATABASE_URL=database_url)
    assert (again, erased.count("is erased")) == (0, 7), erased
    left = rows(database_url)
    assert {name: count for name, count in left.items() if name not in _BOOKS} == {
        name: count for name, count in before.items() if name not in _BOOKS
    }
    assert run(database_url, "SELECT id::text FROM turns") == [(somebody_else["id"],)]
    assert not list(tmp_path.glob("demo-*")), "nobody is left to be erased"
    assert "none is left" in played(tmp_path, "--erase", DATABASE_URL=database_url)[1]


def has_happened(said: str, database_url: str) -> None:
    def ask(statement: str) -> list[tuple[object, ...]]:
        return run(database_url, statement)

    assert "hands her over to Scheduling" in said
    assert ask("SELECT DISTINCT agent FROM audit_log WHERE action = 'lock_set' ORDER BY 1") == [
        ("billing",),
        ("scheduling",),
    ]
    assert "Ben says no" in said
    decided = ask("SELECT kind, status FROM approvals WHERE status <> 'pending' ORDER BY 1, 2")
    assert decided == [("call", "approved"), ("call", "denied"), ("outcome", "approved")]
    assert ask("SELECT amount_cents FROM clinic_payments") == [(4000,)], "and Ada alone has paid"
    assert "Those are put together" in said
    assert ask("SELECT count(*) FROM turns WHERE joined_to IS NOT NULL") == [(1,)]
    assert "killed with SIGKILL" in said
    assert ask("SELECT status, crashes FROM turns WHERE crashes > 0") == [("completed", 1)] * 2
    called = "SELECT c.name, c.effect, c.status FROM tool_calls c JOIN turns t ON t.id = c.turn_id WHERE t.crashes > 0"
    assert ask(called) == [("send_reminder", "once", "done")], "nobody knew, until Hugo said so"
    assert ask("SELECT recipient FROM clinic_outbox") == [("patient",)], "it was sent, and once"
    assert "Edda reads along" in said
    assert ask("SELECT role FROM share_links") == [("viewer",)]
    assert ask("SELECT role FROM members") == [("viewer",)]
    assert "in a fork" in said
    assert ask(
        "SELECT count(*) FROM conversation_states WHERE metadata ->> 'title' = 'If another day is better'"
    ) == [(1,)]
    assert "swept up" in said
    expired = "SELECT sum(value) FROM daily_stats WHERE name = 'sessions' AND label = 'expired'"
    assert until(lambda: ask(expired) == [(1,)], 20), "David's conversation, and no other"
    assert "there it stands when the clinic closes" in said
    assert ask("SELECT count(*) FROM turns WHERE status = 'waiting'") == [(1,)]
    assert ask("SELECT count(*) FROM turns WHERE status IN ('queued', 'running')") == [(0,)]


def test_without_a_postgres_that_it_knows_the_day_goes_on_without_the_crash(
    served: Served, tmp_path: Path
) -> None:
    for _ in range(2):
        code, said = played(tmp_path, "--quick", f"--url={served.url}/")
        assert code == 0, said
    assert "The crash, and what goes with it, is left out: it is not known which Postgres" in said
    assert f"{served.url}/#share=" in said


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_the_day_ends_its_second_server_as_well(
    signum: signal.Signals, served: Served, database_url: str, tmp_path: Path
) -> None:
    playing = play(tmp_path, DATABASE_URL=database_url)
    assert playing.stdout is not None
    with playing.stdout as output:
        next(line for line in output if line.startswith("09:00"))
        (second,) = psutil.Process(playing.pid).children()
        playing.send_signal(signum)
        rest = output.read()
    code = playing.wait(20)
    assert until(lambda: is_over(second), 10)
    assert served.call("GET", "/health")[0] == 200
    if signum == signal.SIGINT:
        assert code == 130, rest
        assert "Stopped. What was played stays" in rest
        assert "Traceback" not in rest
    assert "Ada is erased" in played(tmp_path, "--erase", DATABASE_URL=database_url)[1]


def test_in_another_postgres_than_the_services_nobody_is_left_behind(
    served: Served, postgres: EmbeddedPostgres, template: str, tmp_path: Path
) -> None:
    """What DATABASE_URL names in that terminal may be anything; and nobody who was made there could be erased through the service."""
    with new_database(postgres, template) as another:
        code, said = played(tmp_path, "--quick", DATABASE_URL=another)
        assert code == 0, said
        assert "left out: DATABASE_URL names another Postgres" in said
        assert rows(another) == {}


def test_the_second_server_cleans_up_nothing(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows nothing of the running service's archive: what it swept up of other people's would be in none."""
    lives: list[float] = []
    started = House.start_workers

    def start(house: House, **given: Any) -> WorkerThreads:
        lives.append(given["sweep_every_s"])
        return started(house, **given)

    with socket.socket() as listening:
        monkeypatch.setattr(House, "start_workers", start)
        monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
        monkeypatch.setattr(sys, "argv", ["second", str(os.dup(listening.fileno()))])
        monkeypatch.setenv("DATABASE_URL", database_url)
        monkeypatch.setenv("ACCESS_MODE", "open")
        second.main()
    assert lives[0] > 60 * 60


def test_without_a_service_it_says_how_to_start_one(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert played(tmp_path, f"--url={url}") == (
        2,
        f"There is no service at {url}. Start one in another terminal (make run), and come back.\n",
    )


def test_a_service_that_talks_to_claude_is_left_alone(database_url: str, tmp_path: Path) -> None:
    with (
        DemoModel() as claude,
        Served(
            f"--home={tmp_path}",
            DATABASE_URL=database_url,
            ANTHROPIC_API_KEY="k",
            ANTHROPIC_BASE_URL=claude.url,
        ),
    ):
        code, said = played(tmp_path, DATABASE_URL=database_url)
        assert code == 2
        assert "talks to Claude, who costs money" in said
        assert not list(claude.requests)
    assert rows(database_url) == {}


def test_a_run_leaves_word_of_itself_for_its_own_account_until_it_ends(
    database_url: str, tmp_path: Path
) -> None:
    mine = "an-operators-token-that-i-brought-myself"
    with Served(f"--home={tmp_path}", DATABASE_URL=database_url, ADMIN_TOKEN=mine) as running:
        (note,) = tmp_path.glob("running-*")
        assert stat.S_IMODE(note.stat().st_mode) == 0o600
        assert "postgresql://" not in note.read_text(), "a database of one's own has a password"
        assert mine not in note.read_text()
        assert service_at(tmp_path, running.url) == Running(
            url=running.url,
            database_url=None,
            admin_token=None,
            is_demo=True,
            access_mode="open",
            pid=running.process.pid,
            since=psutil.Process(running.process.pid).create_time(),
        )
    assert not list(tmp_path.iterdir())


def test_the_word_of_a_run_that_was_killed_is_not_believed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine = psutil.Process().create_time()
    about = {"url": "http://127.0.0.1:1", "database_url": None, "admin_token": None, "is_demo": True}
    for number, pid in ((1, ended.pid), (2, os.getpid())):
        note = tmp_path / f"running-{number}.json"
        note.write_text(json.dumps({**about, "access_mode": "open", "pid": pid, "since": mine}))
    (tmp_path / "running-3.json").write_text("{")
    # After a reboot, say: the number is somebody else's by now.
    reused = {**about, "access_mode": "open", "pid": os.getpid(), "since": mine - 3_600}
    (tmp_path / "running-4.json").write_text(json.dumps(reused))
    assert [one.pid for one in services(tmp_path)] == [os.getpid()]


def test_what_runs_elsewhere_at_the_same_port_is_not_taken_for_what_runs_here(tmp_path: Path) -> None:
    """Else the demo would show this machine's token for that one, start its second server on this Postgres, and forget at one whom
    it has made at the other.
    """
    about = {"url": "http://127.0.0.1:8000", "database_url": None, "admin_token": None, "is_demo": True}
    word = {**about, "access_mode": "open", "pid": os.getpid(), "since": psutil.Process().create_time()}
    (tmp_path / "running-8000.json").write_text(json.dumps(word))
    assert service_at(tmp_path, "http://localhost:8000") == service_at(tmp_path, "http://127.0.0.1:8000")
    assert service_at(tmp_path, "http://127.0.0.1:8000/") is not None
    ada = AddressBook.of(tmp_path, "http://127.0.0.1:8000").add("Ada")
    assert list(AddressBook.of(tmp_path, "http://localhost:8000")) == [ada]
    for elsewhere in (
        "http://staging.example:8000",
        "https://staging.example",
        "https://staging.example/dev:8000",
    ):
        assert service_at(tmp_path, elsewhere) is None
        assert list(AddressBook.of(tmp_path, elsewhere)) == []
