"""Conversations for tests: messages as they arrive, holders that die, and what is left in the tables."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg2
import pytest

from core.agents.agent import Agent
from core.content import dump
from core.deadline import Deadline
from core.holding import Holding, Said
from core.house import House
from core.ids import DeviceId, SessionId, new_session_id, new_turn_id, new_user_id
from core.shown import Turn
from core.store import approvals
from core.store.approvals import Overdue, Verdict
from core.store.asked import Approval
from core.store.claims import Arrival
from core.store.database import ConnectionDied, Database
from core.toolwork import asked_for
from dev.demo_model import DemoModel, Reply
from tests.agents import call
from tests.databases import run

TABLES = (
    "conversation_states",
    "turns",
    "messages",
    "tool_calls",
    "approvals",
    "compactions",
    "audit_log",
    "todos",
    "spending",
    "users",
    "connections",
    "application_sessions",
)


def arrival(device: UUID, text: str = "Hello", key: str | None = None, on_busy: str = "queue") -> Arrival:
    return Arrival(
        device_id=DeviceId(device),
        content=dump([{"type": "text", "text": text}]),
        body_digest=text,
        idempotency_key=key,
        turn_id=new_turn_id(),
        session_id=new_session_id(),
        user_id=new_user_id(),
        on_busy=on_busy,
    )


def answer(house: House, arrived: Arrival, wait_s: float = 25.0) -> Turn:
    return house.turns.answer(arrived, wait_s)


def held(house: House, arrived: Arrival) -> Holding:
    """The hold that a new message gets, in the hands of the test."""
    holding = house.turns.reception.accept(arrived, Deadline.after(20)).holding
    assert holding is not None
    return holding


def asking(holding: Holding, house: House, agent: Agent) -> None:
    """The model is asked, and the calls of its reply are on record: started, or waiting for a person."""
    prompt = house.turns.asking.prompt(agent, holding.conversation)
    reply = house.turns.asking.reply(holding, prompt, Deadline.after(20))
    holding.append_reply(Said(reply, agent.key, prompt.prefix_digest), asked_for(agent, reply))


def taken(house: House, session_id: SessionId) -> Holding:
    """The hold that whoever goes on with the conversation gets."""
    holding = house.turns.reception.take(session_id, Deadline.after(20))
    assert holding is not None
    return holding


def decide(
    database: Database, approval: Approval | Overdue, decision: str, *, now: datetime | None = None
) -> bool:
    """One decision by nobody in particular, at the version that the approval was read at."""
    given = (approval.session_id, approval.version, [Verdict(approval.id)], decision)
    return approvals.decide(database, *given, now=now) == 1


def expire(url: str) -> None:
    """As if every holder had been silent for longer than its lease."""
    run(
        url,
        "UPDATE conversation_states SET lease_expires_at = now() - interval '1 second' WHERE lease_expires_at IS NOT NULL",
    )


def waiting(house: House, model: DemoModel, device: UUID) -> Approval:
    """A turn that waits for a person, and what the person is asked."""
    model.replies.add(Reply(call("burn")))
    assert answer(house, arrival(device, "burn it", "k")).status == "waiting"
    return approvals.pending(house.database, DeviceId(device))[0]


def outcome_asked(house: House, url: str, model: DemoModel, device: UUID) -> None:
    """A question about a call of a turn that is over."""
    waiting(house, model, device)
    run(url, "UPDATE turns SET status = 'cancelled', ended_at = now()")
    run(url, "UPDATE approvals SET kind = 'outcome'")


def idle(url: str, session_id: UUID | None = None, *, for_s: float = 0) -> None:
    """As if the conversation, or every one, had not been used for its whole time and so much more."""
    run(
        url,
        "UPDATE conversation_states SET last_active_at = now() - make_interval(secs => idle_ttl + %s) "
        "WHERE %s IS NULL OR id = %s::uuid",
        for_s,
        *[session_id and str(session_id)] * 2,
    )


def beside(
    url: str, session_id: UUID, namespace: str = "notes", *, left_s: float = 60, made: str = "1 day"
) -> None:
    """An application session of this ID, whose own time is over in so many seconds; and how long ago it was made."""
    run(
        url,
        "INSERT INTO application_sessions (session_id, namespace, epoch, version, body, idle_ttl, last_active_at, created_at) "
        "VALUES (%s, %s, 1, 1, '{}', 60, now() + make_interval(secs => %s - 60), now() - CAST(%s AS interval))",
        str(session_id),
        namespace,
        left_s,
        made,
    )


def conversations(url: str) -> list[UUID]:
    """The IDs of those that are stored, the oldest first."""
    return [UUID(str(id_)) for (id_,) in run(url, "SELECT id FROM conversation_states ORDER BY created_at")]


def join(url: str, device: UUID) -> UUID:
    """A second device in the only conversation there is, of the same user."""
    run(
        url,
        "INSERT INTO connections (device_id, user_id, session_id) SELECT %s, user_id, id FROM conversation_states",
        str(device),
    )
    return device


def dead(house: House, url: str, arrived: Arrival) -> Holding:
    """A holder that died right after its claim; its lease has run out."""
    holding = held(house, arrived)
    expire(url)
    return holding


def everything(url: str) -> list[Any]:
    return [run(url, f"SELECT * FROM {table} t ORDER BY t::text") for table in TABLES]


def history(url: str) -> list[tuple[int, str, str]]:
    """The whole conversation of the only session there is, the first text of each message."""
    said = (
        "(SELECT b ->> 'text' FROM json_array_elements(content::json) b WHERE b ->> 'type' = 'text' LIMIT 1)"
    )
    return [
        (seq, role, text)
        for seq, role, text in run(url, f"SELECT seq, role, {said} FROM messages ORDER BY seq")
    ]


def statuses(url: str) -> list[tuple[str, str | None]]:
    """Of each turn, in order: how it ended, and why."""
    return [(s, code) for s, code in run(url, "SELECT status, error ->> 'code' FROM turns ORDER BY seq")]


def sent(model: DemoModel, number: int = -1) -> list[tuple[str, list[str]]]:
    """What the model was sent: roles and texts."""
    return [
        (message["role"], [b.get("text") or b["type"] for b in message["content"]])
        for message in model.requests[number].body["messages"]
    ]


def refusals(model: DemoModel) -> list[str]:
    return [request.refusal for request in model.requests if request.refusal]


def until(true: Callable[[], bool], patience_s: float = 20.0) -> None:
    """Waits for what another thread or process does."""
    deadline = Deadline.after(patience_s)
    while not true():
        assert deadline.left_s(), "it did not come to that"
        threading.Event().wait(0.01)


def wait_for_locks(url: str, count: int) -> None:
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    until(lambda: len(run(url, waiting)) >= count)


@contextmanager
def row_held(url: str) -> Iterator[None]:
    """The session's row is locked, so that whoever writes stands in line for it, having read what was there before."""
    with in_the_way(url, "SELECT FROM conversation_states FOR UPDATE"):
        yield


@contextmanager
def in_the_way(url: str, statement: str) -> Iterator[Callable[[str], None]]:
    """A statement that was made and not committed, until the end; and more that may be made with it."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        yield cursor.execute


def losing_replies(monkeypatch: pytest.MonkeyPatch, statement: object, times: int = 1) -> list[object]:
    """The statement is committed, and then the connection is said to have died."""
    lost: list[object] = []

    def losing(real: Callable[..., object]) -> Callable[..., object]:
        def execute(self: Database, given: Any, parameters: Any) -> object:
            result = real(self, given, parameters)
            if given is statement and len(lost) < times:
                lost.append(given)
                raise ConnectionDied
            return result

        return execute

    for name in ("row", "rows"):
        monkeypatch.setattr(Database, name, losing(getattr(Database, name)))
    return lost
