"""A write is carried out and its reply is lost, or it is late, or it never arrives: each change is stored once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.cache.native import NativeRedis
from core.cache.upstash import UpstashRedis
from core.deadline import Deadline
from core.errors import NoSuchSession, StorageUnavailable, UpdateUncertain
from core.ids import UserId, new_session_id
from core.sessions.codec import REMEMBERED
from core.sessions.memory import MemoryStorage
from core.sessions.postgres import PostgresStorage
from core.sessions.redis_storage import RedisStorage
from core.sessions.session import Session
from core.sessions.storage import Stamp, Storage, Swapped
from core.settings import Secret
from dev import redis as dev_redis
from dev.redis import EmbeddedRedis, RedisFront
from tests.network.faults import Fault
from tests.network.proxy import FaultyProxy
from tests.sessions.rigs import door
from tests.sessions.writer import counters, one_more

# How long a write is waited for here, so that silence is short.
PATIENCE_S = 1.0


@dataclass
class Place:
    """A storage behind a network that loses things. Each fault is for the next write of an update, or creation."""

    storage: Storage
    lose_reply: Callable[[], None]
    lose_request: Callable[[], None]
    hold: Callable[[threading.Event], None]
    # How many faults wait for a write.
    waiting: Callable[[], int]


@contextmanager
def behind_postgres(url: str, *, close: bool, write: str) -> Iterator[Place]:
    with FaultyProxy(url) as proxy, door(proxy.url, statement_timeout_s=PATIENCE_S) as database:
        yield _behind(proxy, PostgresStorage(database), close, write)


@contextmanager
def behind_redis(redis: EmbeddedRedis, *, close: bool, write: str) -> Iterator[Place]:
    with FaultyProxy(redis.url) as proxy:
        client = NativeRedis(Secret(proxy.url))
        yield _behind(proxy, RedisStorage(client, timeout_s=PATIENCE_S), close, write)
        client.close()


def _behind(proxy: FaultyProxy, storage: Storage, close: bool, write: str) -> Place:
    def add(fault: Fault) -> None:
        proxy.faults.add(fault)

    return Place(
        storage,
        lambda: add(Fault.drop_reply(matching=write, close=close)),
        lambda: add(Fault.drop_request(matching=write, close=close)),
        lambda event: add(Fault.hold(event, matching=write)),
        lambda: len(proxy.faults),
    )


@contextmanager
def behind_rest(front: RedisFront, write: str) -> Iterator[Place]:
    client = UpstashRedis(front.url, Secret(front.token))
    faults, fault = front.faults, dev_redis.Fault
    yield Place(
        RedisStorage(client, timeout_s=PATIENCE_S),
        lambda: faults.add(fault.lost(matching=write)),
        lambda: faults.add(fault.cut(matching=write)),
        lambda event: faults.add(fault.hold(event, matching=write)),
        lambda: len(faults),
    )
    client.close()


SWAP = {"postgres": "SET body", "redis": "'done'", "rest": "'done'"}
CREATE = {"postgres": "INSERT INTO application_sessions", "redis": "'made'", "rest": "'made'"}


@contextmanager
def place_at(kind: str, asked: Callable[[str], Any], writes: dict[str, str]) -> Iterator[Place]:
    at, _, how = kind.partition(", ")
    if at == "postgres":
        with behind_postgres(asked("database_url"), close=how == "closed", write=writes[at]) as place:
            yield place
    elif at == "redis":
        with behind_redis(asked("redis"), close=how == "closed", write=writes[at]) as place:
            yield place
    else:
        with behind_rest(asked("front"), writes[at]) as place:
            yield place


KINDS = ["postgres, closed", "postgres, silent", "redis, closed", "redis, silent", "rest"]


@pytest.fixture(params=KINDS)
def swapping(request: pytest.FixtureRequest) -> Iterator[Place]:
    with place_at(request.param, request.getfixturevalue, SWAP) as place:
        yield place


@pytest.fixture(params=KINDS)
def creating(request: pytest.FixtureRequest) -> Iterator[Place]:
    with place_at(request.param, request.getfixturevalue, CREATE) as place:
        yield place


def stored(storage: Storage, id_: UUID) -> tuple[dict[str, int], int]:
    record = storage.load("counting", id_, extend=False)
    assert record is not None
    return counters(storage)._codec.read(record.body).state, record.version


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("lost", ["lose_reply", "lose_request"])
def test_a_change_is_stored_once_whatever_was_lost(swapping: Place, lost: str, times: int) -> None:
    managed = counters(swapping.storage)
    made = managed.create(state={"n": 0})
    for _ in range(times):
        getattr(swapping, lost)()
    seen: list[int] = []

    def change(session: Session[dict[str, int]]) -> Session[dict[str, int]]:
        seen.append(session.state["n"])
        return one_more(session)

    changed = managed.update(made.id, change)
    assert (changed.state, changed.version) == ({"n": 1}, 2)
    assert stored(swapping.storage, made.id) == ({"n": 1}, 2)
    assert set(seen) == {0}
    if lost == "lose_request":
        assert swapping.waiting() == 0
    else:
        # The first write was carried out, so there was no second one to be lost: unless it was sent once more to ask.
        assert swapping.waiting() < times


def test_a_write_that_is_late_meets_its_successor(swapping: Place) -> None:
    """It was given up, made again and stored; then the first one arrives."""
    managed = counters(swapping.storage)
    made = managed.create(state={"n": 0})
    release = threading.Event()
    swapping.hold(release)
    try:
        assert managed.update(made.id, one_more).state == {"n": 1}
        assert managed.update(made.id, one_more).state == {"n": 2}
    finally:
        release.set()
    assert swapping.waiting() == 0
    # What is late has been carried out before a later update on the same connection, or is refused for good.
    assert managed.update(made.id, one_more).state == {"n": 3}
    assert stored(swapping.storage, made.id) == ({"n": 3}, 4)


def test_a_creation_whose_reply_was_lost_is_one_session(creating: Place) -> None:
    managed, owner, wanted = counters(creating.storage), UserId(uuid4()), new_session_id()
    creating.lose_reply()
    try:
        made = managed.create(wanted, user_id=owner, state={"n": 7})
    except StorageUnavailable:
        made = managed.create(wanted, user_id=owner, state={"n": 7})
    assert (made.id, made.state, made.version) == (wanted, {"n": 7}, 1)
    assert managed.list_for_user(owner) == [wanted]
    assert creating.waiting() == 0


class Losing(MemoryStorage):
    """Carries out a write, lets something happen, and loses the reply."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], object] | None = None
        self.is_away = False

    def load(self, *given: Any, **named: Any) -> Any:
        if self.is_away:
            raise StorageUnavailable
        return super().load(*given, **named)

    def swap(self, namespace: str, session_id: UUID, seen: Stamp, body: str) -> Swapped:
        swapped = super().swap(namespace, session_id, seen, body)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is None:
            return swapped
        meanwhile()
        raise StorageUnavailable


