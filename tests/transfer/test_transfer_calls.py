"""The calls: who may, what is sent twice, what changes in between; and the operators' program."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from core.access import Caller
from core.errors import ExportChanged, InvalidRequest
from core.house import House
from core.ids import DeviceId
from core.transfer.exporting import Cursor, part
from tests.conversations import answer, arrival, conversations, everything, idle
from tests.databases import run
from tests.transfer.talks import normal
from tests.transfer.test_round_trip import beside, exported

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def file(client: TestClient) -> bytes:
    client.post("/v1/turns", json={"message": "My name is Ada."})
    return client.get("/v1/session/export").content


@pytest.mark.parametrize(
    ("role", "status", "code"),
    [
        ("viewer", 403, "role_too_small"),
        ("editor", 403, "role_too_small"),
        (None, 404, "session_not_found"),
    ],
)
def test_only_its_owner_takes_a_conversation_away(
    client: TestClient, database_url: str, file: bytes, role: str | None, status: int, code: str
) -> None:
    assert file
    (session_id,) = conversations(database_url)
    another = {"X-Device-ID": str(uuid4())}
    client.post("/v1/turns", json={"message": "Hello"}, headers=another)
    if role:
        run(
            database_url,
            "INSERT INTO members (session_id, user_id, role) SELECT %s, user_id, %s FROM connections WHERE device_id = %s",
            str(session_id),
            role,
            another["X-Device-ID"],
        )
    refused = client.get(f"/v1/sessions/{session_id}/export", headers=another)
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    nowhere = client.get(f"/v1/sessions/{uuid4()}/export", headers=another)
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "session_not_found")


def test_what_was_not_used_in_time_cannot_be_exported(
    client: TestClient, database_url: str, file: bytes
) -> None:
    assert file
    idle(database_url)
    assert client.get("/v1/session/export").status_code == 404


def test_the_same_key_gives_the_same_conversation(client: TestClient, database_url: str, file: bytes) -> None:
    sent = {"content": file, "headers": {"Idempotency-Key": "one"}}
    first = client.post("/v1/sessions/import", **sent)  # type: ignore[arg-type]
    before = everything(database_url)
    second = client.post("/v1/sessions/import", **sent)  # type: ignore[arg-type]
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] == second.json()["id"]
    assert everything(database_url) == before
    client.post("/v1/turns", json={"message": "Something more"})
    other = client.get("/v1/session/export").content
    refused = client.post("/v1/sessions/import", content=other, headers={"Idempotency-Key": "one"})
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")


def test_many_at_once_of_a_new_device_make_one_conversation_of_one_user(
    client: TestClient, database_url: str, file: bytes
) -> None:
    headers = {"Idempotency-Key": "at once", "X-Device-ID": str(uuid4())}
    with ThreadPoolExecutor(6) as pool:
        sent = [
            pool.submit(client.post, "/v1/sessions/import", content=file, headers=headers) for _ in range(6)
        ]
    assert {done.result().status_code for done in sent} == {201}
    assert len({done.result().json()["id"] for done in sent}) == 1
    assert len(conversations(database_url)) == 2
    assert run(database_url, "SELECT count(*) FROM users") == [(2,)]


def test_a_clients_file_brings_no_application_sessions(
    client: TestClient, database_url: str, file: bytes
) -> None:
    assert file
    (session_id,) = conversations(database_url)
    beside(database_url, session_id)
    with_it = client.get("/v1/session/export").content
    assert b'"application_session"' in with_it
    assert client.post("/v1/sessions/import", content=with_it).status_code == 201
    assert run(database_url, "SELECT count(*) FROM application_sessions") == [(1,)]


def test_the_imported_conversation_is_talked_on_in(client: TestClient, file: bytes) -> None:
    made = client.post("/v1/sessions/import", content=file, headers={"X-Device-ID": str(uuid4())})
    device = {"X-Device-ID": made.request.headers["X-Device-ID"]}
    session_id = made.json()["id"]
    body = {"message": "What is my name?", "session_id": session_id}
    turn = client.post("/v1/turns", json=body, headers=device).json()
    assert (turn["session_id"], turn["status"]) == (session_id, "completed")
    assert "Ada" in turn["reply"]


def test_parts_of_a_conversation_that_changed_are_refused(house: House, device: UUID) -> None:
    answer(house, arrival(device, "Hello"))
    caller = Caller(DeviceId(device))
    first = part(house.database, caller, None, 300)
    assert first.next is not None
    answer(house, arrival(device, "Something more", "k"))
    with pytest.raises(ExportChanged):
        part(house.database, caller, first.next, 300)


@pytest.mark.parametrize(
    "given",
    ["", "1", "1-2-3-4-5", "1-2-3-4-5-" + "z" * 64, "-1-0-0-0-0-" + "0" * 64, "1-99-0-0-0-" + "0" * 64],
)
def test_a_made_up_part_is_refused(client: TestClient, file: bytes, given: str) -> None:
    assert file
    with pytest.raises(InvalidRequest):
        Cursor.read(given)
    assert client.get("/v1/session/export", params={"after": given}).status_code == 422


def test_the_operators_program_carries_all_of_it(
    house: House, database_url: str, device: UUID, tmp_path: Path
) -> None:
    answer(house, arrival(device, "My name is Ada."))
    (session_id,) = conversations(database_url)
    beside(database_url, session_id)
    ((user_id,),) = run(database_url, "SELECT user_id FROM connections")

    def program(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        environ = {"DATABASE_URL": database_url, "PATH": os.environ["PATH"]}
        command = [sys.executable, "-m", "dev.transfer", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, check=False, timeout=60)

    out = program("export", str(session_id))
    assert out.stdout == exported(house, device)
    (tmp_path / "talk.jsonl").write_bytes(out.stdout)
    into = program("import", "--user", str(user_id), str(tmp_path / "talk.jsonl"))
    copy = into.stdout.decode().strip()
    assert normal(program("export", copy).stdout) == normal(out.stdout)
    assert program("export", str(uuid4())).returncode == 2
    (tmp_path / "talk.jsonl").write_bytes(out.stdout[:-5])
    cut = program("import", "--user", str(user_id), str(tmp_path / "talk.jsonl"))
    assert (cut.returncode, b"line" in cut.stderr) == (2, True)
