"""What nobody uses is cleaned up, by however many at once, and nothing that is used."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from core.house import House, build_house
from core.settings import Settings
from core.store import expired
from core.store.endings import EndedSession
from dev.demo_model import DemoModel
from tests.agents import Workshop
from tests.conversations import (
    answer,
    arrival,
    beside,
    conversations,
    everything,
    expire,
    held,
    idle,
    in_the_way,
    outcome_asked,
    row_held,
    wait_for_locks,
    waiting,
)
from tests.databases import run
from tests.prove.books import find_wrong

BESIDE = "SELECT namespace FROM application_sessions ORDER BY namespace"


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    built = build_house(replace(settings, budget_user_micros=10**9), Workshop().roster())
    yield built
    built.close()


def test_those_go_first_whose_time_was_over_first(house: House, database_url: str) -> None:
    devices = [uuid4() for _ in range(4)]
    ids = {}
    for number, device in enumerate(devices):
        session = answer(house, arrival(device)).session_id
        assert session is not None
        ids[device] = session
        idle(database_url, session, for_s=number)
    # It was used earlier, and lives longer.
    run(
        database_url,
        "UPDATE conversation_states SET last_active_at = last_active_at - interval '1 day', idle_ttl = idle_ttl + 86400 "
        "WHERE id = %s",
        str(ids[devices[0]]),
    )
    first = expired.clean_up(house.database, 3)
    assert [ended.session_id for ended in first] == [ids[device] for device in devices[:0:-1]]
    assert [ended.device_ids for ended in first] == [(device,) for device in devices[:0:-1]]
    assert [ended.session_id for ended in expired.clean_up(house.database, 3)] == [ids[devices[0]]]
    assert expired.clean_up(house.database, 3) == []
    assert find_wrong(database_url) == []


def test_what_is_alive_stays(house: House, model: DemoModel, database_url: str) -> None:
    """For each of the reasons that there are; and when there is none any more, it goes."""
    young = answer(house, arrival(uuid4())).session_id
    waiting(house, model, uuid4())
    outcome_asked_of = uuid4()
    outcome_asked(house, database_url, model, outcome_asked_of)
    held(house, arrival(uuid4()))
    kept = answer(house, arrival(uuid4())).session_id
    assert kept is not None
    beside(database_url, kept)
    idle(database_url)
    run(database_url, "UPDATE conversation_states SET last_active_at = now() WHERE id = %s", str(young))
    before = everything(database_url)
    assert expired.clean_up(house.database, 9) == []
    assert everything(database_url) == before
    expire(database_url)
    run(database_url, "UPDATE turns SET status = 'cancelled', ended_at = now() WHERE ended_at IS NULL")
    run(database_url, "UPDATE approvals SET expires_at = now()")
    run(database_url, "UPDATE application_sessions SET last_active_at = now() - interval '1 minute'")
    assert len(expired.clean_up(house.database, 9)) == 4
    assert conversations(database_url) == [young]
    assert run(database_url, BESIDE) == []


def test_it_is_judged_at_the_given_time(house: House, database_url: str, device: UUID) -> None:
    answer(house, arrival(device))
    ((end,),) = run(
        database_url, "SELECT last_active_at + make_interval(secs => idle_ttl) FROM conversation_states"
    )
    assert expired.clean_up(house.database, 9, now=end - timedelta(milliseconds=1)) == []
    assert len(expired.clean_up(house.database, 9, now=end)) == 1


def test_one_that_somebody_has_in_hand_is_left_to_them(house: House, database_url: str, device: UUID) -> None:
    answer(house, arrival(device))
    idle(database_url)
    with row_held(database_url):
        assert expired.clean_up(house.database, 9) == []
    assert len(expired.clean_up(house.database, 9)) == 1


def test_one_whose_application_session_is_used_at_the_moment_stays(
    house: House, database_url: str, device: UUID
) -> None:
    session = answer(house, arrival(device)).session_id
    assert session is not None
    beside(database_url, session, left_s=-1)
    idle(database_url)
    with ThreadPoolExecutor(1) as pool:
        with in_the_way(database_url, "UPDATE application_sessions SET last_active_at = now()"):
            cleaning = pool.submit(expired.clean_up, house.database, 9)
            wait_for_locks(database_url, 1)
        assert cleaning.result(20) == []
    assert conversations(database_url) == [session]
    assert run(database_url, BESIDE) == [("notes",)]


def test_several_at_once_take_different_ones(house: House, database_url: str) -> None:
    sessions = {answer(house, arrival(uuid4())).session_id for _ in range(20)}
    idle(database_url)

    def clean(_: int) -> list[EndedSession]:
        cleaned: list[EndedSession] = []
        while batch := expired.clean_up(house.database, 3):
            cleaned += batch
        return cleaned

    with ThreadPoolExecutor(4) as pool:
        ended = [one.session_id for cleaned in pool.map(clean, range(4)) for one in cleaned]
    ended += [one.session_id for one in clean(0)]
    assert len(ended) == 20
    assert set(ended) == sessions
    assert find_wrong(database_url) == []


def test_application_sessions_that_belong_to_none_go_by_their_own_time(
    house: House, database_url: str, device: UUID
) -> None:
    session = answer(house, arrival(device)).session_id
    assert session is not None
    beside(database_url, session, "of a conversation", left_s=-9)
    for namespace, left_s in (("young", 60), ("old", -1), ("older", -2), ("oldest", -3)):
        beside(database_url, uuid4(), namespace, left_s=left_s)
    assert expired.clean_up_alone(house.database, 2) == 2
    assert run(database_url, BESIDE) == [("of a conversation",), ("old",), ("young",)]
    with in_the_way(database_url, "SELECT FROM application_sessions FOR UPDATE"):
        assert expired.clean_up_alone(house.database, 9) == 0
    assert expired.clean_up_alone(house.database, 9) == 1
    late = datetime.now(UTC) + timedelta(seconds=61)
    assert expired.clean_up_alone(house.database, 9, now=late) == 1
    assert run(database_url, BESIDE) == [("of a conversation",)]


def test_the_service_cleans_up_until_nothing_is_left(house: House, database_url: str) -> None:
    for _ in range(3):
        answer(house, arrival(uuid4()))
    idle(database_url)
    beside(database_url, uuid4(), left_s=-1)
    done = house.sessions.cleanup_expired_sessions()
    assert (done.locks, done.sessions, done.application_sessions) == (0, 3, 1)
    done = house.sessions.cleanup_expired_sessions()
    assert (done.locks, done.sessions, done.application_sessions) == (0, 0, 0)
