"""Whoever was erased is not in the archive, however late something of theirs gets there."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import boto3
import pytest

from core import archiving
from core.access import Caller
from core.archive import Archive
from core.cleaning import Cleaned
from core.deadline import Deadline
from core.errors import ArchiveUnavailable
from core.house import House
from core.ids import DeviceId, SessionId, UserId
from core.store import locks
from core.store.erasures import Erasure
from tests.archives import BUCKET, keys
from tests.conversations import answer, arrival, conversations, idle, until
from tests.databases import run


def clean(house: House, seconds: float = 30) -> Cleaned:
    return house.cleaning.clean(Deadline.after(seconds))


def nothing_is_left_of_it() -> bool:
    found = boto3.client("s3").list_object_versions(Bucket=BUCKET)
    return not found.get("Versions") and not found.get("DeleteMarkers")


@dataclass
class Person:
    """Whose conversation is archived, and who is erased while it is under way."""

    house: House
    device: UUID

    def erase(self) -> None:
        erased: Erasure = self.house.erasing.erase(Caller(DeviceId(self.device)), 20)
        assert erased.ended_at is not None


@pytest.fixture
def person(archived: House, database_url: str) -> Person:
    device = uuid4()
    answer(archived, arrival(device, "zanzibar4711"))
    idle(database_url)
    return Person(archived, device)


Keep = Callable[[Archive, UserId, SessionId, Iterable[str]], None]


def test_an_upload_whose_answer_was_lost(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = Archive.keep

    def lost(*given: Any) -> None:
        person.erase()
        keep(*given)
        raise ArchiveUnavailable

    monkeypatch.setattr(Archive, "keep", lost)
    clean(person.house)
    assert nothing_is_left_of_it()


class Killed(BaseException):
    """The function is gone."""


def test_a_clean_up_that_was_killed_behind_its_upload(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        person.erase()
        raise Killed

    keep = Archive.keep

    def kept(*given: Any) -> None:
        person.erase()
        keep(*given)

    with monkeypatch.context() as patched:
        patched.setattr(Archive, "keep", kept)
        patched.setattr(archiving.Archiving, "_gone", die)
        with pytest.raises(Killed):
            clean(person.house)
    assert len(keys()) == 1
    assert clean(person.house).done["late_objects"] == 1
    assert nothing_is_left_of_it()


def test_an_upload_that_was_given_up_and_lands_all_the_same(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function is frozen with it, and thaws."""
    keep, thawed, landed = Archive.keep, threading.Event(), threading.Event()

    def frozen(*given: Any) -> None:
        thawed.wait(20)
        keep(*given)
        landed.set()

    with monkeypatch.context() as patched:
        patched.setattr(Archive, "keep", frozen)
        begun = time.monotonic()
        assert clean(person.house, 1).done == {"archive_failures": 1}
        assert time.monotonic() - begun < 6
    person.erase()
    thawed.set()
    landed.wait(20)
    assert len(keys()) == 1
    assert clean(person.house).done["late_objects"] == 1
    assert nothing_is_left_of_it()


def test_all_that_is_of_somebody_else_stays(person: Person, database_url: str) -> None:
    """Also of those who are not known here: a database that was put back, or another one, knows not everybody."""
    clean(person.house)
    (key,) = keys()
    body = boto3.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
    others = [f"users/{uuid4()}/{uuid4()}.jsonl" for _ in range(30)]
    for other in [*others, "users/of-a-team/notes.txt", "elsewhere/notes.txt"]:
        boto3.client("s3").put_object(Bucket=BUCKET, Key=other, Body=b"")
    person.erase()
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
    assert clean(person.house).done == {"late_objects": 1}
    assert keys() == sorted([*others, "users/of-a-team/notes.txt", "elsewhere/notes.txt"])
    run(database_url, "UPDATE erasures SET ended_at = now() - interval '1 year'")
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
    assert clean(person.house).done == {}, "nothing is as late as that"


def test_an_archive_that_hangs_leaves_time_for_all_else(
    person: Person, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes what is sent and never answers: of that each minute has room for a little only."""
    for _ in range(40):
        answer(person.house, arrival(uuid4()))
    idle(database_url)
    swept: list[int] = []
    asked: list[object] = []
    hangs = threading.Event()
    clean_up = locks.clean_up

    def watched(*given: Any, **named: Any) -> int:
        swept.append(len(asked))
        return clean_up(*given, **named)

    def hang(*given: Any) -> None:
        asked.append(given)
        hangs.wait(60)

    monkeypatch.setattr(locks, "clean_up", watched)
    monkeypatch.setattr(Archive, "keep", hang)
    monkeypatch.setattr(archiving, "_LONGEST_S", 0.3)
    begun = time.monotonic()
    cleaned = clean(person.house)
    hangs.set()
    assert time.monotonic() - begun < 10
    assert swept
    assert swept[0] < 10, "after a few the others had their turn"
    assert cleaned.done["archive_failures"] == len(asked) == 24
    assert cleaned.left["sessions"] == 41


def test_one_that_is_long_and_hangs_is_given_up_in_time(
    person: Person, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the clean-up is killed over it each minute, and tells nothing."""
    hangs, begun = threading.Event(), time.monotonic()
    monkeypatch.setattr(archiving, "_BYTES_AT_ONCE", 1)
    monkeypatch.setattr(Archive, "keep", lambda *_: hangs.wait(20))
    cleaned = clean(person.house, 1)
    hangs.set()
    assert time.monotonic() - begun < 6
    assert cleaned.done == {"archive_failures": 1}
    assert len(conversations(database_url)) == 1
    until(lambda: all(thread.name != "archive" for thread in threading.enumerate()))
