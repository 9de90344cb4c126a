"""A retry is free: the same key gives the same turn, whatever died or was lost on the way."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from core.errors import DatabaseConflict, IdempotencyKeyReused
from core.house import House
from core.ids import DeviceId
from core.store import admissions, claims, ends, sessions, takes
from core.store.claims import Claim
from core.store.database import Database
from dev.demo_model import DemoModel, Fault
from tests.bells import Deaf
from tests.cleaning import clean
from tests.conversations import answer, arrival, dead, expire, history, losing_replies, sent, statuses
from tests.databases import run


def test_a_retry_gets_the_stored_turn_and_asks_no_model(house: House, model: DemoModel, device: UUID) -> None:
    first = answer(house, arrival(device, "Hello", "k"))
    again = answer(house, arrival(device, "Hello", "k"))
    assert dataclasses.asdict(again) == dataclasses.asdict(first)
    assert len(model.requests) == 1


def test_a_key_with_another_body_is_an_error(house: House, database_url: str, device: UUID) -> None:
    answer(house, arrival(device, "Hello", "k"))
    with pytest.raises(IdempotencyKeyReused):
        answer(house, arrival(device, "Goodbye", "k"))
    assert len(history(database_url)) == 2


def test_thirty_senders_of_one_key_make_one_turn_and_one_bill(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    with ThreadPoolExecutor(30) as pool:
        seen = list(pool.map(lambda _: answer(house, arrival(device, "Hello", "k")), range(30)))
    assert {(turn.id, turn.status, turn.reply) for turn in seen} == {(seen[0].id, "completed", seen[0].reply)}
    assert len(model.requests) == 1
    assert len(history(database_url)) == 2


def test_the_same_key_on_another_device_is_another_turn(house: House, device: UUID) -> None:
    assert answer(house, arrival(device, "Hello", "k")).id != answer(house, arrival(uuid4(), "Bye", "k")).id


def test_a_retry_while_the_turn_runs_gets_that_turn(house: House, model: DemoModel, device: UUID) -> None:
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(answer, house, arrival(device, "Hello", "k"))
        try:
            assert model.requests.wait_for(1)
            retry = answer(house, arrival(device, "Hello", "k"), 0.1)
            assert (retry.status, retry.reply) == ("running", None)
        finally:
            gate.set()
        assert slow.result(20).id == retry.id


@pytest.mark.parametrize("on_busy", ["merge", "steer"])
def test_a_retry_of_a_message_that_joined_another_turn_gets_that_turn(
    house: House, database_url: str, device: UUID, on_busy: str
) -> None:
    house.turns.wakeups = Deaf()
    first = dead(house, database_url, arrival(device, "first"))
    if on_busy == "merge":
        waiting = answer(house, arrival(device, "second", "a"), 0)
    joined = answer(house, arrival(device, "third", "b", on_busy), 0)
    again = answer(house, arrival(device, "third", "b", on_busy), 0)
    assert joined.id == again.id == (waiting.id if on_busy == "merge" else first.hold.turn_id)
    with pytest.raises(IdempotencyKeyReused):
        answer(house, arrival(device, "other", "b", on_busy), 0)
    assert len(run(database_url, "SELECT 1 FROM turns")) == (3 if on_busy == "merge" else 2)


def test_keys_are_forgotten_only_when_they_are_old_and_their_turns_over(
    house: House, database_url: str, device: UUID
) -> None:
    answer(house, arrival(device, "done", "old"))
    run(database_url, "UPDATE turns SET created_at = now() - interval '2 days'")
    answer(house, arrival(device, "done", "young"))
    dead(house, database_url, arrival(uuid4(), "open", "open"))
    run(database_url, "UPDATE turns SET created_at = now() - interval '2 days' WHERE ended_at IS NULL")
    assert clean(house.database, Deaf()) == {"keys": 1, "turns": 1}
    keys = "SELECT idempotency_key FROM turns WHERE idempotency_key IS NOT NULL ORDER BY 1"
    assert run(database_url, keys) == [("open",), ("young",)]


# ---- a function dies


def test_a_retry_goes_on_with_the_turn_of_a_dead_function(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    gone = dead(house, database_url, arrival(device, "My name is Ada.", "k"))
    turn = answer(house, arrival(device, "My name is Ada.", "k"))
    assert (turn.id, turn.seq, turn.status) == (gone.hold.turn_id, 1, "completed")
    assert [role for _, role, _ in history(database_url)] == ["user", "assistant"]
    assert sent(model) == [("user", ["My name is Ada."])]


def test_the_next_message_does_not_cost_the_one_before_its_answer(
    house: House, database_url: str, device: UUID
) -> None:
    dead(house, database_url, arrival(device, "My name is Ada."))
    turn = answer(house, arrival(device, "What is my name?"))
    assert "Ada" in (turn.reply or "")
    assert statuses(database_url) == [("completed", None), ("completed", None)]
    assert [role for _, role, _ in history(database_url)] == ["user", "assistant"] * 2


def test_a_turn_that_kills_its_functions_is_given_up_and_blocks_nobody(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    gone = dead(house, database_url, arrival(device, "poison", "k"))
    for _ in range(2):
        assert house.turns.reception.take(gone.hold.session_id, gone.lease.trusted_until) is not None
        expire(database_url)
    turn = answer(house, arrival(device, "poison", "k"))
    assert (turn.status, turn.error and turn.error["code"]) == ("failed", "turn_crashed")
    assert len(model.requests) == 0
    assert answer(house, arrival(device, "next")).status == "completed"


def test_a_defect_in_the_middle_counts_as_a_crash_and_lets_go_at_once(
    house: House, model: DemoModel, database_url: str, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(type(house.turns.story), "_ask", broken)
        with pytest.raises(ZeroDivisionError):
            answer(house, arrival(device, "Hello", "k"))
    assert run(database_url, "SELECT lease_expires_at FROM conversation_states") == [(None,)]
    assert answer(house, arrival(device, "Hello", "k")).status == "completed"
    assert run(database_url, "SELECT crashes FROM turns") == [(1,)]


# ---- the reply to a statement is lost


def test_a_claim_whose_reply_was_lost_takes_back_its_own_lease(
    house: House, model: DemoModel, database_url: str, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(house, arrival(device, "first"))
    lost = losing_replies(monkeypatch, claims._CLAIM, 2)
    assert answer(house, arrival(device, "second")).status == "completed"
    assert len(lost) == 2
    assert [text for _, role, text in history(database_url) if role == "user"] == ["first", "second"]
    assert len(model.requests) == 2


def test_a_take_whose_reply_was_lost_takes_back_its_own_lease_and_counts_no_crash(
    house: House, database_url: str, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.turns.wakeups = Deaf()
    turn = answer(house, arrival(device), 0)
    house.turns.wakeups = None
    lost = losing_replies(monkeypatch, takes._TAKE, 2)
    assert house.turns.look(DeviceId(device), turn.id, 20).status == "completed"
    assert len(lost) == 2
    assert run(database_url, "SELECT crashes FROM turns") == [(0,)]
    assert len(history(database_url)) == 2


def test_a_finish_whose_reply_was_lost_counts_once(
    house: House, model: DemoModel, database_url: str, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = losing_replies(monkeypatch, ends._FINISH)
    turn = answer(house, arrival(device))
    assert lost
    assert turn.status == "completed"
    assert len(history(database_url)) == 2
    assert len(model.requests) == 1
    session = sessions.find(house.database, DeviceId(device))
    assert session is not None
    assert session.usage["output_tokens"] == turn.usage["output_tokens"], "and is billed once"


@pytest.mark.parametrize("statement", [ends._CLOSE, ends._HAND_OVER], ids=["close", "hand_over"])
def test_an_end_whose_reply_was_lost_counts_once(
    house: House,
    model: DemoModel,
    database_url: str,
    device: UUID,
    monkeypatch: pytest.MonkeyPatch,
    statement: object,
) -> None:
    house.turns.wakeups = Deaf()
    lost = losing_replies(monkeypatch, statement)
    model.faults.add(Fault.status(402))
    turn = answer(house, arrival(device), 25 if statement is ends._CLOSE else 0)
    assert lost
    assert turn.status == ("failed" if statement is ends._CLOSE else "queued")
    assert len(run(database_url, "SELECT 1 FROM messages")) == 1


def test_an_admission_whose_reply_was_lost_counts_once(
    house: House, database_url: str, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(house, database_url, arrival(device, "first"))
    lost = losing_replies(monkeypatch, admissions._ADMIT)
    assert answer(house, arrival(device, "second")).status == "completed"
    assert lost
    assert [text for _, role, text in history(database_url) if role == "user"] == ["first", "second"]


def test_a_claim_that_collided_is_tried_again_with_the_same_message(
    house: House, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[object] = []
    real = claims.claim

    def colliding(database: Database, arrived: claims.Arrival, **given: object) -> Claim:
        tries.append(arrived)
        if len(tries) < 3:
            raise DatabaseConflict
        return real(database, arrived, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(claims, "claim", colliding)
    assert answer(house, arrival(device)).status == "completed"
    assert len(tries) == 3
    assert len(set(tries)) == 1


def test_a_connection_that_died_while_the_function_was_frozen_costs_nothing(
    house: House, database_url: str, device: UUID
) -> None:
    answer(house, arrival(device))
    ours = "application_name = 'latchkey' AND datname = current_database()"
    assert run(database_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")
    assert answer(house, arrival(device)).status == "completed"


def test_a_turn_that_another_took_over_answers_with_what_is_stored(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(answer, house, arrival(device, "Hello", "k"))
        try:
            assert model.requests.wait_for(1)
            expire(database_url)
            heir = answer(house, arrival(device, "Hello", "k"))
        finally:
            gate.set()
        late = slow.result(20)
    assert dataclasses.asdict(late) == dataclasses.asdict(heir)
    assert len(history(database_url)) == 2
