"""Whoever ends a conversation ends all that belongs to it, once; whoever is at work on it writes nothing more."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from core.errors import DatabaseConflict
from core.holding import HoldLost, Said
from core.house import House, build_house
from core.ids import DeviceId, SessionId
from core.model.reply import ModelReply
from core.settings import Settings
from core.store import endings
from core.store.endings import EndedSession
from core.store.ends import Closing
from core.store.used import Amount
from dev.demo_model import DemoModel
from tests.agents import Workshop
from tests.conversations import (
    answer,
    arrival,
    beside,
    conversations,
    everything,
    held,
    in_the_way,
    join,
    wait_for_locks,
    waiting,
)
from tests.databases import run
from tests.prove.books import find_wrong

CHILDREN = ("turns", "messages", "tool_calls", "approvals", "audit_log", "todos", "compactions", "members")
SPENDING = "SELECT scope, spent_micros, spent_tokens, reserved_micros, reserved_tokens FROM spending ORDER BY scope DESC"
BESIDE = "SELECT namespace FROM application_sessions ORDER BY namespace"


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    built = build_house(replace(settings, budget_user_micros=10**9), Workshop().roster())
    yield built
    built.close()


def full(house: House, url: str, model: DemoModel, device: UUID) -> UUID:
    """A conversation with something in every table."""
    waiting(house, model, device)
    ((session,),) = run(url, "SELECT session_id FROM connections WHERE device_id = %s", str(device))
    for statement in (
        "INSERT INTO todos (session_id, position, content, status) VALUES (%(s)s, 1, 'x', 'pending')",
        "INSERT INTO compactions (session_id, upto_seq, content, agent) VALUES (%(s)s, 1, '[]', 'manager')",
        "INSERT INTO members (session_id, user_id, role) SELECT id, user_id, 'owner' FROM conversation_states WHERE id = %(s)s",
        "INSERT INTO audit_log (session_id, actor, action) VALUES (%(s)s, 'me', 'x')",
    ):
        run(url, statement.replace("%(s)s", f"'{session}'"))
    return UUID(session)


def rows_of(url: str, session_id: UUID) -> dict[str, int]:
    return {
        table: run(url, f"SELECT count(*) FROM {table} WHERE session_id = %s", str(session_id))[0][0]
        for table in CHILDREN
    }


def place(url: str, device: UUID) -> tuple[str, str | None]:
    ((user, session),) = run(
        url, "SELECT user_id, session_id FROM connections WHERE device_id = %s", str(device)
    )
    return user, session


@pytest.mark.parametrize("how", ["of a device", "of an ID"])
def test_it_goes_with_all_that_belongs_to_it_and_nothing_else(
    house: House, model: DemoModel, database_url: str, device: UUID, how: str
) -> None:
    session, other = full(house, database_url, model, device), full(house, database_url, model, uuid4())
    assert all(rows_of(database_url, session).values())
    beside(database_url, session, "notes")
    beside(database_url, session, "more", left_s=-9)
    beside(database_url, other, "others")
    (user, _), kept = place(database_url, device), rows_of(database_url, other)
    ((epoch, version),) = run(
        database_url, "SELECT lease_epoch, version FROM conversation_states WHERE id = %s", str(session)
    )

    def end() -> EndedSession | None:
        if how == "of an ID":
            return endings.end_session(house.database, SessionId(session))
        return endings.end(house.database, DeviceId(device))

    beside_it = (("more", 1), ("notes", 1))
    assert end() == EndedSession(SessionId(session), epoch, version, (DeviceId(device),), beside_it)
    assert end() is None, "it was ended already"
    assert not any(rows_of(database_url, session).values())
    assert conversations(database_url) == [other]
    assert rows_of(database_url, other) == kept
    assert run(database_url, BESIDE) == [("others",)]
    assert place(database_url, device) == (user, None)
    assert find_wrong(database_url) == []


def test_it_tells_which_devices_were_in_it(house: House, database_url: str, device: UUID) -> None:
    answer(house, arrival(device))
    both = sorted([device, join(database_url, uuid4())])
    ended = endings.end(house.database, DeviceId(device))
    assert ended is not None
    assert list(ended.device_ids) == both
    assert run(database_url, "SELECT count(*) FROM connections WHERE session_id IS NULL") == [(2,)]


def test_a_device_ends_no_conversation_of_somebody_else(
    house: House, database_url: str, device: UUID
) -> None:
    """One that it was let into."""
    guest = uuid4()
    answer(house, arrival(device))
    answer(house, arrival(guest))
    theirs = place(database_url, device)[1]
    run(database_url, "UPDATE connections SET session_id = %s WHERE device_id = %s", theirs, str(guest))
    before = everything(database_url)
    assert endings.end(house.database, DeviceId(guest)) is None
    assert endings.end(house.database, DeviceId(uuid4())) is None
    assert everything(database_url) == before


def test_application_sessions_alone_are_ended_by_their_id(house: House, database_url: str) -> None:
    session = uuid4()
    for id_, namespace in ((session, "a"), (session, "b"), (uuid4(), "c")):
        beside(database_url, id_, namespace)
    assert endings.end_session(house.database, SessionId(session)) is None
    assert run(database_url, BESIDE) == [("c",)]


def test_what_a_turn_had_reserved_counts_as_spent(house: House, database_url: str, device: UUID) -> None:
    answer(house, arrival(device))
    run(database_url, "UPDATE conversation_states SET org_id = user_id")
    run(database_url, "UPDATE users SET org_id = id")
    run(database_url, "DELETE FROM spending")
    holding = held(house, arrival(device))
    holding.reserve(Amount(70, 7))
    assert run(database_url, SPENDING) == [("user", 0, 0, 70, 7), ("org", 0, 0, 70, 7)]
    assert endings.end(house.database, DeviceId(device)) is not None
    assert run(database_url, SPENDING) == [("user", 70, 7, 0, 0), ("org", 70, 7, 0, 0)]
    assert find_wrong(database_url) == []


def test_what_was_reserved_while_it_stood_in_line_is_not_passed_over(
    house: House, database_url: str, device: UUID
) -> None:
    """It has read the turn as it was before: without a reservation."""
    holding = held(house, arrival(device))
    holding.reserve(Amount(0, 1))
    with ThreadPoolExecutor(1) as pool:
        with in_the_way(database_url, "SELECT FROM conversation_states FOR UPDATE") as also:
            ending = pool.submit(endings.end, house.database, DeviceId(device))
            wait_for_locks(database_url, 1)
            also("UPDATE spending SET reserved_micros = 70")
            also("UPDATE turns SET reserved_micros = 70")
        assert ending.result(20) is not None
    assert run(database_url, SPENDING) == [("user", 70, 1, 0, 0)]


def test_one_that_somebody_has_committed_to_is_looked_at_once_more(
    house: House, database_url: str, device: UUID
) -> None:
    answer(house, arrival(device))
    before = everything(database_url)[1:]
    with ThreadPoolExecutor(1) as pool:
        with in_the_way(database_url, "UPDATE conversation_states SET version = version + 1"):
            ending = pool.submit(endings.end, house.database, DeviceId(device))
            wait_for_locks(database_url, 1)
        with pytest.raises(DatabaseConflict):
            ending.result(20)
    assert everything(database_url)[1:] == before
    with ThreadPoolExecutor(1) as pool:
        with in_the_way(database_url, "UPDATE conversation_states SET version = version + 1"):
            again = pool.submit(house.sessions.end_session, DeviceId(device))
            wait_for_locks(database_url, 1)
        assert again.result(20) is not None


@pytest.mark.parametrize(
    "write", ["beat", "reserve", "append_reply", "append_results", "finish", "close", "hand_over"]
)
def test_whoever_is_at_work_on_it_writes_nothing_more(
    house: House, database_url: str, device: UUID, write: str
) -> None:
    holding = held(house, arrival(device))
    said = Said(ModelReply([{"type": "text", "text": "Hi"}], "end_turn", {}, {}), "manager", "p")
    writes: dict[str, Callable[[], object]] = {
        "beat": holding.beat,
        "reserve": lambda: holding.reserve(Amount(1, 1)),
        "append_reply": lambda: holding.append_reply(said, ()),
        "append_results": lambda: holding.append_results([{"type": "text", "text": "x"}], {}),
        "finish": lambda: holding.finish(said),
        "close": lambda: holding.close(Closing("failed")),
        "hand_over": holding.hand_over,
    }
    assert endings.end(house.database, DeviceId(device)) is not None
    before = everything(database_url)
    with pytest.raises(HoldLost):
        writes[write]()
    holding.give_up()
    assert everything(database_url) == before
