"""What the archive holds comes back as it was, lives again, and goes on talking."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import boto3
import pytest
from starlette.testclient import TestClient

from core.access import Caller
from core.deadline import Deadline
from core.errors import BackupUnreadable, NotArchived, NotRestored
from core.house import House, build_house
from core.ids import DeviceId, SessionId, UserId
from core.series import Range, series
from core.settings import Settings
from core.store import backups, endings, figures
from core.store.tables import metadata
from dev.demo_model import DemoModel
from functions.app import build_app
from tests.archives import BUCKET, keys
from tests.conversations import answer, arrival, conversations, history, idle, refusals
from tests.databases import run
from tests.prove.agents import EFFECTS, SAYS, roster
from tests.prove.books import find_wrong
from tests.transfer.talks import ODD, talk

# What is not as it was: it is of another grant, and alive from another moment on.
_NEW = {
    "conversation_states": {
        "lease_epoch",
        "version",
        "last_active_at",
        "lease_expires_at",
        "lease_holder",
        "counted",
    },
    "turns": {"counted"},
    "application_sessions": {"slot", "epoch", "last_active_at"},
    "audit_log": {"id", "counted"},
}


@pytest.fixture
def talking(settings: Settings, database_url: str, bucket: str) -> Iterator[House]:
    run(database_url, EFFECTS)
    wanted = replace(settings, compact_at_messages=12, archive_bucket=bucket)
    house = build_house(wanted, roster(database_url, lambda _: None))
    yield house
    house.close()


def stored(url: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of all conversations, but for what a restore makes new."""
    return {
        table.name: [
            {name: value for name, value in row.items() if name not in _NEW.get(table.name, ())}
            for (row,) in run(
                url,
                f"SELECT row_to_json(t) FROM {table.name} t ORDER BY t.{backups.place_of(table)}, t::text",
            )
        ]
        for table in backups.tables()
    }


def archive(house: House, url: str) -> None:
    idle(url)
    run(url, "UPDATE application_sessions SET last_active_at = now() - make_interval(secs => idle_ttl)")
    cleaned = house.cleaning.clean(Deadline.after(20))
    assert cleaned.is_over
    assert cleaned.done["archived"] == cleaned.done["sessions"] > 0
    assert conversations(url) == []


def restore(house: House, session_id: UUID, user_id: UUID | None = None) -> bool:
    assert house.restoring is not None
    owner = None if user_id is None else UserId(user_id)
    return house.restoring(SessionId(session_id), owner, Deadline.after(20))


def decorate(url: str, session_id: UUID) -> None:
    """What a talk does not leave: a friend, a link, application sessions, odd metadata."""
    friend = uuid4()
    run(url, "INSERT INTO users (id) VALUES (%s)", str(friend))
    run(
        url,
        "INSERT INTO members (session_id, user_id, role) VALUES (%s, %s, 'editor')",
        str(session_id),
        str(friend),
    )
    run(
        url,
        "INSERT INTO share_links (session_id, id, digest, role, created_by, expires_at) VALUES (%s, gen_random_uuid(), 'x', 'viewer', "
        "%s, now() + interval '1 day')",
        str(session_id),
        str(friend),
    )
    run(
        url,
        "INSERT INTO application_sessions (session_id, namespace, user_id, slot, epoch, version, body, idle_ttl) "
        "SELECT id, 'notes', user_id, 1, 7, 3, %s, 600 FROM conversation_states WHERE id = %s",
        json.dumps({"note": ODD}),
        str(session_id),
    )
    run(url, 'UPDATE conversation_states SET metadata = \'{"price": 1.10, "large": 12345678901234567890.5}\'')


def test_it_is_whole_and_goes_on_talking(
    talking: House, database_url: str, model: DemoModel, device: UUID
) -> None:
    talk(talking, model, device, 1)
    talk(talking, model, device, 4)
    (session_id,) = conversations(database_url)
    decorate(database_url, session_id)
    assert run(database_url, "SELECT count(*) > 0 FROM compactions") == [(True,)]
    assert run(database_url, "SELECT count(*) > 0 FROM messages WHERE content LIKE '%thinking%'") == [(True,)]
    before = stored(database_url)
    archive(talking, database_url)
    assert restore(talking, session_id)
    assert conversations(database_url) == [session_id]
    after = stored(database_url)
    assert after["audit_log"].pop()["action"] == "session_restored"
    assert after == before

    model.replies.clear()
    with TestClient(build_app(talking, one_at_a_time=False), headers={"X-Device-ID": str(device)}) as client:
        listed = client.get("/v1/sessions").json()["items"]
        assert [one["id"] for one in listed] == [str(session_id)]
        assert client.put("/v1/session", json={"session_id": str(session_id)}).status_code == 200
        turn = client.post("/v1/turns", json={"message": SAYS["plain"]}).json()
    assert (turn["status"], turn["session_id"]) == ("completed", str(session_id))
    told = {
        block.get("text") for message in model.requests[-1].body["messages"] for block in message["content"]
    }
    upto = max(row["upto_seq"] for row in before["compactions"] if not row["left_out"])
    said = {
        block["text"]
        for row in before["messages"]
        if row["seq"] > upto and not row["left_out"]
        for block in json.loads(row["content"])
        if block["type"] == "text" and "\ud83d" not in block["text"]
    }
    assert len(said) > 2
    assert said <= told, "the model knows what was said before"
    assert refusals(model) == []
    assert find_wrong(database_url) == []


def test_twice_is_once(archived: House, database_url: str, device: UUID) -> None:
    session_id = answer(archived, arrival(device)).session_id
    assert session_id is not None
    archive(archived, database_url)
    assert restore(archived, session_id)
    before = stored(database_url)
    assert not restore(archived, session_id)
    assert stored(database_url) == before
    idle(database_url)
    assert not restore(archived, session_id), "one that is still there is not put back, but lives again"


