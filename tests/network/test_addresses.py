"""What docs/postgres.md says of addresses: through a pooler by the transaction, and encrypted, by whom one may be sure of."""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from core.errors import DatabaseUnavailable
from core.house import build_house
from core.settings import Settings, read_settings
from core.store.database import Database, Row, reason
from dev.demo_model import DemoModel
from dev.postgres.account import Account
from tests.conversations import answer, arrival, refusals
from tests.network.certificates import certificates
from tests.network.pgbouncer import PgBouncer

pytestmark = pytest.mark.usefixtures("needs_pgbouncer")


@contextmanager
def encrypted(url: str, *, name: str = "localhost") -> Iterator[tuple[str, Path]]:
    """A server that speaks TLS alone, as managed ones do: its address without a word on TLS, and the file of its authority."""
    account = Account.for_caller()
    with tempfile.TemporaryDirectory(dir="/tmp") as held:
        folder = Path(held)
        files = certificates(folder, name)
        for path in (folder, *files.values()):
            account.take_over(path)
        options = {
            "client_tls_sslmode": "require",
            "client_tls_key_file": str(files["key"]),
            "client_tls_cert_file": str(files["certificate"]),
        }
        with PgBouncerByTls(url, options=options) as server:
            yield server.url.partition("?")[0].replace("127.0.0.1", "localhost"), files["authority"]


class PgBouncerByTls(PgBouncer):
    def _answers(self) -> bool:
        self.console = self.console.replace("sslmode=disable", "sslmode=require")
        return super()._answers()


def _one(url: str) -> Row | None:
    with closing(_database(url)) as database:
        return database.row(text("SELECT 1 AS one"), {})


def _refusal(url: str) -> str:
    with pytest.raises(DatabaseUnavailable) as refused:
        _one(url)
    return reason(refused.value)


def _database(url: str) -> Database:
    """As the settings take the address."""
    address = read_settings({"DATABASE_URL": url}).database_url
    assert address is not None
    return Database(address.reveal(), pool_size=1, connect_timeout_s=2)


def test_a_conversation_with_tools_goes_through_a_pooler_that_has_one_connection_to_spare(
    database_url: str, settings: Settings, device: UUID, model: DemoModel
) -> None:
    with PgBouncer(database_url, pool_size=2) as pooler:
        house = build_house(
            replace(settings, database_url=read_settings({"DATABASE_URL": pooler.url}).database_url)
        )
        asked = "I would like an appointment with a doctor tomorrow"
        turns = [
            answer(house, arrival(device, said))
            for said in (asked, "Book tomorrow at 9:30 with doctor Lindqvist")
        ]
        house.close()
    assert [turn.status for turn in turns] == ["completed", "completed"]
    assert turns[-1].tool_calls
    assert refusals(model) == []


def test_a_server_is_known_by_its_authority_and_its_name(database_url: str) -> None:
    with encrypted(database_url) as (address, authority):
        assert _one(f"{address}?sslmode=verify-full&sslrootcert={authority}") == {"one": 1}
        assert "localhost" in _refusal(
            f"{address.replace('localhost', '127.0.0.1')}?sslmode=verify-full&sslrootcert={authority}"
        )


def test_a_server_of_another_authority_is_refused(database_url: str, tmp_path: Path) -> None:
    other = certificates(tmp_path, "localhost")["authority"]
    with encrypted(database_url) as (address, _):
        assert "SSL error" in _refusal(f"{address}?sslmode=verify-full&sslrootcert={other}")


def test_the_systems_authorities_are_those_that_a_variable_names(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's wheel brings an OpenSSL that looks for them where it was built, which is nowhere."""
    with encrypted(database_url) as (address, authority):
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        assert "certificate verify failed" in _refusal(f"{address}?sslrootcert=system")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        assert _one(f"{address}?sslrootcert=system") == {"one": 1}
