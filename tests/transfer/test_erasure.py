"""After an erasure a user is nowhere: not in the database, the cache or the archive; only the receipt is left, and it names nobody."""

import json
import multiprocessing
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import boto3
import pytest
from starlette.testclient import TestClient

from core.access import Caller
from core.archive import Archive
from core.digest import digest
from core.erasing import Erasing
from core.errors import DatabaseUnavailable
from core.holding import HoldLost
from core.house import House, build_house
from core.ids import DeviceId, SessionId, UserId
from core.settings import Settings, read_settings
from core.store import erasures
from core.store.database import Database
from core.transfer.exporting import Cursor, lines
from core.transfer.importing import Terms, import_session
from dev.demo_model import DemoModel, Reply
from dev.redis import EmbeddedRedis
from functions.app import build_app
from tests.agents import Workshop
from tests.archives import BUCKET, archive
from tests.cleaning import clean
from tests.conversations import (
    answer,
    arrival,
    asking,
    conversations,
    held,
    in_the_way,
    refusals,
    wait_for_locks,
)
from tests.databases import run
from tests.images import image, png

MARK = "zanzibar4711"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with archive(monkeypatch) as name:
        yield name


@pytest.fixture
def full_house(settings: Settings, redis: EmbeddedRedis, bucket: str, shop: Workshop) -> Iterator[House]:
    with_redis = read_settings({"REDIS_URL": redis.url, "ARCHIVE_BUCKET": bucket})
    both = replace(settings, redis_url=with_redis.redis_url, archive_bucket=bucket, cache_budget_ms=2_000)
    house = build_house(both, shop.roster())
    yield house
    house.close()


def user_of(url: str, device: UUID) -> UUID:
    ((user_id,),) = run(url, "SELECT user_id FROM connections WHERE device_id = %s", str(device))
    return UUID(str(user_id))


def session_of(url: str, device: UUID) -> UUID:
    ((id_,),) = run(url, "SELECT session_id FROM connections WHERE device_id = %s", str(device))
    return UUID(str(id_))


def found_in_rows(url: str, *sought: str) -> list[str]:
    """The tables with any of these in any row, whatever the column."""
    tables = run(
        url, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1"
    )
    return [
        f"{table}: {text}"
        for (table,) in tables
        for sought_one in sought
        for (text,) in run(
            url,
            f"SELECT row_to_json(t)::text FROM {table} t WHERE strpos(lower(row_to_json(t)::text), lower(%s)) > 0",
            sought_one,
        )
    ]


def found_in_redis(redis: EmbeddedRedis, *sought: str) -> list[str]:
    import redis as client

    server = client.Redis.from_url(redis.url)
    found = []
    for key in server.keys("*"):
        value = server.get(key) if server.type(key) == b"string" else server.dump(key)
        text = f"{key!r} {value!r}"
        found += [text for one in sought if one.lower() in text.lower()]
    server.close()
    return found