def test_it_is_archived_again_and_comes_back_again(archived: House, database_url: str, device: UUID) -> None:
    session_id = answer(archived, arrival(device)).session_id
    assert session_id is not None
    epochs = []
    for _ in range(3):
        archive(archived, database_url)
        assert restore(archived, session_id)
        epochs += run(database_url, "SELECT lease_epoch FROM conversation_states")
    assert epochs == sorted(set(epochs))
    assert len(keys()) == 1


def test_one_whose_owner_was_erased_does_not_come_back(
    archived: House, database_url: str, device: UUID
) -> None:
    session_id = answer(archived, arrival(device)).session_id
    assert session_id is not None
    archive(archived, database_url)
    (key,) = keys()
    body = boto3.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
    archived.erasing.erase(Caller(DeviceId(device)), 20)
    assert keys() == []
    with pytest.raises(NotArchived):
        restore(archived, session_id)
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
    with pytest.raises(NotRestored):
        restore(archived, session_id)
    assert conversations(database_url) == []


def test_what_somebody_said_in_it_who_was_erased_meanwhile_does_not_come_back(
    archived: House, database_url: str, device: UUID
) -> None:
    turn = answer(archived, arrival(device, "zanzibar4711"))
    answer(archived, arrival(device, "and on"))
    friend = uuid4()
    run(database_url, "INSERT INTO users (id) VALUES (%s)", str(friend))
    run(database_url, "UPDATE turns SET sent_by = %s WHERE id = %s", str(friend), str(turn.id))
    run(
        database_url,
        "INSERT INTO members (session_id, user_id, role) VALUES (%s, %s, 'editor')",
        str(turn.session_id),
        str(friend),
    )
    archive(archived, database_url)
    run(database_url, "DELETE FROM users WHERE id = %s", str(friend))
    assert turn.session_id is not None
    assert restore(archived, turn.session_id)
    assert [text for _, _, text in history(database_url)][:2] == ["(erased)", "(erased)"]
    assert "and on" in [text for _, _, text in history(database_url)]
    assert run(database_url, "SELECT count(*) FROM members") == [(0,)]
    assert find_wrong(database_url) == []


def test_the_figures_stay_as_they_were(archived: House, database_url: str, device: UUID) -> None:
    """Through archiving, restoring and ending it again; but for that it expired, and came back."""
    session_id = answer(archived, arrival(device)).session_id
    archived.sessions.set_session_lock(DeviceId(device), "manager", ttl_s=86_400)
    answer(archived, arrival(device, "more"))
    assert session_id is not None

    def shown() -> list[Any]:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        span = Range(today - timedelta(days=1), today + timedelta(days=1), "day")
        names = [name for name in figures.FIGURES if name not in ("sessions", "cleanups", "locks")]
        return [series(archived.database, name, span) for name in names]

    def book() -> list[Any]:
        return run(
            database_url,
            "SELECT name, label, sum(value)::int FROM daily_stats GROUP BY 1, 2 HAVING sum(value) <> 0 ORDER BY 1, 2",
        )

    before = shown()
    archive(archived, database_url)
    assert shown() == before
    assert len(book()) > 5
    assert restore(archived, session_id)
    assert shown() == before
    assert [row for row in book() if row[0] in ("cleanups", "sessions", "turns")] == [
        ("cleanups", "sessions", 1),
        ("sessions", "begun", 1),
        ("sessions", "expired", 1),
        ("sessions", "restored", 1),
        ("turns", "completed", 2),
    ]
    assert not any("locks." in row[0] for row in book()), "its lock goes on"
    assert figures.kept(archived.database) == 1
    endings.end_session(archived.database, session_id)
    assert shown() == before
    assert [row for row in book() if row[0] == "locks.ended"]
    assert figures.kept(archived.database) == 0


def test_what_was_cut_or_changed_is_refused_and_nothing_is_stored(
    archived: House, database_url: str, device: UUID
) -> None:
    session_id = answer(archived, arrival(device)).session_id
    assert session_id is not None
    archive(archived, database_url)
    (key,) = keys()
    body = boto3.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
    lines = body.split(b"\n")
    for wrong in (
        b"\n".join(lines[:-2]),
        b"\n".join([lines[0], *lines[2:]]),
        body.replace(b"Hello", b"Jello"),
        body.replace(b'"id":"', b'"id":"?', 1),
        b"{}",
        b"\n".join([lines[0].replace(b'"version":1', b'"version":2'), *lines[1:]]),
    ):
        boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=wrong)
        with pytest.raises(BackupUnreadable):
            restore(archived, session_id)
        assert conversations(database_url) == []
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
    assert restore(archived, session_id)


def test_it_is_found_by_its_owner_and_without(archived: House, database_url: str, device: UUID) -> None:
    session_id = answer(archived, arrival(device)).session_id
    ((user_id,),) = run(database_url, "SELECT user_id FROM conversation_states")
    assert session_id is not None
    archive(archived, database_url)
    with pytest.raises(NotArchived):
        restore(archived, session_id, uuid4())
    with pytest.raises(NotArchived):
        restore(archived, uuid4())
    assert restore(archived, session_id, UUID(str(user_id)))


def test_every_table_of_a_conversation_is_in_a_backup() -> None:
    """A table that goes with a conversation, and is not backed up, would be lost; what is being said this moment is of no use later."""
    with_it = {
        table.name
        for table in metadata.sorted_tables
        if any(
            key.column.table.name == "conversation_states" and key.ondelete == "CASCADE"
            for key in table.foreign_keys
        )
    }
    backed_up = {table.name for table in backups.tables()}
    assert backed_up == with_it - {"partials"} | {"conversation_states", "application_sessions"}
