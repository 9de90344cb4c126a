"""What has expired is in the archive before it goes; and what cannot be archived stays, and holds nothing else up."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import boto3
import pytest

from core import archiving, aws
from core.access import Caller
from core.archive import Archive
from core.cleaning import NOT_ALL_DONE, Cleaned
from core.deadline import Deadline
from core.errors import ArchiveUnavailable, SessionNotFound
from core.house import House, build_house
from core.ids import DeviceId, SessionId, UserId
from core.settings import Settings
from core.store import backups, expired
from core.store.database import Database
from core.store.erasures import Erasure
from tests.agents import Workshop
from tests.archives import BUCKET, keys
from tests.conversations import answer, arrival, beside, conversations, idle, until
from tests.databases import run
from tests.prove.books import find_wrong

# What `Archive.keep` is given.
Kept = tuple[UserId, SessionId]


def clean(house: House, seconds: float = 30) -> Cleaned:
    return house.cleaning.clean(Deadline.after(seconds))


def expire_some(house: House, url: str, many: int) -> list[UUID]:
    """Those that ended first come first."""
    sessions = []
    for number in range(many):
        session = answer(house, arrival(uuid4(), f"text {number}")).session_id
        assert session is not None
        idle(url, session, for_s=many - number)
        sessions.append(UUID(str(session)))
    return sessions


def around_keep(
    monkeypatch: pytest.MonkeyPatch, before: Callable[[Kept], object], after: Callable[[Kept], object]
) -> None:
    keep = Archive.keep

    def watched(self: Archive, user_id: UserId, session_id: SessionId, lines: Any) -> None:
        before((user_id, session_id))
        keep(self, user_id, session_id, lines)
        after((user_id, session_id))

    monkeypatch.setattr(Archive, "keep", watched)


def book(url: str) -> int:
    ((count,),) = run(
        url,
        "SELECT COALESCE(sum(value), 0)::int FROM daily_stats WHERE name = 'sessions' AND label = 'expired'",
    )
    return int(count)


def test_it_is_in_the_archive_and_then_it_is_gone(archived: House, database_url: str) -> None:
    sessions = expire_some(archived, database_url, 3)
    owners = run(database_url, "SELECT user_id, id FROM conversation_states ORDER BY 1")
    cleaned = clean(archived)
    assert (cleaned.done, cleaned.is_over) == ({"sessions": 3, "archived": 3}, True)
    assert conversations(database_url) == []
    assert keys() == sorted(f"users/{user}/{session}.jsonl" for user, session in owners)
    assert {UUID(key[-42:-6]) for key in keys()} == set(sessions)
    for key in keys():
        body = boto3.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
        kinds = [json.loads(line)["kind"] for line in body.splitlines()]
        assert (kinds[0], kinds[1], kinds[-1]) == ("backup", "row", "end")
        assert "text " in body
    assert find_wrong(database_url) == []


def test_one_in_which_nothing_was_ever_said_just_goes(archived: House, database_url: str) -> None:
    (session,) = expire_some(archived, database_url, 1)
    run(database_url, "INSERT INTO conversation_states (id, user_id) SELECT gen_random_uuid(), id FROM users")
    idle(database_url)
    assert clean(archived).done == {"sessions": 2, "archived": 1}
    assert [UUID(key[-42:-6]) for key in keys()] == [session]


def test_one_that_cannot_be_archived_stays_and_those_behind_it_go(
    archived: House, database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (first, *_) = expire_some(archived, database_url, 4)

    def refuse(kept: Kept) -> None:
        if kept[1] == first:
            raise ArchiveUnavailable

    around_keep(monkeypatch, refuse, lambda _: None)
    cleaned = clean(archived)
    assert cleaned.done == {"sessions": 3, "archived": 3, "archive_failures": 1}
    assert cleaned.ended == NOT_ALL_DONE
    assert cleaned.left["sessions"] == 1
    assert cleaned.failed == {}
    assert conversations(database_url) == [first]
    assert "could not be archived: archive_unavailable" in caplog.text
    assert str(first) not in caplog.text


class Broken(BaseHTTPRequestHandler):
    """An S3 that has had enough."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.cuts:  # type: ignore[attr-defined]  # ours
            self.wfile.write(b"HTTP/1.1 200")
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def broken_s3(*, cuts: bool) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    server.cuts = cuts  # type: ignore[attr-defined]  # ours
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("how", ["away", "full of errors", "cutting lines"])
def test_while_the_archive_is_down_all_else_is_cleaned_up_and_nobody_sees_what_waits_for_it(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch, how: str, device: UUID
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with broken_s3(cuts=how == "cutting lines") as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9" if how == "away" else url)
        aws.client.cache_clear()
        house = build_house(replace(settings, archive_bucket=BUCKET), Workshop().roster())
        answer(house, arrival(device))
        beside(database_url, uuid4(), left_s=-1)
        idle(database_url)
        cleaned = clean(house)
        assert cleaned.done == {"application_sessions": 1, "archive_failures": 1}
        assert (cleaned.left["sessions"], cleaned.failed) == (1, {})
        assert len(conversations(database_url)) == 1
        with pytest.raises(SessionNotFound):
            house.current.look(DeviceId(device))
        house.close()
    aws.client.cache_clear()


def test_an_archive_that_is_down_is_not_asked_for_each_of_thousands(
    archived: House, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(archived, arrival(uuid4()))
    run(
        database_url,
        "INSERT INTO conversation_states (id, user_id, turn_seq) SELECT gen_random_uuid(), u.id, 1 FROM users u, generate_series(1, 300)",
    )
    idle(database_url)
    asked: list[Kept] = []

    def refuse(kept: Kept) -> None:
        asked.append(kept)
        raise ArchiveUnavailable

    around_keep(monkeypatch, refuse, lambda _: None)
    cleaned = clean(archived)
    assert 24 <= len(asked) < 300
    assert cleaned.left["sessions"] == 301


@pytest.mark.parametrize(
    "used",
    [
        "UPDATE conversation_states SET last_active_at = now(), version = version + 1",
        "UPDATE application_sessions SET last_active_at = now()",
    ],
    ids=["the conversation", "what lies beside it"],
)
def test_one_that_is_used_between_the_two_lives_and_is_archived_again_later(
    archived: House, database_url: str, monkeypatch: pytest.MonkeyPatch, used: str
) -> None:
    (session,) = expire_some(archived, database_url, 1)
    beside(database_url, session, left_s=-1)
    around_keep(monkeypatch, lambda _: None, lambda _: run(database_url, used))
    assert clean(archived).done == {}
    assert conversations(database_url) == [session]
    assert len(keys()) == 1
    monkeypatch.undo()


def test_one_that_is_erased_between_the_two_is_not_in_the_archive_afterwards(
    archived: House, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = uuid4()
    answer(archived, arrival(device, "zanzibar4711"))
    idle(database_url)
    erased: list[Erasure] = []

    def erase(_: Kept) -> None:
        if not erased:
            erased.append(archived.erasing.erase(Caller(DeviceId(device)), 20))

    # The erasure ends between what was read and what is written.
    around_keep(monkeypatch, erase, lambda _: None)
    assert clean(archived).done == {}
    assert erased[0].ended_at is not None
    assert keys() == []
    versions = boto3.client("s3").list_object_versions(Bucket=BUCKET)
    assert not versions.get("Versions")


def test_several_at_once_archive_and_end_each_once(archived: House, database_url: str) -> None:
    sessions = expire_some(archived, database_url, 24)
    with ThreadPoolExecutor(4) as pool:
        cleaned = list(pool.map(lambda _: clean(archived), range(4)))
    assert sum(one.done["sessions"] for one in cleaned) == 24
    assert {UUID(key[-42:-6]) for key in keys()} == set(sessions)
    assert conversations(database_url) == []
    assert book(database_url) == 24
    assert find_wrong(database_url) == []


def test_a_long_one_is_read_in_pages(
    archived: House, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "_BYTES_AT_ONCE", 100)
    (session,) = expire_some(archived, database_url, 1)
    run(
        database_url,
        "INSERT INTO messages (session_id, seq, turn_id, role, content) SELECT session_id, n, turn_id, role, content "
        "FROM messages, generate_series(3, 40) n WHERE seq = 1",
    )
    said = run(database_url, "SELECT seq, content FROM messages ORDER BY 1")
    assert clean(archived).done == {"sessions": 1, "archived": 1}
    assert archived.restoring is not None
    assert archived.restoring(SessionId(session), None, Deadline.after(20))
    assert run(database_url, "SELECT seq, content FROM messages ORDER BY 1") == said


@pytest.mark.parametrize("when", ["in the middle", "behind the last page"])
def test_a_long_one_that_changes_while_it_is_read_is_not_archived_in_pieces(
    archived: House, database_url: str, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr(archiving, "_BYTES_AT_ONCE", 100)
    (session,) = expire_some(archived, database_url, 1)
    page = backups.message_page

    def changed(*given: Any) -> Any:
        seq, rows = page(*given) or (0, [])
        if bool(rows) is (when == "in the middle"):
            run(database_url, "UPDATE conversation_states SET version = version + 1")
        return page(*given) if rows else (seq, rows)

    monkeypatch.setattr(backups, "message_page", changed)
    cleaned = clean(archived)
    assert (cleaned.done, cleaned.failed) == ({}, {})
    assert keys() == []
    assert conversations(database_url) == [session]


def test_when_the_time_is_over_what_was_archived_goes_and_the_rest_waits(
    archived: House, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "_BYTES_AT_ONCE", 1)
    expire_some(archived, database_url, 3)
    cleaning = archived.cleaning

    class Short(Deadline):
        def left_s(self) -> float:
            return 20.0 - 10.0 * min(2, len(keys()))

    cleaned = cleaning.clean(Short(Deadline.after(100).at))
    assert cleaned.done == {"sessions": 2, "archived": 2}
    assert cleaned.ended == "time is over"
    assert cleaned.left["sessions"] == 1
    assert clean(archived).done == {"sessions": 1, "archived": 1}


class Killed(BaseException):
    """The function is gone."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_statement_the_next_one_ends_it(
    archived: House, database_url: str, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    rows, sent = Database.rows, 0
    for killed_at in range(1, 100):
        expire_some(archived, database_url, 2)
        before, sent = book(database_url), 0

        def mortal(*given: Any, killed_at: int = killed_at) -> Any:
            nonlocal sent
            sent += 1
            if sent == killed_at and when == "before":
                raise Killed
            found = rows(*given)
            if sent == killed_at:
                raise Killed
            return found

        with monkeypatch.context() as patched:
            patched.setattr(Database, "rows", mortal)
            try:
                clean(archived)
            except Killed:
                pass
            else:
                break
        assert clean(archived).is_over
        assert conversations(database_url) == []
        assert book(database_url) == before + 2
        assert len(keys()) == killed_at * 2
    assert killed_at > 8
    assert find_wrong(database_url) == []


def test_those_who_run_it_on_one_machine_have_it_archived_too(archived: House, database_url: str) -> None:
    expire_some(archived, database_url, 1)
    workers = archived.start_workers(threads=1, sweep_every_s=0.1)
    until(lambda: conversations(database_url) == [])
    workers.stop()
    assert len(keys()) == 1


def test_what_was_archived_goes_only_as_it_was_archived(archived: House, database_url: str) -> None:
    (session,) = expire_some(archived, database_url, 1)
    ((version, now),) = run(database_url, "SELECT version, now() FROM conversation_states")
    assert expired.clean_up_archived(archived.database, [(SessionId(session), version - 1)], at=now) == []
    assert len(expired.clean_up_archived(archived.database, [(SessionId(session), version)], at=now)) == 1
