"""What docs/growth.md says may go to a read replica goes through on one: a database that takes no write."""

import os
import subprocess
import sys
from dataclasses import replace
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from core.house import build_house
from core.settings import Secret, Settings
from functions.app import build_app
from tests.conversations import answer, arrival
from tests.databases import run
from tests.docs.pages import ROOT

TOKEN = "operators-" * 4


@pytest.fixture
def session_id(settings: Settings, device: UUID, database_url: str) -> UUID:
    """Of a conversation in a database that takes no write any more."""
    house = build_house(settings)
    answer(house, arrival(device, "Hello"))
    house.close()
    ((found,),) = run(database_url, "SELECT id FROM conversation_states")
    name = urlsplit(database_url).path.removeprefix("/")
    run(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    return UUID(str(found))


def test_operators_figures_write_nothing(settings: Settings, session_id: UUID) -> None:
    house = build_house(replace(settings, admin_token=Secret(TOKEN)))
    with TestClient(
        build_app(house, one_at_a_time=False), headers={"Authorization": f"Bearer {TOKEN}"}
    ) as client:
        for path in ("overview", "series?figure=turns", f"sessions/{session_id}"):
            assert client.get(f"/v1/admin/{path}").status_code == 200, path
    house.close()


def test_an_export_writes_nothing(session_id: UUID, database_url: str) -> None:
    command = [sys.executable, "-m", "dev.transfer", "export", str(session_id)]
    environ = {**os.environ, "DATABASE_URL": database_url}
    told = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    assert '"kind":"end"' in told.stdout.replace(" ", "")


def test_a_turn_is_answered_as_if_the_database_were_away(
    settings: Settings, session_id: UUID, device: UUID
) -> None:
    with TestClient(
        build_app(build_house(settings), one_at_a_time=False), headers={"X-Device-ID": str(device)}
    ) as client:
        refused = client.post("/v1/turns", json={"message": "Hello"})
    assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