def found_in_archive(*sought: str) -> list[str]:
    client = boto3.client("s3")
    found = []
    for version in client.list_object_versions(Bucket=BUCKET).get("Versions", ()):
        body = client.get_object(Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"])["Body"]
        text = version["Key"] + body.read().decode()
        found += [version["Key"] for one in sought if one.lower() in text.lower()]
    return found


def fill(house: House, url: str, model: DemoModel, device: UUID, friend: UUID) -> None:
    """The marker wherever a user can bring it to: in a conversation of their own, and in a friend's; and in friends' forks."""
    picture = image(png(extra=MARK.encode()))
    asked = arrival(device, f"burn {MARK}", f"key-{MARK}")
    model.replies.add(Reply([{"type": "tool_use", "name": "burn", "input": {"what": MARK}}]))
    answer(house, replace(asked, content=json.dumps([picture, {"type": "text", "text": MARK}])))
    own = session_of(url, device)
    answer(house, arrival(friend, "Hello, I am the friend", "friends-key"))
    friends = session_of(url, friend)
    user_id = user_of(url, device)
    sql = [
        f"UPDATE conversation_states SET metadata = '{{\"title\": \"{MARK}\"}}' WHERE id = '{own}'",
        f"INSERT INTO todos (session_id, position, content, status) VALUES ('{own}', 1, '{MARK}', 'pending')",
        f"UPDATE approvals SET note = '{MARK}' WHERE session_id = '{own}'",
        f"INSERT INTO audit_log (session_id, actor, user_id, action, reason) VALUES ('{own}', 'user', '{user_id}', 'lock_set', '{MARK}')",
        f'INSERT INTO compactions (session_id, upto_seq, content, agent) VALUES (\'{own}\', 1, \'[{{"type":"text","text":"{MARK}"}}]\', \'manager\')',
        f"INSERT INTO application_sessions (session_id, namespace, user_id, epoch, version, body, idle_ttl) VALUES ('{own}', 'notes', '{user_id}', 1, 1, '\"{MARK}\"', 600)",
        f"INSERT INTO application_sessions (session_id, namespace, user_id, epoch, version, body, idle_ttl) VALUES (gen_random_uuid(), 'more', '{user_id}', 1, 1, '\"{MARK}\"', 600)",
        f"INSERT INTO partials (session_id, epoch, turn_id, seq, agent, content) VALUES ('{own}', 1, gen_random_uuid(), 9, 'manager', '{MARK}')",
        f"INSERT INTO spending (scope, id, day) VALUES ('user', '{user_id}', '2026-01-01')",
        f"INSERT INTO clinic_outbox (patient_id, recipient, content) VALUES ('{user_id}', 'patient', '{MARK}')",
        f"INSERT INTO members (session_id, user_id, role) VALUES ('{friends}', '{user_id}', 'editor')",
        f"INSERT INTO share_links (session_id, id, digest, role, created_by, expires_at) VALUES ('{friends}', gen_random_uuid(), 'x', 'viewer', '{user_id}', now() + interval '1 day')",
        f"INSERT INTO revisions (session_id, id, kind, first_seq, last_seq, before, created_by, undo_until) VALUES ('{friends}', gen_random_uuid(), 'rewind', 1, 2, '{{\"todos\": \"{MARK}\"}}', '{user_id}', now() + interval '1 day')",
        f"INSERT INTO audit_log (session_id, actor, user_id, action, reason) VALUES ('{friends}', 'user', '{user_id}', 'lock_set', '{MARK}')",
    ]
    for statement in sql:
        run(url, statement)
    speak_in(house, url, device, friends, f"peek {MARK}", model)
    model.replies.add(Reply("To you I say nothing."))
    answer(house, arrival(friend, "And what do you say to me?", "friends-second"))
    run(
        url,
        f'INSERT INTO compactions (session_id, upto_seq, content, agent) VALUES (\'{friends}\', 4, \'[{{"type":"text","text":"{MARK}"}}]\', \'manager\')',
    )
    fork(url, own, friend)


def speak_in(house: House, url: str, device: UUID, session_id: UUID, text: str, model: DemoModel) -> None:
    """The device's user says something in somebody else's conversation, and a tool is run for it."""
    model.replies.add(
        Reply([{"type": "tool_use", "name": "peek", "input": {"what": text}}]), Reply(f"Well, {text}")
    )
    caller = Caller(DeviceId(device), session_id=SessionId(session_id))
    answer(house, replace(arrival(device, text, f"key in a friend's {MARK}"), caller=caller))
    assert run(url, "SELECT count(*) FROM turns WHERE sent_by IS NOT NULL AND status = 'completed'") == [(1,)]


def fork(url: str, source: UUID, friend: UUID) -> UUID:
    """A friend's own copy of a conversation, as a fork leaves it."""
    copy, owner = uuid4(), user_of(url, friend)
    statements = (
        "INSERT INTO conversation_states (id, user_id, forked_from, metadata, message_seq, turn_seq) "
        f"SELECT '{copy}', '{owner}', id, metadata, message_seq, turn_seq FROM conversation_states WHERE id = '{source}'",
        "INSERT INTO turns (session_id, id, seq, body_digest, status, first_seq, last_seq, sent_by, ended_at) "
        f"SELECT '{copy}', t.id, t.seq, '', 'completed', first_seq, last_seq, s.user_id, now() "
        f"FROM turns t JOIN conversation_states s ON s.id = t.session_id WHERE s.id = '{source}'",
        "INSERT INTO messages (session_id, seq, turn_id, role, agent, content, left_out, origin_session, origin_seq) "
        f"SELECT '{copy}', seq, turn_id, role, agent, content, left_out, session_id, seq FROM messages WHERE session_id = '{source}'",
        f"INSERT INTO compactions (session_id, upto_seq, content, agent) SELECT '{copy}', upto_seq, content, agent "
        f"FROM compactions WHERE session_id = '{source}'",
        f"INSERT INTO todos (session_id, position, content, status) SELECT '{copy}', position, content, status "
        f"FROM todos WHERE session_id = '{source}'",
    )
    for statement in statements:
        run(url, statement)
    return copy


@pytest.fixture
def friend() -> UUID:
    return uuid4()


@pytest.fixture
def filled(
    full_house: House, database_url: str, model: DemoModel, device: UUID, friend: UUID
) -> tuple[House, UserId]:
    fill(full_house, database_url, model, device, friend)
    user_id = UserId(user_of(database_url, device))
    archive = full_house.erasing.archive
    assert archive is not None
    own = SessionId(session_of(database_url, device))
    for _ in range(2):
        archive.keep(user_id, own, (line for line, _ in lines(full_house.database, own, Cursor(0))))
    in_redis = full_house.session_manager(dict[str, str], namespace="cached")
    in_redis.create(own, user_id=user_id, metadata={"title": MARK})
    in_redis.get(own)
    return full_house, user_id


def test_a_user_who_was_erased_is_found_nowhere(
    filled: tuple[House, UserId],
    database_url: str,
    redis: EmbeddedRedis,
    model: DemoModel,
    device: UUID,
    friend: UUID,
) -> None:
    house, user_id = filled
    sought = (MARK, str(user_id), str(device))
    with TestClient(build_app(house, one_at_a_time=False), headers={"X-Device-ID": str(device)}) as client:
        assert client.get("/v1/session").status_code == 200
        everywhere = {text.partition(":")[0] for text in found_in_rows(database_url, *sought)}
        assert everywhere >= {
            *("messages", "turns", "todos", "approvals", "audit_log", "compactions", "application_sessions"),
            *("conversation_states", "partials", "revisions", "clinic_outbox", "members", "connections"),
        }
        assert found_in_redis(redis, *sought)
        assert len(found_in_archive(MARK)) == 2
        receipt = client.delete("/v1/user")
        assert receipt.status_code == 200
        assert receipt.json()["completed_at"] is not None
        again = client.delete("/v1/user")
        assert (again.status_code, again.json()) == (200, receipt.json())
    assert found_in_rows(database_url, *sought) == []
    assert found_in_redis(redis, *sought) == []
    assert found_in_archive(*sought) == []
    removed = receipt.json()["removed"]
    assert removed["archive"] == {"objects": 1}
    assert removed["postgres"]["messages"] == 2
    assert removed["postgres"]["clinic_outbox"] == 1
    assert removed["elsewhere"]["messages"] > 4
    assert run(database_url, "SELECT count(*) FROM erasures WHERE ended_at IS NOT NULL") == [(1,)]


def test_a_fork_in_which_they_said_nothing_loses_what_they_called_it(
    full_house: House, database_url: str, device: UUID, friend: UUID
) -> None:
    """A friend spoke in their conversation, and took a copy along."""
    answer(full_house, arrival(device, "Hello"))
    answer(full_house, arrival(friend, "Hello"))
    own = session_of(database_url, device)
    run(
        database_url,
        f"UPDATE conversation_states SET metadata = '{{\"title\": \"{MARK}\"}}' WHERE id = '{own}'",
    )
    run(
        database_url,
        f"INSERT INTO todos (session_id, position, content, status) VALUES ('{own}', 1, '{MARK}', 'pending')",
    )
    copy = fork(database_url, own, friend)
    for table in ("messages", "turns", "compactions"):
        run(database_url, f"DELETE FROM {table} WHERE session_id = '{copy}'")
    full_house.erasing.erase(Caller(DeviceId(device)), 20)
    assert found_in_rows(database_url, MARK) == []
    assert copy in conversations(database_url)


def test_what_cannot_be_ended_now_does_not_stand_in_the_way_of_others(
    full_house: House, database_url: str, device: UUID, friend: UUID
) -> None:
    for one in (device, friend):
        answer(full_house, arrival(one, "Hello"))
        assert erasures.begin(full_house.database, DeviceId(one), digest(str(one)))
    run(database_url, "UPDATE erasures SET created_at = now() - interval '1 hour'")
    first = user_of(database_url, device)
    run(
        database_url,
        "UPDATE erasures SET created_at = now() - interval '2 hours' WHERE user_id = %s",
        str(first),
    )
    run(
        database_url,
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION SQLSTATE '40001'; END $$;"
        f"CREATE TRIGGER refuse BEFORE DELETE ON users FOR EACH ROW WHEN (OLD.id = '{first}') EXECUTE FUNCTION refuse()",
    )
    assert full_house.erasing.sweep() == 1
    assert run(database_url, "SELECT count(*) FROM erasures WHERE ended_at IS NULL") == [(1,)]


def test_friends_go_on_talking_and_find_their_own_words(
    filled: tuple[House, UserId], database_url: str, model: DemoModel, device: UUID, friend: UUID
) -> None:
    house, _ = filled
    friends = session_of(database_url, friend)
    house.erasing.erase(Caller(DeviceId(device)), 20)
    assert answer(house, arrival(friend, "Are you still there?", "third")).status == "completed"
    assert refusals(model) == []
    said = json.dumps(model.requests[-1].body["messages"])
    assert "I am the friend" in said
    assert "And what do you say to me?" in said
    assert MARK not in said
    assert "(erased)" not in said
    for copy in conversations(database_url):
        if copy != friends:
            run(
                database_url,
                "UPDATE connections SET session_id = %s WHERE device_id = %s",
                str(copy),
                str(friend),
            )
            assert answer(house, arrival(friend, "And in the copy?", str(uuid4()))).status == "completed"
    assert refusals(model) == []


def test_their_devices_are_barred_from_the_first_moment_on(
    filled: tuple[House, UserId], database_url: str, device: UUID, friend: UUID
) -> None:
    house, user_id = filled
    second = uuid4()
    run(
        database_url,
        "INSERT INTO connections (device_id, user_id) VALUES (%s, %s)",
        str(second),
        str(user_id),
    )
    assert erasures.begin(house.database, Caller(DeviceId(device)), "d")
    with TestClient(build_app(house, one_at_a_time=False)) as client:
        for barred in (device, second):
            spoken = client.post("/v1/turns", json={"message": MARK}, headers={"X-Device-ID": str(barred)})
            assert (spoken.status_code, spoken.json()["code"]) == (401, "device_barred")


def test_whoever_holds_a_conversation_of_theirs_writes_nothing_more(
    filled: tuple[House, UserId], database_url: str, model: DemoModel, device: UUID, friend: UUID
) -> None:
    house, user_id = filled
    run(
        database_url,
        "UPDATE turns SET status = 'cancelled', ended_at = now() WHERE ended_at IS NULL",
    )
    holding = held(house, arrival(friend, "I am being answered", "held"))
    run(database_url, "UPDATE spending SET reserved_micros = 0")
    house.erasing.erase(Caller(DeviceId(device)), 20)
    with pytest.raises(HoldLost):
        asking(holding, house, house.turns.roster.manager)
    house.turns.work(holding.hold.session_id)
    statuses = run(database_url, "SELECT status, crashes FROM turns WHERE idempotency_key = 'held'")
    assert statuses == [("completed", 1)]
    assert found_in_rows(database_url, MARK, str(user_id)) == []


def test_two_at_once_and_one_that_dies_anywhere_come_to_the_same(
    filled: tuple[House, UserId], database_url: str, monkeypatch: pytest.MonkeyPatch, device: UUID
) -> None:
    house, user_id = filled
    caller = Caller(DeviceId(device))
    count, real = [0], Database._cursor

    def dying(limit: int) -> Any:
        def cursor(self: Database, *given: Any) -> Any:
            count[0] += 1
            if count[0] > limit:
                raise DatabaseUnavailable
            return real(self, *given)

        return cursor

    died = 0
    for limit in range(1, 200):
        count[0] = 0
        monkeypatch.setattr(Database, "_cursor", dying(limit))
        try:
            receipt = house.erasing.erase(caller, 20)
        except DatabaseUnavailable:
            died += 1
            continue
        finally:
            monkeypatch.setattr(Database, "_cursor", real)
        break
    assert died > 5
    assert receipt.ended_at is not None
    assert found_in_rows(database_url, MARK, str(user_id), str(device)) == []
    assert receipt.removed["postgres.conversation_states"] == 1
    assert receipt.removed["postgres.users"] == 1


def test_two_at_once_give_one_receipt(filled: tuple[House, UserId], database_url: str, device: UUID) -> None:
    house, user_id = filled
    receipts: list[erasures.Erasure] = []
    threads = [
        threading.Thread(target=lambda: receipts.append(house.erasing.erase(Caller(DeviceId(device)), 20)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = house.erasing.erase(Caller(DeviceId(device)), 20)
    assert len(receipts) == 4
    assert {receipt.id for receipt in receipts} == {last.id}
    assert last.removed["postgres.messages"] == 2
    assert found_in_rows(database_url, MARK, str(user_id), str(device)) == []


def test_whoever_signs_in_at_that_moment_is_erased_as_who_they_are_by_then(
    full_house: House, database_url: str, device: UUID, friend: UUID
) -> None:
    for one in (device, friend):
        answer(full_house, arrival(one, f"Hello, {MARK}"))
    guest, person = user_of(database_url, device), user_of(database_url, friend)
    receipts: list[erasures.Erasure] = []
    caller = Caller(DeviceId(device))
    erasing = threading.Thread(target=lambda: receipts.append(full_house.erasing.erase(caller, 20)))
    with in_the_way(database_url, f"SELECT FROM users WHERE id = '{guest}' FOR UPDATE") as going_on:
        erasing.start()
        wait_for_locks(database_url, 1)
        for table in ("connections", "conversation_states"):
            going_on(f"UPDATE {table} SET user_id = '{person}' WHERE user_id = '{guest}'")
        going_on(f"DELETE FROM users WHERE id = '{guest}'")
    erasing.join()
    assert receipts[0].ended_at is not None
    assert found_in_rows(database_url, MARK) == []


def test_the_sweep_ends_what_nobody_went_on_with(
    filled: tuple[House, UserId], database_url: str, device: UUID
) -> None:
    house, user_id = filled
    erasures.begin(house.database, Caller(DeviceId(device)), "d")
    assert clean(house.database, erasing=house.erasing) == {}
    run(database_url, "UPDATE erasures SET created_at = now() - interval '2 minutes'")
    assert clean(house.database, erasing=house.erasing) == {"erasures": 1}
    assert found_in_rows(database_url, MARK, str(user_id), str(device)) == []


def test_what_is_kept_in_the_archive_can_be_imported_again(
    filled: tuple[House, UserId], database_url: str, device: UUID
) -> None:
    house, user_id = filled
    archive = house.erasing.archive
    assert isinstance(archive, Archive)
    own = SessionId(session_of(database_url, device))
    assert list(archive.of_user(user_id)) == [own]
    file = archive.read(user_id, own)
    copy = import_session(
        house.database, Caller(DeviceId(uuid4())), file, Terms(5_000_000, 1_800, trusted=True)
    )
    counts = [
        run(database_url, "SELECT count(*) FROM messages WHERE session_id = %s", str(id_))
        for id_ in (own, copy)
    ]
    assert counts[0] == counts[1] != [(0,)]


def test_nobody_is_erased_for_a_device_that_nobody_knows(client: TestClient, database_url: str) -> None:
    answer = client.delete("/v1/user")
    assert (answer.status_code, answer.json()["code"]) == (404, "nothing_to_erase")
    assert run(database_url, "SELECT count(*) FROM erasures") == [(0,)]


def _erase_and_die(url: str, redis_url: str, device: UUID, after: int) -> None:
    """In a process of its own, which is killed in the middle."""
    settings = read_settings({"DATABASE_URL": url, "REDIS_URL": redis_url, "ACCESS_MODE": "open"})
    house = build_house(settings)
    count, real = [0], Database._cursor

    def cursor(self: Database, *given: Any) -> Any:
        count[0] += 1
        if count[0] > after:
            os.kill(os.getpid(), 9)
        return real(self, *given)

    Database._cursor = cursor  # type: ignore[method-assign,assignment]
    Erasing(house.database, house.keeping.farewell, house.turns.partials, None).erase(
        Caller(DeviceId(device)), 20
    )


@pytest.mark.parametrize("after", [2, 4, 6, 8])
def test_killed_in_the_middle_it_is_gone_on_with(
    filled: tuple[House, UserId], database_url: str, redis: EmbeddedRedis, device: UUID, after: int
) -> None:
    house, user_id = filled
    process = multiprocessing.get_context("spawn").Process(
        target=_erase_and_die, args=(database_url, redis.url, device, after)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -9
    receipt = house.erasing.erase(Caller(DeviceId(device)), 20)
    assert receipt.ended_at is not None
    sought = (MARK, str(user_id), str(device))
    assert found_in_rows(database_url, *sought) == []
    assert found_in_redis(redis, *sought) == []
    assert found_in_archive(*sought) == []
