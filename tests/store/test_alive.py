"""Expired means gone, at once: for whoever reads, and whether or not anybody cleaned up."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from core.house import House, build_house
from core.ids import DeviceId, TurnId
from core.sessions.manager import SessionManager
from core.settings import Settings
from core.store import (
    approvals,
    audit,
    claims,
    locks,
    messages,
    sessions,
    todos,
    turns,
)
from core.store.database import Database
from core.store.fence import Reply as StoredReply
from core.store.locks import LockTtl
from core.store.used import Used
from dev.demo_model import DemoModel
from tests.agents import Workshop
from tests.conversations import (
    answer,
    arrival,
    beside,
    decide,
    everything,
    expire,
    held,
    idle,
    join,
    outcome_asked,
    waiting,
)
from tests.databases import run

TTL = LockTtl(None, None, 60)
LAST = "SELECT last_active_at FROM conversation_states"
REPLY = StoredReply("manager", '[{"type":"text","text":"Hi"}]', "p", "end_turn", "{}", Used("{}", "{}"))


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    built = build_house(settings, Workshop().roster())
    yield built
    built.close()


# ---- gone

# What is read of a conversation, by its device; of what it is given, an approval and a turn.
READERS: dict[str, Callable[[Database, DeviceId, UUID, TurnId, datetime], object]] = {
    "the session, found": lambda db, device, _, __, now: sessions.find(db, device, now=now),
    "the session, looked at": lambda db, device, _, __, now: sessions.look(db, device, now=now),
    "the lock": lambda db, device, _, __, now: locks.find(db, device, now=now),
    "the messages": lambda db, device, _, __, now: messages.page_after(db, device, 0, 9, now=now).items,
    "the messages before": lambda db, device, _, __, now: (
        messages.page_before(db, device, 9, 9, now=now).items
    ),
    "the todos": lambda db, device, _, __, now: todos.of(db, device, now=now),
    "the audit": lambda db, device, _, __, now: audit.page(db, device, 0, 9, now=now)[0],
    "an approval": lambda db, device, id_, _, now: approvals.find(db, device, id_, now=now),
    "a turn": lambda db, device, _, id_, now: turns.find(db, device, id_, now=now),
    "a lock that is set": lambda db, device, _, __, now: locks.set_lock(
        db, device, "manager", TTL, actor="me", reason=None, now=now
    ),
    "a lock that is cleared": lambda db, device, _, __, now: locks.clear_lock(
        db, device, actor="me", reason=None, now=now
    ),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("guest", [False, True], ids=["its own device", "another that is in it"])
def test_what_nobody_uses_is_gone_at_once(
    house: House, model: DemoModel, database_url: str, device: UUID, reader: str, guest: bool
) -> None:
    asked = waiting(house, model, device)
    assert decide(house.database, asked, "denied")
    turn = answer(house, arrival(device, "burn it", "k"))
    run(
        database_url,
        "INSERT INTO todos (session_id, position, content, status) SELECT id, 1, 'x', 'pending' FROM conversation_states",
    )
    if guest:
        device = join(database_url, uuid4())
    locks.set_lock(house.database, DeviceId(device), "manager", TTL, actor="me", reason=None)
    end = datetime.now(UTC)

    def read(after_ms: int) -> object:
        ends_now = "UPDATE conversation_states SET last_active_at = %s - make_interval(secs => idle_ttl)"
        run(database_url, ends_now, end)
        at = end + timedelta(milliseconds=after_ms)
        return READERS[reader](house.database, DeviceId(device), asked.id, turn.id, at)

    assert read(-1)
    assert not read(0)
    before = everything(database_url)
    assert not read(0)
    assert everything(database_url) == before


def test_the_list_of_approvals_tells_of_what_a_question_keeps_alive_and_not_of_others(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    waiting(house, model, device)
    idle(database_url)
    assert len(approvals.pending(house.database, DeviceId(device))) == 1
    run(database_url, "UPDATE approvals SET expires_at = now()")
    run(database_url, "UPDATE turns SET status = 'cancelled', ended_at = now()")
    assert approvals.pending(house.database, DeviceId(device)) == []


# ---- what keeps it alive past its own time


def _hold(house: House, url: str, model: DemoModel, device: UUID) -> None:
    run(url, "UPDATE conversation_states SET lease_expires_at = now() + interval '9 seconds'")


def _die(house: House, url: str, model: DemoModel, device: UUID) -> None:
    held(house, arrival(device))
    expire(url)


def _wait(house: House, url: str, model: DemoModel, device: UUID) -> None:
    waiting(house, model, device)


def _keep(house: House, url: str, model: DemoModel, device: UUID) -> None:
    ((session,),) = run(url, "SELECT id FROM conversation_states")
    beside(url, session, "old", left_s=-1)
    beside(url, session, "young", left_s=60)


KEPT_BY: dict[str, tuple[Callable[[House, str, DemoModel, UUID], None], str]] = {
    "a lease": (_hold, "UPDATE conversation_states SET lease_expires_at = now()"),
    "a turn whose holder died": (_die, "UPDATE turns SET status = 'failed', ended_at = now()"),
    "a turn that waits for a person": (
        _wait,
        "WITH a AS (DELETE FROM approvals) UPDATE turns SET status = 'failed', ended_at = now()",
    ),
    "a question about an outcome": (outcome_asked, "UPDATE approvals SET expires_at = now()"),
    "an application session": (
        _keep,
        "UPDATE application_sessions SET last_active_at = now() - interval '60 s'",
    ),
}


@pytest.mark.parametrize("reason", KEPT_BY)
def test_it_is_alive_past_its_time_while_there_is_a_reason_and_no_longer(
    house: House, model: DemoModel, database_url: str, device: UUID, reason: str
) -> None:
    answer(house, arrival(device))
    keep, let_go = KEPT_BY[reason]
    keep(house, database_url, model, device)
    idle(database_url, for_s=60)
    assert sessions.find(house.database, DeviceId(device)) is not None
    run(database_url, let_go)
    assert sessions.find(house.database, DeviceId(device)) is None


def test_what_keeps_it_alive_is_looked_up_only_when_its_time_is_over(
    house: House, database_url: str, device: UUID
) -> None:
    answer(house, arrival(device))
    given = {**_claim_given(device), **sessions._given(DeviceId(device), None)}

    def looked_up(statement: str) -> list[bool]:
        rows = house.database.rows(text(f"EXPLAIN (ANALYZE, TIMING OFF) {statement}"), given)
        lines = [row["QUERY PLAN"] for row in rows]
        return ["never executed" not in line for line in lines if " alive_" in line]

    for statement in (sessions._FIND.text, sessions._LOOK.text, claims._CLAIM.text):
        assert looked_up(statement) == [False] * 3
        run(database_url, "UPDATE turns SET status = 'completed', ended_at = now() WHERE ended_at IS NULL")
        run(database_url, "UPDATE conversation_states SET lease_expires_at = NULL")
    idle(database_url)
    assert looked_up(sessions._FIND.text) == [True] * 3


def _claim_given(device: UUID) -> dict[str, Any]:
    return {
        "user_id": uuid4(),
        "session_id": uuid4(),
        "turn_id": uuid4(),
        "content": "[]",
        "body_digest": "d",
        "idempotency_key": None,
        "is_followed": False,
        "named_session": None,
        "lease_ttl_s": 30,
        "lock_ttl_s": 60,
        "idle_ttl_s": 60,
        "known_session": None,
        "known_rewrites": -1,
        "known_seq": 0,
    }


def test_an_application_session_that_is_made_under_its_id_does_not_bring_it_back(
    house: House, database_url: str, device: UUID
) -> None:
    turn = answer(house, arrival(device))
    assert turn.session_id is not None
    idle(database_url)
    notes: SessionManager[dict[str, str]] = house.session_manager(dict, namespace="notes")
    made = notes.create(turn.session_id)
    assert sessions.find(house.database, DeviceId(device)) is None
    assert notes.get(made.id) is not None
