"""Migrations as they are asked for: on Lambda, by `make migrate`, and before `make run` serves."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Connection

from core.deadline import Deadline
from core.settings import Settings, read_settings
from core.store.database import Database
from core.store.revision import SCHEMA_REVISION
from functions import migrate as function
from functions.migrate import NotMigrated, migrate
from tests.conversations import wait_for_locks
from tests.databases import ROOT, run

ALL = [f"{number:04}" for number in range(1, int(SCHEMA_REVISION) + 1)]


class Context:
    """Lambda's: how long there is."""

    def __init__(self, left_s: float = 300) -> None:
        self._left_s = left_s

    def get_remaining_time_in_millis(self) -> int:
        return int(self._left_s * 1000)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is not the function's: its lines and metrics stay as they are."""
    monkeypatch.setattr(function, "_begin", lambda: None)


def at(url: str) -> Settings:
    return read_settings({"DATABASE_URL": url})


def revision(url: str) -> str | None:
    if run(url, "SELECT to_regclass('alembic_version')") == [(None,)]:
        return None
    found = run(url, "SELECT version_num FROM alembic_version")
    return found[0][0] if found else None


@pytest.fixture
def deployed(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    return empty_database_url


def invoke(event: Any, left_s: float = 300) -> dict[str, Any]:
    answer = function.handler(event, Context(left_s))
    assert json.loads(json.dumps(answer)) == answer, "Lambda answers in JSON"
    return answer


def test_the_function_brings_an_empty_database_to_its_release(deployed: str) -> None:
    assert invoke({"command": "upgrade"}) == {
        "from": None,
        "to": SCHEMA_REVISION,
        "head": SCHEMA_REVISION,
        "migrated": ALL,
    }
    assert revision(deployed) == SCHEMA_REVISION


def test_a_second_time_there_is_nothing_to_do(deployed: str) -> None:
    invoke({"command": "upgrade"})
    assert invoke({"command": "upgrade"}) == {
        "from": SCHEMA_REVISION,
        "to": SCHEMA_REVISION,
        "head": SCHEMA_REVISION,
        "migrated": [],
    }


def test_it_goes_as_far_as_it_is_told_and_back(deployed: str) -> None:
    assert invoke({"command": "upgrade", "revision": "0003"})["migrated"] == ALL[:3]
    assert invoke({"command": "current"})["to"] == "0003"
    assert invoke({"command": "downgrade", "revision": "0001"}) == {
        "from": "0003",
        "to": "0001",
        "head": SCHEMA_REVISION,
        "migrated": ["0003", "0002"],
    }
    assert revision(deployed) == "0001"
    assert invoke({"command": "downgrade", "revision": "0001"})["migrated"] == []


def test_an_upgrade_never_goes_back(deployed: str) -> None:
    invoke({"command": "upgrade"})
    assert invoke({"command": "upgrade", "revision": "0002"})["migrated"] == []
    assert revision(deployed) == SCHEMA_REVISION


def test_a_look_changes_nothing(deployed: str) -> None:
    assert invoke({"command": "current"}) == {
        "from": None,
        "to": None,
        "head": SCHEMA_REVISION,
        "migrated": [],
    }
    assert revision(deployed) is None


@pytest.mark.parametrize(
    ("event", "code", "is_said"),
    [
        ({}, "bad_command", "accepted: upgrade, downgrade, current"),
        (None, "bad_command", "None"),
        ({"command": "destroy"}, "bad_command", "'destroy'"),
        ({"command": "downgrade"}, "revision_missing", "named"),
        ({"command": "downgrade", "revision": "base"}, "revision_missing", "not done from here"),
        ({"command": "downgrade", "revision": "-1"}, "unknown_revision", "known: 0001, 0002"),
        ({"command": "upgrade", "revision": "0999"}, "unknown_revision", "'0999'"),
        ({"command": "upgrade", "revision": ["0001"]}, "unknown_revision", "known"),
        ({"command": "downgrade", "revision": SCHEMA_REVISION}, "not_a_downgrade", "at revision none"),
    ],
)
def test_what_it_does_not_do_fails_and_says_why(deployed: str, event: Any, code: str, is_said: str) -> None:
    with pytest.raises(NotMigrated) as refused:
        invoke(event)
    assert str(refused.value).startswith(f"{code}: ")
    assert is_said in str(refused.value)
    assert revision(deployed) is None


@pytest.mark.parametrize("event", [{"command": "upgrade"}, {"command": "downgrade", "revision": "0001"}])
def test_a_newer_database_is_left_alone(deployed: str, event: Any) -> None:
    invoke({"command": "upgrade"})
    run(deployed, "UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(NotMigrated, match=f"database_newer: .*0999.*its newest is {SCHEMA_REVISION}.*deploy"):
        invoke(event)
    assert revision(deployed) == "0999"
    assert invoke({"command": "current"})["to"] == "0999"


def test_one_that_fails_in_the_middle_leaves_the_database_as_it_was(deployed: str) -> None:
    """What one of the later ones is about to make is there already."""
    invoke({"command": "upgrade", "revision": "0002"})
    run(deployed, "CREATE TABLE application_sessions (id int)")
    with pytest.raises(NotMigrated, match=r"migration_failed: SQLSTATE 42P07"):
        invoke({"command": "upgrade"})
    assert revision(deployed) == "0002"


def test_two_at_once_do_it_once(deployed: str) -> None:
    with ThreadPoolExecutor(2) as both:
        told = [result.stderr for result in both.map(lambda _: _by_hand(deployed), range(2))]
    assert sorted(one.count("upgraded to") for one in told) == [0, len(ALL)]
    assert all(f"at revision {SCHEMA_REVISION}" in one for one in told)


def test_it_does_not_have_traffic_wait_behind_it_for_long(deployed: str) -> None:
    """It waits for a table that somebody reads, and everybody else for it; then it lets go, and all of them are served."""
    invoke({"command": "upgrade"})
    with ThreadPoolExecutor(1) as beside, closing(psycopg2.connect(deployed)) as reader:
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM turns")
        migrating = beside.submit(migrate, at(deployed), "downgrade", "0001")
        wait_for_locks(deployed, 1)
        begun = Deadline.after(60)
        assert run(deployed, "SELECT count(*) FROM turns") == [(0,)]
        assert 60 - begun.left_s() < 10
        assert not migrating.done(), "it tries again"
        reader.rollback()
        assert migrating.result(60).after == "0001"


def test_it_gives_up_in_time_and_says_what_held_it_up(deployed: str) -> None:
    invoke({"command": "upgrade"})
    with closing(psycopg2.connect(deployed)) as reader:
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM turns")
        with pytest.raises(NotMigrated, match=r"database_locked: .*pg_stat_activity"):
            migrate(at(deployed), "downgrade", "0001", until=Deadline.after(4.5))
    assert revision(deployed) == SCHEMA_REVISION


@pytest.mark.parametrize(
    ("command", "to", "after"), [("upgrade", None, SCHEMA_REVISION), ("downgrade", "0001", "0001")]
)
@pytest.mark.parametrize("when", ["before", "behind"])
def test_where_the_connection_broke_it_looks_again(
    deployed: str, monkeypatch: pytest.MonkeyPatch, command: str, to: str | None, after: str, when: str
) -> None:
    """Perhaps only the answer to the commit was lost: one that is told as failed has a deploy stop that is done."""
    migrate(at(deployed), "upgrade", "0003")
    connected = Database.connection
    broken: list[str] = []

    @contextmanager
    def breaks(self: Database, deadline: Deadline) -> Iterator[Connection]:
        with connected(self, deadline) as connection:
            yield connection
            if when == "before" and not broken:
                broken.append(when)
                raise psycopg2.OperationalError("server closed the connection unexpectedly")
        if not broken:
            broken.append(when)
            raise psycopg2.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(Database, "connection", breaks)
    assert migrate(at(deployed), command, to).after == after
    assert broken
    assert revision(deployed) == after


def test_what_takes_longer_than_there_is_time_is_taken_back(deployed: str) -> None:
    """The server too gives up, when nobody is left to tell it."""
    invoke({"command": "upgrade", "revision": "0001"})
    run(
        deployed,
        "CREATE FUNCTION dawdle() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(20); END';"
        "CREATE EVENT TRIGGER dawdling ON ddl_command_end EXECUTE FUNCTION dawdle()",
    )
    with pytest.raises(NotMigrated, match=r"time_over|database_unavailable"):
        migrate(at(deployed), until=Deadline.after(1))
    assert revision(deployed) == "0001"


def test_the_address_for_migrations_wins(
    deployed: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIGRATION_DATABASE_URL", deployed)
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert invoke({"command": "upgrade"})["migrated"] == ALL


def test_without_a_database_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(NotMigrated, match=r"database_not_configured: .*DATABASE_URL"):
        invoke({"command": "current"})


def test_a_database_that_is_away_is_said_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@127.0.0.1:1/latchkey")
    with pytest.raises(NotMigrated, match=r"database_unavailable: ") as refused:
        invoke({"command": "upgrade"})
    assert "hunter2" not in str(refused.value)


def test_wrong_settings_are_said_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://u:hunter2@h/x")
    monkeypatch.setenv("LEASE_TTL_S", "soon")
    with pytest.raises(
        NotMigrated, match=r"settings_wrong: .*DATABASE_URL.*LEASE_TTL_S is 'soon'"
    ) as refused:
        invoke({"command": "upgrade"})
    assert "hunter2" not in str(refused.value)


def _by_hand(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "functions.migrate", *arguments],
        cwd=ROOT,
        env={"DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_by_hand_each_step_is_told(empty_database_url: str) -> None:
    result = _by_hand(empty_database_url)
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines() == [
        *(f"latchkey  upgraded to {number}" for number in ALL),
        f"latchkey  the database is at revision {SCHEMA_REVISION}; the newest is {SCHEMA_REVISION}",
    ]
    assert "downgraded from 0002" in _by_hand(empty_database_url, "downgrade", "0001").stderr


def test_by_hand_a_refusal_is_one_line(empty_database_url: str) -> None:
    result = _by_hand(empty_database_url, "downgrade", "0002")
    assert result.returncode == 1
    assert result.stderr.startswith("latchkey  the database was not migrated: ")
    assert len(result.stderr.splitlines()) == 1
