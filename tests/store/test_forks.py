"""Forks and rewinds: what goes along, what stays, and what is told again; on real row locks."""

import dataclasses
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from core.access import Caller
from core.branching import Keep
from core.compaction import Window
from core.doctor.rounds import rounds
from core.errors import SessionBusy, TooLateToUndo
from core.house import House, build_house
from core.ids import DeviceId, SessionId
from core.settings import Settings
from core.store import approvals, forks, revisions, steps
from dev.demo_model import DemoModel, Reply
from tests.agents import Workshop, call
from tests.conversations import (
    answer,
    arrival,
    asking,
    everything,
    expire,
    held,
    in_the_way,
    losing_replies,
    refusals,
    row_held,
    sent,
    wait_for_locks,
)
from tests.databases import run
from tests.prove.agents import EFFECTS, roster
from tests.prove.books import find_wrong


@pytest.fixture
def house(settings: Settings, shop: Workshop, model: DemoModel) -> Iterator[House]:
    built = build_house(settings, shop.roster(thinking=True))
    yield built
    built.close()
    assert refusals(model) == []


@pytest.fixture
def me(house: House, device: UUID, database_url: str) -> Iterator[Caller]:
    """Who has said two things."""
    say(house, device, "one")
    session = say(house, device, "two")
    yield Caller(DeviceId(device), session_id=session)
    assert find_wrong(database_url) == []
    assert [visit for visit in rounds(house.database, fix=False) if visit.ailments] == []


def say(house: House, device: UUID, text: str) -> SessionId:
    turn = answer(house, arrival(device, text))
    assert turn.status == "completed", turn.error
    assert turn.session_id is not None
    return turn.session_id


def told(url: str, session: UUID) -> list[str]:
    statement = (
        "SELECT content FROM messages WHERE session_id = %s AND NOT left_out AND role = 'user' ORDER BY seq"
    )
    return [json.loads(content)[0].get("text", "-") for (content,) in run(url, statement, str(session))]


def enter(url: str, device: UUID, session: UUID) -> None:
    run(url, "UPDATE connections SET session_id = %s WHERE device_id = %s", str(session), str(device))


def set_todos(*todos: str) -> list[dict[str, object]]:
    given = [{"content": content, "status": "pending"} for content in todos]
    return [{"type": "tool_use", "name": "set_todos", "input": {"todos": given}}]


# ---- forks


def test_thinking_goes_along_for_it_stands_behind_the_same(
    house: House, model: DemoModel, me: Caller, device: UUID, database_url: str
) -> None:
    fork = house.branches.fork(me).session_id
    enter(database_url, device, fork)
    say(house, device, "three")
    blocks = [b for m in model.requests[-1].body["messages"] for b in m["content"]]
    assert len([b for b in blocks if b["type"] == "thinking"]) == 2


def test_nothing_of_a_fork_is_the_sources_and_nothing_is_paid_twice(
    house: House, model: DemoModel, me: Caller, device: UUID, database_url: str
) -> None:
    model.replies.add(Reply(call("burn")))
    asked = answer(house, arrival(device, "burn it"))
    (approval,) = asked.approvals
    house.turns.decide(DeviceId(device), approval.id, yes=True)
    assert me.session_id is not None
    house.turns.work(me.session_id)
    house.sessions.set_session_lock(DeviceId(device), "manager", actor="user")
    fork = house.branches.fork(me).session_id
    for table, columns in (("turns", "id"), ("approvals", "id"), ("turns", "idempotency_key")):
        twice = f"SELECT {columns} FROM {table} WHERE {columns} IS NOT NULL GROUP BY 1 HAVING count(*) > 1"
        assert run(database_url, twice) == []
    own = "SELECT status, kind, decided_by IS NOT NULL FROM approvals WHERE session_id = %s"
    assert (
        run(database_url, own, str(fork))
        == run(database_url, own, str(me.session_id))
        == [("approved", "call", True)]
    )
    state = "SELECT usage, active_agent, lease_expires_at, forked_from FROM conversation_states WHERE id = %s"
    assert run(database_url, state, str(fork)) == [({}, None, None, str(me.session_id))]
    assert (
        run(database_url, "SELECT 1 FROM turns WHERE session_id = %s AND usage IS NOT NULL", str(fork)) == []
    )
    calls = "SELECT id, name, status, message_seq FROM tool_calls WHERE session_id = %s"
    assert run(database_url, calls, str(fork)) == run(database_url, calls, str(me.session_id))