@pytest.mark.parametrize("others", [0, 1, REMEMBERED - 1])
def test_it_is_found_as_long_as_the_session_names_it(others: int) -> None:
    storage = Losing()
    managed, beside = counters(storage), counters(storage)
    made = managed.create(state={"n": 0})
    storage.meanwhile = lambda: [beside.update(made.id, one_more) for _ in range(others)]
    assert managed.update(made.id, one_more).state == {"n": others + 1}


def test_where_it_would_not_be_named_any_more_that_is_said() -> None:
    storage = Losing()
    managed, beside = counters(storage), counters(storage)
    made = managed.create(state={"n": 0})
    storage.meanwhile = lambda: [beside.update(made.id, one_more) for _ in range(REMEMBERED)]
    with pytest.raises(UpdateUncertain):
        managed.update(made.id, one_more)
    assert stored(storage, made.id)[0] == {"n": REMEMBERED + 1}


def test_changes_of_its_time_push_no_update_out() -> None:
    storage = Losing()
    managed = counters(storage)
    made = managed.create(state={"n": 0})
    storage.meanwhile = lambda: [managed.set_ttl(made.id, 100 + n) for n in range(2 * REMEMBERED)]
    assert managed.update(made.id, one_more).state == {"n": 1}


def test_what_was_not_stored_is_stored_on_what_others_left() -> None:
    """The write was refused, and that reply was lost."""
    storage = Losing()
    managed, beside = counters(storage), counters(storage)
    made = managed.create(state={"n": 0})
    quicker = [1]

    def change(session: Session[dict[str, int]]) -> Session[dict[str, int]]:
        if quicker:
            quicker.pop()
            beside.update(made.id, one_more)
            storage.meanwhile = lambda: None
        return one_more(session)

    assert managed.update(made.id, change).state == {"n": 2}


def test_a_session_that_went_meanwhile_is_gone() -> None:
    storage = Losing()
    managed = counters(storage)
    made = managed.create(state={"n": 0})
    storage.meanwhile = lambda: managed.delete(made.id)
    with pytest.raises(NoSuchSession):
        managed.update(made.id, one_more)


def test_where_nobody_answers_any_more_nothing_is_promised_and_a_key_makes_it_safe_to_send_again() -> None:
    storage = Losing()
    managed = counters(storage)
    made = managed.create(state={"n": 0})

    def fall() -> None:
        storage.is_away = True

    storage.meanwhile = fall
    with pytest.raises(UpdateUncertain):
        managed.update(made.id, one_more, key="call-1")
    storage.is_away = False
    assert managed.update(made.id, one_more, key="call-1").state == {"n": 1}
    assert managed.update(made.id, one_more, key="call-2").state == {"n": 2}


@dataclass(frozen=True, slots=True)
class Told(Deadline):
    """One that is over when it is told so."""

    over: threading.Event

    def left_s(self) -> float:
        return 0.0 if self.over.is_set() else 60.0


def test_who_has_no_time_left_does_not_say_that_nothing_was_stored_while_it_may_be_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage, told = MemoryStorage(), Told(0.0, threading.Event())
    late: list[Callable[[], Swapped]] = []

    class Late(MemoryStorage):
        def swap(self, *given: Any) -> Swapped:
            late.append(lambda: storage.swap(*given))
            told.over.set()
            raise StorageUnavailable

        def load(self, *given: Any, **named: Any) -> Any:
            return storage.load(*given, **named)

    made = counters(storage).create(state={"n": 0})
    monkeypatch.setattr(Deadline, "after", lambda _: told)
    with pytest.raises(UpdateUncertain):
        counters(Late()).update(made.id, one_more)
    assert late[0]().done
    assert stored(storage, made.id) == ({"n": 1}, 2)
