"""A restore, and who else is at it at this moment: a clean-up, another restore, an erasure."""

from uuid import UUID, uuid4

import boto3
import pytest

from core.access import Caller
from core.deadline import Deadline
from core.errors import BackupUnreadable
from core.house import House
from core.ids import DeviceId, SessionId
from core.store import erasures, restoring
from tests.archives import BUCKET, keys
from tests.conversations import answer, arrival, conversations, history, idle
from tests.databases import run

NOT_ALIVE = (
    "SELECT count(*) FROM conversation_states WHERE last_active_at + make_interval(secs => idle_ttl) <= now()"
)


def archive(house: House, url: str) -> None:
    idle(url)
    assert house.cleaning.clean(Deadline.after(20)).done["archived"] > 0
    assert conversations(url) == []


def restore(house: House, session_id: UUID) -> bool:
    assert house.restoring is not None
    return house.restoring(SessionId(session_id), None, Deadline.after(20))


def archived_talk(house: House, url: str, device: UUID) -> UUID:
    session_id = answer(house, arrival(device, "zanzibar4711")).session_id
    assert session_id is not None
    archive(house, url)
    return UUID(str(session_id))


def test_a_clean_up_that_takes_it_away_again_before_it_lives(
    archived: House, database_url: str, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are back, and its time is over: until it lives it is due."""
    session_id = archived_talk(archived, database_url, device)
    revive = restoring.revive
    cleaned: list[dict[str, int]] = []

    def late(*given: object) -> bool:
        if not cleaned:
            cleaned.append(archived.cleaning.clean(Deadline.after(20)).done)
        return revive(*given)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(restoring, "revive", late)
    assert restore(archived, session_id)
    assert cleaned == [{"sessions": 1, "archived": 1}]
    assert conversations(database_url) == [session_id]
    assert run(database_url, NOT_ALIVE) == [(0,)]
    assert "zanzibar4711" in [text for _, _, text in history(database_url)]


def test_of_two_at_once_the_one_that_put_it_back_says_so(
    archived: House, database_url: str, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = archived_talk(archived, database_url, device)
    revive = restoring.revive
    others: list[bool] = []

    def overtaken(*given: object) -> bool:
        if not others:
            others.append(True)
            others[0] = restore(archived, session_id)
        return revive(*given)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(restoring, "revive", overtaken)
    assert restore(archived, session_id)
    assert others == [False]
    assert run(database_url, "SELECT count(*) FROM audit_log WHERE action = 'session_restored'") == [(1,)]


def befriend(url: str, session_id: UUID) -> DeviceId:
    """Somebody else who said what is in it, and keeps something beside it."""
    device, friend = uuid4(), uuid4()
    run(url, "INSERT INTO users (id) VALUES (%s)", str(friend))
    run(url, "INSERT INTO connections (device_id, user_id) VALUES (%s, %s)", str(device), str(friend))
    run(url, "UPDATE turns SET sent_by = %s", str(friend))
    run(
        url,
        "INSERT INTO application_sessions (session_id, namespace, user_id, slot, epoch, version, body, idle_ttl, last_active_at) "
        "VALUES (%s, 'notes', %s, 1, 7, 3, '{\"note\": \"zanzibar4711\"}', 60, now() - interval '1 hour')",
        str(session_id),
        str(friend),
    )
    return DeviceId(device)


@pytest.mark.parametrize("how", ["was erased", "is being erased"])
def test_somebody_who_said_something_in_it_and_is_no_more(
    archived: House, database_url: str, device: UUID, how: str
) -> None:
    """One that is being erased may have looked for their words already, and found none."""
    session_id = answer(archived, arrival(device, "zanzibar4711")).session_id
    assert session_id is not None
    friend = Caller(befriend(database_url, UUID(str(session_id))))
    archive(archived, database_url)
    if how == "was erased":
        assert archived.erasing.erase(friend, 20).ended_at is not None
    else:
        assert erasures.begin(archived.database, friend, "d")
    assert restore(archived, UUID(str(session_id)))
    assert [text for _, _, text in history(database_url)] == ["(erased)", "(erased)"]
    assert run(database_url, "SELECT count(*) FROM application_sessions") == [(0,)]


def test_what_lies_beside_it_of_those_who_are_still_there_comes_back(
    archived: House, database_url: str, device: UUID
) -> None:
    session_id = answer(archived, arrival(device)).session_id
    assert session_id is not None
    befriend(database_url, UUID(str(session_id)))
    archive(archived, database_url)
    assert restore(archived, UUID(str(session_id)))
    assert run(database_url, "SELECT namespace FROM application_sessions") == [("notes",)]


@pytest.mark.parametrize("wrong", [b"", b"\xff\n", b"\n"], ids=["empty", "no text", "an empty line"])
def test_what_is_no_backup_is_refused(archived: House, database_url: str, device: UUID, wrong: bytes) -> None:
    session_id = archived_talk(archived, database_url, device)
    (key,) = keys()
    head = boto3.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read().partition(b"\n")[0] + b"\n"
    for body in (wrong, head + wrong):
        boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
        with pytest.raises(BackupUnreadable):
            restore(archived, session_id)
    assert conversations(database_url) == []