def test_where_it_was_said_first_is_kept_through_forks_of_forks(
    house: House, me: Caller, database_url: str
) -> None:
    first = house.branches.fork(me).session_id
    second = house.branches.fork(me.about(first), 2).session_id
    origins = "SELECT origin_session, origin_seq FROM messages WHERE session_id = %s ORDER BY seq"
    assert run(database_url, origins, str(second)) == [(str(me.session_id), 1), (str(me.session_id), 2)]


def test_a_running_turn_is_not_part_of_a_fork_and_goes_on(
    house: House, me: Caller, device: UUID, database_url: str
) -> None:
    holding = held(house, arrival(device, "three"))
    fork = house.branches.fork(me).session_id
    assert told(database_url, fork) == ["one", "two"]
    assert steps.renew(house.database, holding.hold, lease_ttl_s=30) is not None
    expire(database_url)
    assert me.session_id is not None
    house.turns.work(me.session_id)
    assert told(database_url, me.session_id) == ["one", "two", "three"]


def test_a_conversation_whose_first_message_is_being_answered_is_not_forked_yet(
    house: House, device: UUID
) -> None:
    holding = held(house, arrival(device, "one"))
    me = Caller(DeviceId(device), session_id=holding.hold.session_id)
    with pytest.raises(SessionBusy):
        house.branches.fork(me)


def test_the_list_is_as_it_stood_where_it_was_forked(
    settings: Settings, model: DemoModel, device: UUID, database_url: str
) -> None:
    run(database_url, EFFECTS)
    house = build_house(settings, roster(database_url, lambda _: None))
    listed = "SELECT content FROM todos WHERE session_id = %s ORDER BY position"
    say(house, device, "none yet")
    model.replies.add(Reply(set_todos("buy", "sell")))
    say(house, device, "two of them")
    model.replies.add(Reply(set_todos("sell")))
    session = say(house, device, "one is done")
    run(database_url, "UPDATE todos SET content = 'sell soon'")
    me = Caller(DeviceId(device), session_id=session)
    found = [
        [content for (content,) in run(database_url, listed, str(house.branches.fork(me, at).session_id))]
        for at in (2, 6, 10, None)
    ]
    assert found == [[], ["buy", "sell"], ["sell soon"], ["sell soon"]]
    house.close()


def test_a_fork_has_the_summary_of_what_it_begins_with(
    house: House, me: Caller, device: UUID, model: DemoModel, database_url: str
) -> None:
    house.turns.limits = dataclasses.replace(house.turns.limits, window=Window(messages=6))
    for n in range(3):
        say(house, device, f"more {n}")
    ((upto,),) = run(database_url, "SELECT upto_seq FROM compactions WHERE NOT left_out")
    before, behind = house.branches.fork(me, upto - 2), house.branches.fork(me)
    laid = "SELECT upto_seq FROM compactions WHERE session_id = %s"
    assert run(database_url, laid, str(before.session_id)) == []
    assert run(database_url, laid, str(behind.session_id)) == [(upto,)]
    enter(database_url, device, behind.session_id)
    say(house, device, "and now?")
    assert "<summary>" in sent(model)[0][1][0]


