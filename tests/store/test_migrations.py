"""The migrations and the tables agree, can be gone through both ways, and by two at once."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import core.store.clinic_tables  # noqa: F401 - the example's tables, in the same metadata
from core.store.revision import COUNTS, IDLE_END, LOCK_END, SCHEMA_REVISION
from core.store.tables import metadata
from tests.databases import ROOT, engine_of, migrate, run


def _differences(url: str) -> list[object]:
    engine = engine_of(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        found: list[object] = compare_metadata(context, metadata)
    engine.dispose()
    return found


def _catalogue(url: str) -> set[tuple[object, ...]]:
    """What autogenerate does not compare: partial indexes' conditions, checks, storage."""
    indexes = run(url, "SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
    checks = run(
        url,
        "SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
    )
    storage = run(
        url,
        "SELECT 'table', relname, reloptions::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
    )
    return {row for row in [*indexes, *checks, *storage] if "alembic" not in str(row[1])}


def test_migrations_make_the_tables_as_they_are_defined(database_url: str, empty_database_url: str) -> None:
    assert _differences(database_url) == []
    engine = engine_of(empty_database_url)
    metadata.create_all(engine)
    engine.dispose()
    assert _catalogue(database_url) == _catalogue(empty_database_url)


def test_a_difference_would_be_seen(database_url: str) -> None:
    run(database_url, "ALTER TABLE turns DROP COLUMN error")
    assert _differences(database_url)


def test_upgrade_downgrade_upgrade(empty_database_url: str) -> None:
    url = empty_database_url
    migrate(url)
    first = _catalogue(url)
    migrate(url, "base", down=True)
    assert run(
        url, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    ) == [("alembic_version",)]
    migrate(url)
    assert _catalogue(url) == first
    assert run(url, "SELECT version_num FROM alembic_version") == [(SCHEMA_REVISION,)]


def test_two_migrators_at_once_do_no_harm(empty_database_url: str) -> None:
    commands = [sys.executable, "-m", "alembic", "upgrade", "head"]

    def upgrade(_: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            commands,
            cwd=ROOT,
            env={"DATABASE_URL": empty_database_url},
            capture_output=True,
            text=True,
            check=False,
        )

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(upgrade, range(3)))
    assert [result.returncode for result in results] == [0, 0, 0], [result.stderr for result in results]
    assert sum("upgraded to 0001" in result.stderr for result in results) == 1
    assert run(empty_database_url, "SELECT version_num FROM alembic_version") == [(SCHEMA_REVISION,)]


def test_the_newest_revision_is_the_one_that_ready_expects() -> None:
    script = ScriptDirectory.from_config(Config(str(ROOT / "alembic.ini")))
    assert script.get_heads() == [SCHEMA_REVISION]


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "DATABASE_URL is not set"),
        ({"DATABASE_URL": "mysql://root:hunter2@h/x"}, "accepted: an address that begins with postgresql://"),
        ({"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/x"}, "Connection refused"),
    ],
)
def test_alembic_says_in_a_sentence_what_is_wrong(environ: dict[str, str], said: str) -> None:
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    result = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert "hunter2" not in result.stderr


def test_the_sql_of_the_migrations_can_be_printed() -> None:
    command = [sys.executable, "-m", "alembic", "upgrade", "head", "--sql"]
    result = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, check=True)
    assert "CREATE TABLE conversation_states" in result.stdout


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            "SELECT * FROM conversation_states WHERE NOT counted AND created_at > now()",
            "ix_conversation_states_created_at_uncounted",
        ),
        ("SELECT * FROM turns WHERE NOT counted AND created_at > now()", "ix_turns_created_at_uncounted"),
        (
            f"SELECT * FROM audit_log WHERE NOT counted AND {COUNTS} AND at > now()",
            "ix_audit_log_at_uncounted",
        ),
        (
            "SELECT * FROM daily_stats WHERE name = 'turns' AND day > CURRENT_DATE",
            "ix_daily_stats_name_day_hour",
        ),
        (
            f"SELECT * FROM conversation_states WHERE locked_at IS NOT NULL AND {LOCK_END} < now() AT TIME ZONE 'UTC'",
            "ix_conversation_states_lock_end",
        ),
        (
            f"SELECT * FROM conversation_states WHERE {IDLE_END} < now() AT TIME ZONE 'UTC' ORDER BY {IDLE_END} LIMIT 1",
            "ix_conversation_states_idle_end",
        ),
        (
            f"SELECT * FROM application_sessions WHERE {IDLE_END} < now() AT TIME ZONE 'UTC' ORDER BY {IDLE_END} LIMIT 1",
            "ix_application_sessions_idle_end",
        ),
        (
            "SELECT * FROM conversation_states WHERE user_id = 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6'",
            "ix_conversation_states_user_id",
        ),
        (
            "SELECT * FROM connections WHERE user_id = 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6'",
            "ix_connections_user_id",
        ),
        (
            "SELECT * FROM connections WHERE session_id = 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6'",
            "ix_connections_session_id",
        ),
        (
            "SELECT * FROM turns WHERE session_id = 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6' AND idempotency_key = 'k'",
            "uq_turns_session_id_idempotency_key",
        ),
        (
            "SELECT * FROM turns WHERE session_id = 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6' AND status = 'running'",
            "uq_turns_session_id_running",
        ),
        (
            "SELECT * FROM turns WHERE session_id = 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6' AND ended_at IS NULL ORDER BY seq LIMIT 1",
            "ix_turns_session_id_seq_open",
        ),
    ],
)
def test_every_query_of_the_design_has_its_index(database_url: str, query: str, index: str) -> None:
    plan = run(
        database_url, f"SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; EXPLAIN {query}"
    )
    assert index in "\n".join(line for (line,) in plan)


def test_the_schema_needs_no_newer_postgres_than_14() -> None:
    """MERGE, NULLS NOT DISTINCT, uuidv7() and old/new in RETURNING came later."""
    sql = "\n".join(
        path.read_text()
        for path in [*Path(ROOT, "core", "store").glob("*.py"), *Path(ROOT, "alembic").rglob("*.py")]
    )
    for newer in ("MERGE INTO", "NULLS NOT DISTINCT", "uuidv7", "RETURNING old", "ANY_VALUE", "JSON_TABLE"):
        assert newer.lower() not in sql.lower()
