"""Real Postgres for every test: one server a run, one migrated template, one clone a test."""

import shutil
from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg2
import pytest
from starlette.testclient import TestClient

from core.house import House, build_house
from core.settings import Settings, read_settings
from dev.demo_model import DemoModel
from dev.postgres import EmbeddedPostgres
from dev.redis import EmbeddedRedis, RedisFront, RedisMissing
from dev.redis.program import find_program
from functions.app import build_app
from tests import left_out
from tests.agents import Workshop
from tests.databases import migrate, new_database, quickest_place
from tests.network.pgbouncer import MissingProgram, PgBouncer
from tests.nursery import Nursery

_TEMPLATE = "latchkey_template"
_TEMPLATE_LOCK = 4711


# They mostly wait, or take long. In a row they would leave the cores idle, or the run's end to one of them.
_SLOW = ("tests/streams/", "tests/web/", "tests/sessions/test_counting.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones are dealt out evenly among the others, and are over before those."""
    slow = [item for item in items if item.nodeid.startswith(_SLOW)]
    others = [item for item in items if not item.nodeid.startswith(_SLOW)]
    apart = max(1, int(0.8 * len(others) / max(1, len(slow))))
    items.clear()
    while slow or others:
        items.extend(slow[:1] + others[:apart])
        del slow[:1], others[:apart]


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in left_out.reasons(terminalreporter):
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture(scope="session")
def needs_pgbouncer() -> None:
    if PgBouncer.program() is None:
        left_out.leave_out(str(MissingProgram()))


@pytest.fixture(scope="session")
def postgres(testrun_uid: str) -> Iterator[EmbeddedPostgres]:
    """The run's server. Each worker holds it; the last one that lets go stops and erases it."""
    home = quickest_place() / f"latchkey-tests-{testrun_uid[:12]}"
    server = EmbeddedPostgres(home, options={"fsync": "off", "full_page_writes": "off"}, keep=False)
    with server:
        yield server
    if not server.data.exists():
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres) -> str:
    """A migrated database to clone. The first worker makes it while the others wait."""
    connection = psycopg2.connect(postgres.url())
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (_TEMPLATE_LOCK,))
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_TEMPLATE,))
        if cursor.fetchone() is None:
            cursor.execute("CREATE DATABASE being_migrated")
            migrate(postgres.url("being_migrated"))
            cursor.execute(f"ALTER DATABASE being_migrated RENAME TO {_TEMPLATE}")
    connection.close()
    return _TEMPLATE


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """A database of this test's own, at the newest revision."""
    with new_database(postgres, template) as url:
        yield url


@pytest.fixture
def empty_database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    with new_database(postgres, "template0") as url:
        yield url


@pytest.fixture(scope="session")
def needs_redis() -> None:
    try:
        find_program()
    except RedisMissing as missing:
        left_out.leave_out(str(missing))


@pytest.fixture(scope="session")
def redis_server(needs_redis: None) -> Iterator[EmbeddedRedis]:
    """A real Redis, one for each worker of the run. Tests ask for `redis`, which has it empty."""
    with EmbeddedRedis(tcp=True) as server:
        yield server


@pytest.fixture
def redis(redis_server: EmbeddedRedis) -> EmbeddedRedis:
    """As if just started: `redis.url` by TCP, `redis.socket_url`; it may be paused, killed and filled up."""
    redis_server.clear()
    return redis_server


@pytest.fixture
def front(redis: EmbeddedRedis) -> Iterator[RedisFront]:
    """The same Redis by Upstash's REST API: `front.url`, `front.token`; `front.faults`, `front.requests`."""
    with RedisFront(redis.wire) as served:
        yield served


@pytest.fixture
def model() -> Iterator[DemoModel]:
    with DemoModel() as server:
        yield server


@pytest.fixture
def settings(database_url: str, model: DemoModel) -> Settings:
    return read_settings(
        {
            "DATABASE_URL": database_url,
            "DATABASE_POOL_SIZE": "8",
            # Tests that are about either set it otherwise.
            "ACCESS_MODE": "open",
            "RATE_DEVICE_PER_MINUTE": "0",
            "RATE_ADDRESS_PER_MINUTE": "0",
            "ANTHROPIC_API_KEY": "demo",
            "ANTHROPIC_BASE_URL": model.url,
        }
    )


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    built = build_house(settings)
    yield built
    built.close()


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    with TestClient(build_app(house, one_at_a_time=False), headers={"X-Device-ID": str(uuid4())}) as client:
        yield client


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Where servers come from that are processes of their own."""
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def device() -> UUID:
    return uuid4()


@pytest.fixture
def shop() -> Workshop:
    return Workshop()
