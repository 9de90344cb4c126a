"""A function was frozen for so long that its connections are dead, and wakes for a call."""

from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from core.house import House
from core.ids import DeviceId
from core.store.locks import _FIND
from tests.conversations import losing_replies
from tests.databases import run

CALLS = (
    "/v1/session",
    "/v1/session/messages",
    "/v1/session/todos",
    "/v1/session/audit",
    "/v1/approvals",
    "/ready",
)


@pytest.fixture(autouse=True)
def begun(client: TestClient) -> None:
    assert client.post("/v1/turns", json={"message": "Hello"}).json()["status"] == "completed"


@pytest.fixture
def frozen(database_url: str, client: TestClient) -> None:
    ours = "datname = current_database() AND application_name = 'latchkey'"
    assert run(database_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("path", CALLS)
def test_what_only_looks_is_answered(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(("method", "body"), [("PUT", {"agent": "billing"}), ("DELETE", None)])
def test_the_lock_is_set_and_cleared(client: TestClient, method: str, body: Any) -> None:
    assert client.request(method, "/v1/session/lock", json=body).status_code == 200


def test_a_dead_connection_is_no_database_that_is_away(
    house: House, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a lock that nobody knows is told only then."""
    losing_replies(monkeypatch, _FIND)
    device = DeviceId(UUID(client.headers["X-Device-ID"]))
    assert house.sessions.get_session_lock(device).session_id is not None