@pytest.mark.parametrize("key", [None, "k"])
def test_the_lost_reply_of_a_fork_is_asked_for_again(
    house: House, me: Caller, database_url: str, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    lost = losing_replies(monkeypatch, forks._MAKE)
    made = house.branches.fork(me, key=key)
    assert len(lost) == 1
    assert run(database_url, "SELECT id FROM conversation_states WHERE forked_from IS NOT NULL") == [
        (str(made.session_id),)
    ]


def test_a_turn_and_a_fork_at_once(house: House, me: Caller, device: UUID, database_url: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        with row_held(database_url):
            forked = pool.submit(house.branches.fork, me)
            said = pool.submit(say, house, device, "three")
            wait_for_locks(database_url, 2)
        assert said.result(20) == me.session_id
        fork = forked.result(20).session_id
    assert told(database_url, fork) in (["one", "two"], ["one", "two", "three"])
    assert me.session_id is not None
    assert told(database_url, me.session_id) == ["one", "two", "three"]


def test_whoever_was_put_out_meanwhile_forks_nothing(house: House, me: Caller, database_url: str) -> None:
    """The fork waits for the row; whoever has it puts the person out, which counts the version up."""
    guest = DeviceId(uuid4())
    say(house, guest, "hello")
    member = "INSERT INTO members (session_id, user_id, role) SELECT %s, user_id, 'editor' FROM connections WHERE device_id = %s"
    run(database_url, member, str(me.session_id), str(guest))
    caller = Caller(guest, session_id=me.session_id)
    with ThreadPoolExecutor(1) as pool:
        putting_out = "UPDATE conversation_states SET version = version + 1"
        with in_the_way(database_url, putting_out) as also:
            also("DELETE FROM members")
            forked = pool.submit(house.branches.fork, caller)
            wait_for_locks(database_url, 1)
        error = forked.exception(20)
    assert type(error).__name__ == "SessionNotFound"
    assert run(database_url, "SELECT 1 FROM conversation_states WHERE forked_from IS NOT NULL") == []


# ---- rewinds


def test_what_was_left_out_before_a_rewind_stays_so_when_it_is_undone(
    house: House, me: Caller, database_url: str
) -> None:
    assert me.session_id is not None
    house.branches.rewind(me, 2)
    say(house, me.device_id, "three")
    second = house.branches.rewind(me, 0)
    assert told(database_url, me.session_id) == []
    house.branches.undo(me, second.id)
    assert told(database_url, me.session_id) == ["one", "three"]


def test_what_stands_for_the_beginning_goes_and_comes_with_it(
    house: House, me: Caller, model: DemoModel, database_url: str
) -> None:
    house.turns.limits = dataclasses.replace(house.turns.limits, window=Window(messages=6))
    for n in range(3):
        say(house, me.device_id, f"more {n}")
    laid = "SELECT upto_seq, left_out FROM compactions"
    ((upto, _),) = run(database_url, laid)
    revision = house.branches.rewind(me, upto - 2)
    assert run(database_url, laid) == [(upto, True)]
    house.branches.undo(me, revision.id)
    assert run(database_url, laid) == [(upto, False)]
    say(house, me.device_id, "and now?")
    assert "<summary>" in sent(model)[0][1][0]


def test_of_two_rewinds_the_later_is_undone_first(house: House, me: Caller, database_url: str) -> None:
    assert me.session_id is not None
    say(house, me.device_id, "three")
    first = house.branches.rewind(me, 4)
    second = house.branches.rewind(me, 2)
    with pytest.raises(TooLateToUndo, match="rewound further"):
        house.branches.undo(me, first.id)
    house.branches.undo(me, second.id)
    house.branches.undo(me, first.id)
    assert told(database_url, me.session_id) == ["one", "two", "three"]


def test_a_rewind_does_not_bring_back_what_a_merge_had_brought(
    house: House, me: Caller, database_url: str
) -> None:
    other = DeviceId(uuid4())
    run(
        database_url,
        "INSERT INTO connections (device_id, user_id) SELECT %s, user_id FROM connections",
        str(other),
    )
    merge = house.branches.merge(me, say(house, other, "from elsewhere"), Keep(), {"*"})
    rewind = house.branches.rewind(me, 2)
    house.branches.undo(me, merge.id)
    with pytest.raises(TooLateToUndo, match="merge that it covers"):
        house.branches.undo(me, rewind.id)
    assert me.session_id is not None
    assert told(database_url, me.session_id) == ["one"]


def test_what_came_of_a_call_of_before_is_told_on(
    house: House, me: Caller, model: DemoModel, shop: Workshop, database_url: str
) -> None:
    """A fact stays one, however far it is rewound behind the call."""
    settled = unknown(house, me, model, database_url)
    say(house, me.device_id, "four")
    house.turns.decide(me.device_id, settled, yes=True)
    say(house, me.device_id, "five")
    ((last,),) = run(
        database_url, "SELECT max(last_seq) FROM turns WHERE id IN (SELECT turn_id FROM approvals)"
    )
    house.branches.rewind(me, last)
    assert me.session_id is not None
    assert [text for text in told(database_url, me.session_id) if "What came of the call" in text]
    assert "five" not in told(database_url, me.session_id)
    say(house, me.device_id, "six")


def test_a_rewind_stays_once_the_outcome_of_one_of_its_calls_was_settled(
    house: House, me: Caller, model: DemoModel, database_url: str
) -> None:
    settled = unknown(house, me, model, database_url)
    revision = house.branches.rewind(me, 4)
    house.turns.decide(me.device_id, settled, yes=True)
    with pytest.raises(TooLateToUndo, match="settled"):
        house.branches.undo(me, revision.id)


def unknown(house: House, me: Caller, model: DemoModel, url: str) -> UUID:
    """A call of `post` that nobody knows the outcome of, and the question."""
    model.replies.add(Reply(call("post")))
    holding = held(house, arrival(me.device_id, "post it"))
    asking(holding, house, house.turns.roster.manager)
    expire(url)
    assert me.session_id is not None
    house.turns.work(me.session_id)
    (asked,) = approvals.pending(house.database, me)
    assert asked.kind == "outcome"
    return asked.id


@pytest.mark.parametrize("what", ["rewind", "undo"])
def test_a_turn_that_is_first_is_whole_and_one_that_is_later_knows_of_it(
    house: House, me: Caller, database_url: str, what: str
) -> None:
    assert me.session_id is not None
    before = house.branches.rewind(me, 2) if what == "undo" else None
    with ThreadPoolExecutor(2) as pool:
        with row_held(database_url):
            changed = pool.submit(
                *((house.branches.undo, me, before.id) if before else (house.branches.rewind, me, 2))
            )
            said = pool.submit(say, house, me.device_id, "three")
            wait_for_locks(database_url, 2)
        assert said.result(20) == me.session_id
        error = changed.exception(20)
    assert error is None or isinstance(error, SessionBusy | TooLateToUndo)
    say(house, me.device_id, "four")


def test_whoever_slept_over_a_rewind_writes_nothing(house: House, me: Caller, database_url: str) -> None:
    holding = held(house, arrival(me.device_id, "slow"))
    expire(database_url)
    run(database_url, "UPDATE turns SET status = 'failed', ended_at = now() WHERE ended_at IS NULL")
    house.branches.rewind(me, 2)
    before = everything(database_url)
    assert steps.renew(house.database, holding.hold, lease_ttl_s=30) is None
    assert everything(database_url) == before


@pytest.mark.parametrize("lost", ["rewind", "undo"])
def test_the_lost_reply_of_a_rewind_is_asked_for_again(
    house: House, me: Caller, database_url: str, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    times = losing_replies(monkeypatch, revisions._REWIND if lost == "rewind" else revisions._UNDO_REWIND)
    revision = house.branches.rewind(me, 2)
    house.branches.undo(me, revision.id)
    assert len(times) == 1
    assert len(run(database_url, "SELECT 1 FROM revisions")) == 1
    assert me.session_id is not None
    assert told(database_url, me.session_id) == ["one", "two"]
