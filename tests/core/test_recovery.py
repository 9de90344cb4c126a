"""The sweep: it finds what nobody goes on with, and nothing else."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import UUID, uuid4

import psycopg2
import pytest

from core.house import House, build_house
from core.ids import DeviceId, SessionId
from core.settings import Settings
from core.store import approvals, takes
from dev.demo_model import DemoModel, Reply
from tests.agents import Workshop, call
from tests.bells import Bell
from tests.cleaning import clean
from tests.conversations import (
    answer,
    arrival,
    beside,
    conversations,
    dead,
    decide,
    everything,
    held,
    idle,
    taken,
    until,
)
from tests.databases import run


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    built = build_house(settings, Workshop().roster())
    yield built
    built.close()


@pytest.fixture
def bell() -> Bell:
    return Bell()


def look_around(house: House, bell: Bell) -> dict[str, int]:
    return clean(house.database, bell, key_ttl_s=60)


def queued(house: House, device: UUID, text: str = "Hello") -> SessionId:
    """A turn that is stored, free, and forgotten by whoever was to be woken for it."""
    house.turns.wakeups = Bell()
    turn = answer(house, arrival(device, text), 0)
    assert turn.status == "queued"
    assert turn.session_id is not None
    return turn.session_id


def waiting(house: House, model: DemoModel, device: UUID) -> SessionId:
    model.replies.add(Reply(call("burn")))
    turn = answer(house, arrival(device))
    assert turn.status == "waiting"
    assert turn.session_id is not None
    return turn.session_id


def test_it_wakes_what_a_dead_holder_left(house: House, bell: Bell, database_url: str) -> None:
    gone = dead(house, database_url, arrival(uuid4()))
    assert look_around(house, bell) == {"turns": 1}
    assert bell.woken == [gone.hold.session_id]


def test_it_wakes_what_was_queued_and_forgotten(house: House, bell: Bell) -> None:
    forgotten = queued(house, uuid4())
    assert look_around(house, bell) == {"turns": 1}
    assert bell.woken == [forgotten]


def test_it_wakes_a_conversation_once_however_many_turns_wait_in_it(house: House, bell: Bell) -> None:
    device = uuid4()
    session = queued(house, device)
    queued(house, device, "and on")
    look_around(house, bell)
    assert bell.woken == [session]


def test_it_wakes_nobody_for_what_is_held_over_or_waits_for_a_person(
    house: House, bell: Bell, model: DemoModel, database_url: str
) -> None:
    answer(house, arrival(uuid4(), "over"))
    patient = uuid4()
    waiting(house, model, patient)
    queued(house, patient, "behind the question")
    held(house, arrival(uuid4(), "held"))
    assert run(database_url, "SELECT count(*) FROM turns WHERE ended_at IS NULL") == [(3,)]
    before = everything(database_url)
    assert look_around(house, bell) == {}
    assert bell.woken == []
    assert everything(database_url) == before


def test_the_longest_waiting_is_woken_first(house: House, bell: Bell, database_url: str) -> None:
    sessions = [queued(house, uuid4()) for _ in range(3)]
    for age, session in enumerate(sessions):
        run(
            database_url,
            f"UPDATE turns SET created_at = now() - interval '{age} hours' WHERE session_id = %s",
            str(session),
        )
    look_around(house, bell)
    assert bell.woken == sessions[::-1]


def test_a_woken_turn_is_ended_by_whoever_is_woken(house: House, bell: Bell, database_url: str) -> None:
    device = uuid4()
    queued(house, device)
    look_around(house, bell)
    for session_id in bell.woken:
        house.turns.work(session_id)
    assert run(database_url, "SELECT status FROM turns") == [("completed",)]
    assert look_around(house, bell) == {}


def test_an_overdue_question_is_a_no_and_wakes_its_turn_in_the_same_round(
    house: House, bell: Bell, model: DemoModel, database_url: str
) -> None:
    session = waiting(house, model, uuid4())
    waiting(house, model, uuid4())
    run(
        database_url,
        "UPDATE approvals SET expires_at = now() - interval '1 second' WHERE session_id = %s",
        str(session),
    )
    assert look_around(house, bell) == {"approvals": 1, "turns": 1}
    assert bell.woken == [session]
    rows = "SELECT status, decided_at IS NOT NULL FROM approvals ORDER BY status"
    assert run(database_url, rows) == [("expired", True), ("pending", False)]


def test_two_sweeps_at_once_decide_and_forget_each_thing_once(
    house: House, model: DemoModel, database_url: str
) -> None:
    for number in range(6):
        answer(house, arrival(uuid4(), "old", f"k{number}"))
        waiting(house, model, uuid4())
    run(database_url, "UPDATE turns SET created_at = now() - interval '1 day'")
    run(database_url, "UPDATE approvals SET expires_at = now() - interval '1 second'")
    with ThreadPoolExecutor(4) as pool:
        swept = list(pool.map(lambda _: look_around(house, Bell()), range(4)))
    assert sum(done.get("approvals", 0) for done in swept) == 6
    assert sum(done.get("keys", 0) for done in swept) == 6
    assert run(database_url, "SELECT count(*) FROM turns WHERE idempotency_key IS NOT NULL") == [(0,)]
    assert run(database_url, "SELECT DISTINCT status FROM approvals") == [("expired",)]


def test_a_sweep_does_not_wait_for_another(house: House, bell: Bell, database_url: str) -> None:
    """What another has its hands on is left to it."""
    for key in ("one", "two"):
        answer(house, arrival(uuid4(), "old", key))
    run(database_url, "UPDATE turns SET created_at = now() - interval '1 day'")
    with closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT FROM turns WHERE idempotency_key = 'one' FOR UPDATE")
        assert look_around(house, bell) == {"keys": 1}
    assert look_around(house, bell) == {"keys": 1}


def test_two_who_are_woken_for_the_same_turn_answer_it_once(
    house: House, model: DemoModel, database_url: str
) -> None:
    session = queued(house, uuid4())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: house.turns.work(session), range(4)))
    assert run(database_url, "SELECT status, crashes FROM turns") == [("completed", 0)]
    assert len(model.requests) == 1


def test_keys_of_open_turns_and_young_ones_are_kept(house: House, bell: Bell, database_url: str) -> None:
    device = uuid4()
    answer(house, arrival(device, "old", "old"))
    held(house, arrival(device, "open", "open"))
    run(database_url, "UPDATE turns SET created_at = now() - interval '61 seconds'")
    answer(house, arrival(uuid4(), "young", "young"))
    assert look_around(house, bell) == {"keys": 1}
    keys = "SELECT idempotency_key FROM turns WHERE idempotency_key IS NOT NULL ORDER BY 1"
    assert run(database_url, keys) == [("open",), ("young",)]


def test_what_waits_for_a_person_holds_no_lease_and_cannot_be_taken(
    house: House, model: DemoModel, database_url: str
) -> None:
    device = uuid4()
    session = waiting(house, model, device)
    assert takes.take(house.database, session, uuid4(), lease_ttl_s=30) is None
    (asked,) = approvals.pending(house.database, DeviceId(device))
    assert decide(house.database, asked, "approved")
    holding = taken(house, session)
    assert [(c.name, c.status) for c in holding.calls.values()] == [("burn", "ready")]
    assert holding.grant.crashes == 0


def test_a_lock_whose_time_is_over_is_taken_away_and_noted(
    house: House, bell: Bell, device: UUID, database_url: str
) -> None:
    answer(house, arrival(device))
    house.sessions.set_session_lock(DeviceId(device), "manager", ttl_s=60)
    assert look_around(house, bell) == {}
    run(database_url, "UPDATE conversation_states SET locked_at = now() - interval '1 minute'")
    assert look_around(house, bell) == {"locks": 1}
    assert run(database_url, "SELECT action FROM audit_log ORDER BY id") == [("lock_set",), ("lock_expired",)]
    assert look_around(house, bell) == {}


def test_what_nobody_uses_is_ended_and_the_log_says_so(
    house: House, bell: Bell, device: UUID, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer(house, arrival(device))
    beside(database_url, uuid4(), left_s=-1)
    assert look_around(house, bell) == {"application_sessions": 1}
    idle(database_url)
    with caplog.at_level("INFO", "core.house"):
        workers = house.start_workers(threads=0, sweep_every_s=0.01)
        until(lambda: "clean-up: sessions 1; nothing left" in caplog.text)
        workers.stop()
    assert conversations(database_url) == []
    assert look_around(house, bell) == {}


def test_what_is_to_be_gone_on_with_is_woken_and_not_ended(
    house: House, bell: Bell, database_url: str
) -> None:
    forgotten = queued(house, uuid4())
    idle(database_url)
    assert look_around(house, bell) == {"turns": 1}
    assert bell.woken == [forgotten]
