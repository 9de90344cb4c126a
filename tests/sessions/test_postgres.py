"""What only Postgres has: rows that stay until they are cleaned up, conversations of the same ID, one time for all."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from core.errors import NoSuchSession, SessionNotFound, StorageUnavailable
from core.house import House
from core.ids import DeviceId, SessionId, UserId
from core.sessions.manager import SessionManager
from core.sessions.postgres import PostgresStorage
from core.store.database import Database
from core.store.endings import EndedSession
from tests.conversations import answer, arrival, losing_replies, until
from tests.databases import run
from tests.sessions.rigs import MovedClock, door
from tests.sessions.writer import one_more

Desks = SessionManager[dict[str, int]]
TTL_S = 1000
ROWS = "SELECT count(*) FROM application_sessions"


@pytest.fixture
def own(database_url: str) -> Iterator[Database]:
    with door(database_url) as database:
        yield database


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def desks(own: Database, clock: MovedClock) -> Desks:
    return SessionManager(
        dict[str, int], PostgresStorage(own, now=clock), namespace="desk", default_ttl_s=TTL_S
    )


def made(desks: Desks, ttl_s: int | None = None) -> SessionId:
    return desks.create(state={"n": 0}, user_id=UserId(uuid4()), ttl_s=ttl_s).id


def test_a_read_writes_only_once_the_slack_has_passed(
    desks: Desks, clock: MovedClock, database_url: str
) -> None:
    one, place = made(desks), "SELECT ctid, last_active_at FROM application_sessions"
    before = run(database_url, place)
    clock.ahead += timedelta(seconds=30)
    desks.get(one)
    assert run(database_url, place) == before
    clock.ahead += timedelta(seconds=30)
    desks.get(one)
    assert run(database_url, place) != before


def test_updates_leave_the_indexes_alone(desks: Desks, database_url: str) -> None:
    one = made(desks)
    for _ in range(50):
        desks.update(one, one_more)
    counted = (
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'application_sessions'"
    )
    until(lambda: run(database_url, counted)[0][0] == 50)
    # All but those that found their page full.
    assert run(database_url, counted)[0][1] >= 40


def test_cleaning_up_takes_the_rows_of_its_namespace(
    desks: Desks, own: Database, clock: MovedClock, database_url: str
) -> None:
    other = SessionManager(dict[str, int], PostgresStorage(own, now=clock), namespace="other")
    gone = [made(desks, ttl_s=10) for _ in range(5)]
    made(other, ttl_s=10)
    kept = made(desks)
    clock.ahead += timedelta(seconds=20)
    assert run(database_url, ROWS) == [(7,)]
    assert desks.cleanup_expired() == 5
    assert run(database_url, ROWS) == [(2,)]
    assert desks.exists(kept)
    assert not desks.exists(gone[0])


def test_what_is_used_at_the_moment_is_not_cleaned_up(
    desks: Desks, clock: MovedClock, database_url: str
) -> None:
    made(desks, ttl_s=10)
    clock.ahead += timedelta(seconds=20)
    with door(database_url) as beside, beside._engine.connect() as held:
        held.exec_driver_sql("BEGIN")
        held.exec_driver_sql("SELECT FROM application_sessions FOR UPDATE")
        assert desks.cleanup_expired() == 0
        held.exec_driver_sql("ROLLBACK")
    assert desks.cleanup_expired() == 1


def test_a_row_whose_time_is_over_makes_way_for_another_of_its_user(
    own: Database, clock: MovedClock, database_url: str
) -> None:
    desks = SessionManager(dict[str, int], PostgresStorage(own, now=clock), namespace="desk", most_per_user=1)
    owner = UserId(uuid4())
    desks.create(user_id=owner, state={}, ttl_s=10)
    clock.ahead += timedelta(seconds=20)
    second = desks.create(user_id=owner, state={})
    assert run(database_url, "SELECT session_id FROM application_sessions") == [(str(second.id),)]


# ---- conversations of the same ID


@pytest.fixture
def talking(house: House, device: UUID) -> SessionId:
    session_id = answer(house, arrival(device)).session_id
    assert session_id is not None
    return session_id


def in_talk(desks: Desks, talking: SessionId, ttl_s: int = 10) -> None:
    desks.create(talking, state={"n": 0}, user_id=UserId(uuid4()), ttl_s=ttl_s)


def test_it_lives_as_long_as_its_conversation(
    desks: Desks, clock: MovedClock, talking: SessionId, house: House
) -> None:
    in_talk(desks, talking)
    clock.ahead += timedelta(seconds=house.settings.session_ttl_s - 60)
    assert desks.exists(talking)
    left_s = desks.get_ttl(talking)
    assert left_s == pytest.approx(60, abs=40)
    assert desks.cleanup_expired() == 0
    assert desks.update(talking, one_more).state == {"n": 1}
    clock.ahead += timedelta(seconds=60)
    assert desks.get(talking) is None
    with pytest.raises(NoSuchSession):
        desks.update(talking, one_more)


def test_the_conversation_lives_as_long_as_it_does(
    desks: Desks, clock: MovedClock, talking: SessionId, house: House, device: UUID
) -> None:
    in_talk(desks, talking, ttl_s=7200)
    clock.ahead += timedelta(seconds=7000)
    assert house.sessions.get_session_lock(DeviceId(device), now=clock()).session_id == talking
    clock.ahead += timedelta(seconds=300)
    with pytest.raises(SessionNotFound):
        house.sessions.get_session_lock(DeviceId(device), now=clock())
    assert not desks.exists(talking)


def test_deleting_it_ends_the_conversation_with_all_of_its_sessions(
    own: Database, talking: SessionId, house: House, device: UUID, database_url: str
) -> None:
    told: list[EndedSession] = []
    storage = PostgresStorage(own, ended=told.append)
    desks, other = (SessionManager(dict[str, int], storage, namespace=name) for name in ("desk", "other"))
    in_talk(desks, talking)
    in_talk(other, talking)
    apart = made(desks)
    assert desks.delete_many([talking, apart]) == 2
    with pytest.raises(SessionNotFound):
        house.sessions.get_session_lock(DeviceId(device))
    assert not other.exists(talking)
    assert [(one.session_id, one.device_ids) for one in told] == [(talking, (device,))]
    assert run(database_url, ROWS) == [(0,)]


def test_deleting_what_is_not_there_ends_no_conversation(
    desks: Desks, talking: SessionId, house: House, device: UUID
) -> None:
    assert not desks.delete(talking)
    assert house.sessions.get_session_lock(DeviceId(device)).session_id == talking


def test_ending_the_conversation_ends_it(
    desks: Desks, talking: SessionId, house: House, device: UUID
) -> None:
    in_talk(desks, talking, ttl_s=7200)
    house.sessions.end_session(DeviceId(device))
    assert desks.get(talking) is None


# ---- in trouble


def test_a_database_that_is_away_is_one_error_and_the_driver_speaks_in_the_log(
    desks: Desks, own: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with door("postgresql://u:hunter2@127.0.0.1:1/x") as nowhere:
        lost: Desks = SessionManager(dict[str, int], PostgresStorage(nowhere), namespace="desk")
        for ask in (
            lambda: lost.get(SessionId(uuid4())),
            lambda: lost.create(state={}),
            lost.cleanup_expired,
        ):
            with pytest.raises(StorageUnavailable) as caught:
                ask()
            assert caught.value.status == 503
            assert "127.0.0.1" not in caught.value.detail
        assert not lost.health().is_well
    assert "refused" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_dead_connection_costs_no_answer(
    desks: Desks, own: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.store import application_sessions

    one = made(desks)
    lost = losing_replies(monkeypatch, application_sessions._SWAP, 2)
    assert desks.update(one, one_more).state == {"n": 1}
    assert len(lost) == 2
    found = desks.get(one)
    assert found is not None
    assert (found.state, found.version) == ({"n": 1}, 2)


def test_its_extent_is_told_without_counting(desks: Desks, database_url: str) -> None:
    for _ in range(3):
        made(desks)
    run(database_url, "ANALYZE application_sessions")
    health = desks.health()
    assert health.sessions == 3
    assert (health.size_bytes or 0) > 0
