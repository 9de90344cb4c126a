"""The pooler is real, and pools by the transaction."""

from contextlib import ExitStack
from pathlib import Path

import psutil
import psycopg2
import pytest

from dev.postgres.processes import until
from tests.network.clients import WAIT_S, ask, connected, meanwhile
from tests.network.faults import Fault
from tests.network.pgbouncer import MissingProgram, PgBouncer, PgBouncerFailed
from tests.network.proxy import FaultyProxy

needs_pgbouncer = pytest.mark.usefixtures("needs_pgbouncer")

BACKEND = "SELECT pg_backend_pid()"


@needs_pgbouncer
def test_pooling_is_by_the_transaction(database_url: str) -> None:
    with PgBouncer(database_url) as pooler, connected(pooler.console) as console:
        settings = {row[0]: row[1] for row in ask(console, "SHOW CONFIG")}
        assert settings["pool_mode"] == "transaction"
        assert settings["default_pool_size"] == "4"


@needs_pgbouncer
def test_two_clients_share_one_connection_statement_by_statement(database_url: str) -> None:
    with (
        PgBouncer(database_url, pool_size=1) as pooler,
        connected(pooler.url) as one,
        connected(pooler.url) as other,
    ):
        backends = {ask(client, BACKEND)[0] for _ in range(3) for client in (one, other)}
        assert len(backends) == 1
        ask(one, "SET application_name = 'leaked'; SET work_mem = '1234kB'")
        assert ask(other, "SHOW work_mem") == [("1234kB",)], "what one sets, the other has"


@needs_pgbouncer
def test_a_transaction_holds_the_connection_until_it_ends(database_url: str) -> None:
    with (
        PgBouncer(database_url, pool_size=1) as pooler,
        connected(pooler.url) as one,
        connected(pooler.url) as other,
        connected(pooler.console) as console,
    ):
        ask(one, "BEGIN")
        asking = meanwhile(ask, other, "SELECT 1")
        assert until(lambda: waiting_clients(console) == 1, WAIT_S)
        assert not asking.done()
        ask(one, "COMMIT")
        assert asking.result(WAIT_S) == [(1,)]


@needs_pgbouncer
def test_more_clients_than_connections_all_get_on(database_url: str) -> None:
    with PgBouncer(database_url, pool_size=2) as pooler, ExitStack() as stack:
        clients = [stack.enter_context(connected(pooler.url)) for _ in range(8)]
        assert len({ask(client, BACKEND)[0] for client in clients}) <= 2


@needs_pgbouncer
def test_the_network_behind_the_pooler_can_fail(database_url: str) -> None:
    with FaultyProxy(database_url) as proxy, PgBouncer(proxy.url) as pooler:
        proxy.faults.add(Fault.drop_reply(matching="SELECT 7", close=True))
        with connected(pooler.url) as connection, pytest.raises(psycopg2.OperationalError):
            ask(connection, "SELECT 7")
        with connected(pooler.url) as connection:
            assert ask(connection, "SELECT 7") == [(7,)]


@needs_pgbouncer
def test_the_network_before_the_pooler_can_fail(database_url: str) -> None:
    with PgBouncer(database_url) as pooler, FaultyProxy(pooler.url) as proxy:
        proxy.faults.add(Fault.drop_request(matching="SELECT 7", close=True))
        with connected(proxy.url) as connection, pytest.raises(psycopg2.OperationalError):
            ask(connection, "SELECT 7")
        assert len(proxy.done) == 1


@needs_pgbouncer
def test_it_ends_with_its_block(database_url: str) -> None:
    before = pgbouncers()
    with PgBouncer(database_url) as pooler:
        (process,) = pgbouncers() - before
        folder = Path(process.cmdline()[1]).parent
        assert folder.is_dir()
    assert not process.is_running()
    assert not folder.exists()
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(pooler.url)


@needs_pgbouncer
def test_a_pooler_that_does_not_start_says_why(database_url: str) -> None:
    with pytest.raises(PgBouncerFailed, match="not_an_option"), PgBouncer(
        database_url, options={"not_an_option": "1", "max_client_conn": "none"}
    ):  # fmt: skip
        pass
    assert not pgbouncers()


def test_a_machine_without_it_is_told_how_to_get_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PgBouncer, "program", staticmethod(lambda: None))
    with pytest.raises(MissingProgram, match="apt-get install pgbouncer"), PgBouncer(database_url):
        pass


def waiting_clients(console: psycopg2.extensions.connection) -> int:
    with console.cursor() as cursor:
        cursor.execute("SHOW POOLS")
        names = [column.name for column in cursor.description or ()]
        return sum(dict(zip(names, row, strict=True))["cl_waiting"] for row in cursor.fetchall())


def pgbouncers() -> set[psutil.Process]:
    """This process's own: other workers have theirs."""
    return {child for child in psutil.Process().children() if "pgbouncer" in child.name()}
