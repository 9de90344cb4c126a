"""The layer: what is answered from the shelf and what is not, and that nothing old is shown for long or ever written by."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.cache.allowance import Allowance
from core.cache.entry import Entry
from core.cache.memory import MemoryShelf
from core.errors import NoSuchSession, StorageUnavailable, UpdateUncertain
from core.ids import SessionId, UserId
from core.sessions.layered import LayeredStorage, Mode, shelf_key
from core.sessions.manager import SessionManager
from core.sessions.memory import MemoryStorage
from core.sessions.session import Session
from core.sessions.storage import Record, Stamp, Swapped
from tests.sessions.rigs import MovedClock
from tests.sessions.writer import one_more

TTL_S = 1000
SLACK_S = 60
MODES: list[Mode] = ["sync-on-access", "write-only-backup"]
Counts = dict[str, int]


class Authority(MemoryStorage):
    """Says what it was asked, and can be away."""

    def __init__(self, clock: MovedClock) -> None:
        super().__init__(clock)
        self.asked: list[str] = []
        self.is_away = False
        self.loses_replies = False

    def load(self, namespace: str, session_id: UUID, *, extend: bool, certain: bool = False) -> Record | None:
        self._note("load")
        return super().load(namespace, session_id, extend=extend, certain=certain)

    def swap(self, namespace: str, session_id: UUID, seen: Stamp, body: str) -> Swapped:
        self._note("swap")
        swapped = super().swap(namespace, session_id, seen, body)
        if self.loses_replies:
            self.is_away = True
            raise StorageUnavailable
        return swapped

    def delete(self, namespace: str, session_ids: Sequence[UUID]) -> dict[UUID, int]:
        self._note("delete")
        return super().delete(namespace, session_ids)

    def _note(self, what: str) -> None:
        self.asked.append(what)
        if self.is_away:
            raise StorageUnavailable


class LosingShelf(MemoryShelf):
    """Its puts and marks come to nothing, as with a Redis that is away when they are sent."""

    loses = False

    def offer(self, key: str, entry: Entry, allowance: Allowance) -> bool:
        return not self.loses and super().offer(key, entry, allowance)

    def mark(self, key: str, epoch: int, version: int, allowance: Allowance, *, ended: bool = False) -> bool:
        return not self.loses and super().mark(key, epoch, version, allowance, ended=ended)


@dataclass
class Scene:
    mode: Mode = "sync-on-access"
    clock: MovedClock = field(default_factory=MovedClock)

    def __post_init__(self) -> None:
        self.authority = Authority(self.clock)
        self.shelf = LosingShelf(self.clock)
        self.here = self.another()

    def another(self, shelf: MemoryShelf | None = None, **given: Any) -> SessionManager[Counts]:
        """Another process, which has the shelf and the authority in common with the others."""
        storage = LayeredStorage(
            self.authority, self.shelf if shelf is None else shelf, mode=self.mode, clock=self.clock
        )
        return SessionManager(dict[str, int], storage, namespace="desk", default_ttl_s=TTL_S, **given)

    def direct(self) -> SessionManager[Counts]:
        """Past the shelf."""
        return SessionManager(dict[str, int], self.authority, namespace="desk", default_ttl_s=TTL_S)

    def made(self) -> SessionId:
        return self.here.create(state={"n": 0}, user_id=UserId(uuid4())).id

    def pass_time(self, seconds: float) -> None:
        self.clock.ahead += timedelta(seconds=seconds)

    def asked(self) -> list[str]:
        asked, self.authority.asked = self.authority.asked, []
        return asked


def count(managed: SessionManager[Counts], id_: SessionId) -> int | None:
    found = managed.get(id_)
    return None if found is None else found.state["n"]


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def backup() -> Scene:
    return Scene("write-only-backup")


def test_a_hit_asks_the_authority_nothing_and_a_read_past_the_slack_extends(scene: Scene) -> None:
    made = scene.made()
    for _ in range(5):
        scene.pass_time(10)
        assert count(scene.another(), made) == 0
    assert scene.asked() == []
    scene.pass_time(10)
    assert count(scene.here, made) == 0
    assert scene.asked() == ["load"]
    assert scene.here.get_ttl(made) == pytest.approx(TTL_S, abs=20)
    assert count(scene.here, made) == 0
    assert scene.asked() == []


def test_what_another_wrote_is_shown_at_once(scene: Scene) -> None:
    made, other = scene.made(), scene.another()
    assert count(other, made) == 0
    scene.here.update(made, one_more)
    scene.asked()
    assert count(other, made) == 1
    assert scene.asked() == []


def test_where_a_put_was_lost_what_is_old_is_shown_for_the_slack_and_no_longer(scene: Scene) -> None:
    made, other = scene.made(), scene.another()
    scene.shelf.loses = True
    other.update(made, one_more)
    assert count(scene.here, made) == 0
    scene.pass_time(SLACK_S)
    assert count(scene.here, made) == 1


def test_nor_to_readers_who_extend_nothing(scene: Scene) -> None:
    made, quiet = scene.made(), scene.another(extend_on_read=False)
    scene.shelf.loses = True
    scene.another().update(made, one_more)
    assert count(quiet, made) == 0
    scene.pass_time(SLACK_S)
    assert count(quiet, made) == 1


def test_who_was_told_of_something_newer_is_not_shown_what_is_older(scene: Scene) -> None:
    made = scene.made()
    scene.shelf.loses = True
    scene.here.update(made, one_more)
    assert count(scene.here, made) == 1
    scene.here.set_ttl(made, 500)
    found = scene.here.get(made)
    assert found is not None
    assert found.ttl_s == 500


@pytest.mark.parametrize("mode", MODES)
def test_what_was_deleted_here_is_gone_here_although_the_mark_was_lost(mode: Mode) -> None:
    scene = Scene(mode)
    made = scene.made()
    scene.shelf.loses = True
    scene.here.delete(made)
    assert scene.here.get(made) is None
    assert not scene.here.exists(made)


def test_an_update_of_what_is_old_is_done_on_what_is_new(scene: Scene) -> None:
    made, other = scene.made(), scene.another()
    scene.shelf.loses = True
    other.update(made, one_more)
    scene.asked()
    assert scene.here.update(made, one_more).state == {"n": 2}
    assert scene.asked() == ["swap", "swap"]


def test_an_update_that_writes_nothing_because_of_what_is_old_looks_again(scene: Scene) -> None:
    made, other = scene.made(), scene.another()
    scene.shelf.loses = True
    other.update(made, one_more)

    def from_one_on(session: Session[Counts]) -> Session[Counts]:
        return session if session.state["n"] < 1 else one_more(session)

    assert scene.here.update(made, from_one_on).state == {"n": 2}


def test_an_update_that_raises_because_of_what_is_old_looks_again(scene: Scene) -> None:
    made, other = scene.made(), scene.another()
    scene.shelf.loses = True
    other.update(made, one_more)

    def none_left(session: Session[Counts]) -> Session[Counts]:
        if session.state["n"] < 1:
            raise ZeroDivisionError
        return one_more(session)

    assert scene.here.update(made, none_left).state == {"n": 2}


def test_an_update_that_raises_on_what_is_new_raises(scene: Scene) -> None:
    made, seen = scene.made(), []

    def fails(session: Session[Counts]) -> Session[Counts]:
        seen.append(session.version)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        scene.here.update(made, fails)
    assert (seen, scene.asked()) == ([1], ["load"])


def test_the_late_put_of_a_slow_reader_replaces_nothing_newer(scene: Scene) -> None:
    made = scene.made()
    late = scene.shelf.look(shelf_key("desk", made), Allowance(1))
    assert late is not None
    scene.another().update(made, one_more)
    scene.shelf.offer(shelf_key("desk", made), late, Allowance(1))
    assert count(scene.another(), made) == 1


def test_the_late_put_of_a_slow_reader_brings_nothing_back(scene: Scene) -> None:
    made = scene.made()
    late = scene.shelf.look(shelf_key("desk", made), Allowance(1))
    assert late is not None
    scene.another().delete(made)
    scene.shelf.offer(shelf_key("desk", made), late, Allowance(1))
    assert scene.another().get(made) is None
    again = scene.another().create(made, state={"n": 7})
    scene.shelf.offer(shelf_key("desk", made), late, Allowance(1))
    assert scene.another().get(made) == again


def test_a_session_that_is_gone_from_the_authority_is_deleted_from_the_shelf_too(scene: Scene) -> None:
    """As where a conversation ended and took it along: whoever deletes it again is told that it was not there."""
    made = scene.made()
    scene.direct().delete(made)
    assert not scene.here.delete(made)
    assert scene.another().get(made) is None


def test_an_update_of_what_is_gone_says_so_and_it_is_not_shown_any_more(scene: Scene) -> None:
    made = scene.made()
    scene.direct().delete(made)
    with pytest.raises(NoSuchSession):
        scene.here.update(made, one_more)
    assert scene.here.get(made) is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("body", ["", "{}", "[1]", '["x",1,"2026","2026","{}"]', "[null,60,1,2,3]"])
def test_an_entry_that_is_none_of_ours_is_none(mode: Mode, body: str) -> None:
    scene = Scene(mode)
    made = scene.direct().create(state={"n": 5})
    entry = Entry(made.epoch, 9, body, scene.clock() + timedelta(seconds=50))
    scene.shelf.offer(shelf_key("desk", made.id), entry, Allowance(1))
    assert count(scene.here, made.id) == 5


@pytest.mark.parametrize("mode", MODES)
def test_whether_a_lost_write_was_stored_is_not_guessed(mode: Mode) -> None:
    scene = Scene(mode)
    made = scene.made()
    scene.authority.loses_replies = True
    with pytest.raises(StorageUnavailable):
        scene.here._storage.swap(
            "desk", made, scene.authority._kept["desk", made].stamp, '{"state":{"n":1},"updates":[]}'
        )
    with pytest.raises(StorageUnavailable):
        scene.here.get(made)
    scene.authority.is_away = scene.authority.loses_replies = False
    assert count(scene.here, made) == 1


# ---- one process that keeps them itself


def test_a_backup_is_not_read_while_the_shelf_has_the_session(backup: Scene) -> None:
    made = backup.made()
    backup.pass_time(SLACK_S / 2)
    assert count(backup.here, made) == 0
    assert backup.here.exists(made)
    assert backup.here.get_ttl(made) == pytest.approx(TTL_S - SLACK_S / 2, abs=20)
    backup.here.update(made, one_more)
    assert backup.asked() == ["swap"]
    quiet = backup.another(extend_on_read=False)
    backup.pass_time(TTL_S - 60)
    assert count(quiet, made) == 1
    assert backup.asked() == []
    backup.pass_time(60)
    assert quiet.get(made) is None


def test_a_backup_is_told_when_the_time_is_extended(backup: Scene) -> None:
    made = backup.made()
    for _ in range(3):
        backup.pass_time(TTL_S * 0.6)
        assert count(backup.here, made) == 0
    assert backup.asked() == ["load"] * 3
    assert backup.direct().get_ttl(made) == pytest.approx(TTL_S, abs=20)


def test_a_backup_that_is_away_keeps_nobody_from_reading(backup: Scene) -> None:
    made = backup.made()
    backup.authority.is_away = True
    backup.pass_time(TTL_S - 60)
    assert count(backup.here, made) == 0
    with pytest.raises(UpdateUncertain):
        backup.here.update(made, one_more)


def test_a_process_that_begins_reads_the_backup(backup: Scene) -> None:
    made = backup.made()
    backup.here.update(made, one_more)
    reborn = backup.another(MemoryShelf(backup.clock))
    backup.asked()
    assert [count(reborn, made), count(reborn, made)] == [1, 1]
    assert backup.asked() == ["load"]


def test_an_end_that_was_made_elsewhere_is_noticed_when_the_time_is_extended(backup: Scene) -> None:
    made = backup.made()
    backup.direct().delete(made)
    assert count(backup.here, made) == 0
    backup.pass_time(SLACK_S)
    assert backup.here.get(made) is None
    assert not backup.here.exists(made)
