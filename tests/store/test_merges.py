"""Merges and what takes them back, on real row locks: what is told, what is kept, and who comes first."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from core.access import Caller
from core.branching import Keep, Of
from core.compaction import Window
from core.doctor.rounds import rounds
from core.errors import (
    NotAsSeen,
    NotMergeable,
    SessionBusy,
    SessionNotFound,
)
from core.house import House, build_house
from core.ids import DeviceId, SessionId
from core.series import day_of, series
from core.settings import Settings
from core.store import endings, expired, merges, partings, steps
from core.store.revisions import Revision
from dev.demo_model import DemoModel, Fault, Reply
from tests.agents import Workshop, call
from tests.conversations import (
    answer,
    arrival,
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
from tests.prove.books import find_wrong

KEEP = Keep()


@pytest.fixture
def house(settings: Settings, shop: Workshop, model: DemoModel) -> Iterator[House]:
    built = build_house(settings, shop.roster(thinking=True))
    yield built
    built.close()
    assert refusals(model) == []


class Two:
    """A person with two devices, each in a conversation of its own."""

    def __init__(self, house: House, url: str) -> None:
        self.house, self.url = house, url
        self.devices = (DeviceId(uuid4()), DeviceId(uuid4()))
        self.home = self.say(0, "one")
        run(
            url,
            "INSERT INTO connections (device_id, user_id) SELECT %s, user_id FROM connections",
            str(self.devices[1]),
        )
        self.away = self.say(1, "two")
        self.caller = Caller(self.devices[0], session_id=self.home)

    def say(self, device: int, text: str) -> SessionId:
        turn = answer(self.house, arrival(self.devices[device], text))
        assert turn.status == "completed", turn.error
        assert turn.session_id is not None
        return turn.session_id

    def merge(self, keep: Keep = KEEP, seen: str = "*") -> Revision:
        return self.house.branches.merge(self.caller, self.away, keep, {seen})

    def undo(self, revision: Revision) -> Revision:
        return self.house.branches.undo(self.caller, revision.id)

    def change(self, session: SessionId, column: str, value: Any) -> None:
        statement = f"UPDATE conversation_states SET {column} = %s, version = version + 1 WHERE id = %s"
        run(self.url, statement, value, str(session))

    def write(self, session: SessionId, *todos: str) -> None:
        run(self.url, "DELETE FROM todos WHERE session_id = %s", str(session))
        for position, content in enumerate(todos, 1):
            statement = (
                "INSERT INTO todos (session_id, position, content, status) VALUES (%s, %s, %s, 'pending')"
            )
            run(self.url, statement, str(session), position, content)

    def listed(self, session: SessionId) -> list[str]:
        statement = "SELECT content FROM todos WHERE session_id = %s ORDER BY position"
        return [content for (content,) in run(self.url, statement, str(session))]

    def one(self, session: SessionId, column: str) -> Any:
        return run(self.url, f"SELECT {column} FROM conversation_states WHERE id = %s", str(session))[0][0]

    def told(self, session: SessionId) -> list[str]:
        statement = "SELECT content FROM messages WHERE session_id = %s AND NOT left_out ORDER BY seq"
        return [
            json.loads(content)[0].get("text", "-") for (content,) in run(self.url, statement, str(session))
        ]


@pytest.fixture
def two(house: House, database_url: str) -> Iterator[Two]:
    made = Two(house, database_url)
    yield made
    assert find_wrong(database_url) == []
    assert [visit for visit in rounds(house.database, fix=False) if visit.ailments] == []


# ---- what the model is told


def test_a_fork_that_is_merged_back_brings_only_what_was_said_in_it(two: Two, model: DemoModel) -> None:
    fork = two.house.branches.fork(two.caller).session_id
    run(
        two.url, "UPDATE connections SET session_id = %s WHERE device_id = %s", str(fork), str(two.devices[1])
    )
    two.say(1, "in the fork")
    two.say(0, "at home")
    revision = two.house.branches.merge(two.caller, fork, KEEP, {"*"})
    assert revision.last_seq - revision.first_seq == 1
    two.say(0, "and now?")
    assert [text[0] for _, text in sent(model)][::2] == ["one", "at home", "in the fork", "and now?"]


def test_a_turn_that_was_taken_back_here_comes_again_with_a_fork_of_it(two: Two) -> None:
    two.say(0, "again")
    fork = two.house.branches.fork(two.caller).session_id
    two.house.branches.rewind(two.caller, 2)
    two.house.branches.merge(two.caller, fork, KEEP, {"*"})
    assert two.told(two.home)[::2] == ["one", "again"]


def test_calls_that_both_have_under_one_id_are_told_under_two(two: Two, model: DemoModel) -> None:
    for device in (0, 1):
        asked = [{**call("peek")[0], "id": "toolu_same", "input": {"id": "toolu_same"}}]
        model.replies.add(Reply(asked))
        two.say(device, "look")
    revision = two.merge()
    two.say(0, "and now?")
    blocks = [b for m in model.requests[-1].body["messages"] for b in m["content"]]
    ids = [b["id"] for b in blocks if b["type"] == "tool_use"]
    assert ids == ["toolu_same", f"toolu_same_{revision.id.hex[:16]}"]
    assert [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"] == ids
    assert [b["input"] for b in blocks if b["type"] == "tool_use"] == [{"id": "toolu_same"}] * 2
    assert (
        sorted(
            id_ for (id_,) in run(two.url, "SELECT id FROM tool_calls WHERE session_id = %s", str(two.home))
        )
        == ids
    )


def test_no_thinking_of_the_source_is_sent_and_the_targets_is(two: Two, model: DemoModel) -> None:
    for device, thought in ((0, "ours"), (1, "theirs")):
        model.replies.add(
            Reply([{"type": "thinking", "thinking": thought}, {"type": "text", "text": "Well."}])
        )
        two.say(device, "think")
    two.merge()
    two.say(0, "and now?")
    blocks = [b for m in model.requests[-1].body["messages"] for b in m["content"]]
    thoughts = [b["thinking"] for b in blocks if b["type"] == "thinking"]
    assert thoughts[-1] == "ours"
    assert len(thoughts) == 2, "of the two turns that were said here"


def test_what_was_summed_up_is_brought_as_its_summary(two: Two, model: DemoModel) -> None:
    limits = two.house.turns.limits
    two.house.turns.limits = dataclasses.replace(limits, window=Window(messages=6))
    for n in range(3):
        two.say(1, f"away {n}")
    two.house.turns.limits = limits
    assert [out for (out,) in run(two.url, "SELECT left_out FROM compactions")] == [False]
    two.merge()
    told = two.told(two.home)
    assert told[0] == "one"
    assert "<summary>" in told[2]
    assert told[3:-1] == ["away 2"]
    assert len(run(two.url, "SELECT 1 FROM messages WHERE session_id = %s AND left_out", str(two.home))) == 6
    two.say(0, "and now?")


def test_what_is_said_after_a_merge_stays_when_it_is_undone(two: Two, model: DemoModel) -> None:
    revision = two.merge()
    model.replies.add(Reply([{"type": "thinking", "thinking": "of two"}, {"type": "text", "text": "Both."}]))
    two.say(0, "three")
    two.undo(revision)
    assert two.told(two.home)[::2] == ["one", "three"]
    assert two.told(two.away)[::2] == ["two"]
    two.say(0, "four")
    blocks = [b for m in model.requests[-1].body["messages"] for b in m["content"]]
    thoughts = [b["thinking"] for b in blocks if b["type"] == "thinking"]
    assert len(thoughts) == 1
    assert "of two" not in thoughts, "it was signed behind what is left out now"


def test_what_stands_for_merged_messages_goes_with_them(two: Two, model: DemoModel) -> None:
    revision = two.merge()
    two.house.turns.limits = dataclasses.replace(two.house.turns.limits, window=Window(messages=6))
    for n in range(3):
        two.say(0, f"more {n}")
    assert run(two.url, "SELECT left_out FROM compactions") == [(False,)]
    two.undo(revision)
    assert run(two.url, "SELECT left_out FROM compactions") == [(True,)]
    two.say(0, "and now?")


@pytest.mark.parametrize("undone", [False, True])
def test_what_is_sent_again_after_a_merge_is_not_done_again(two: Two, model: DemoModel, undone: bool) -> None:
    first = answer(two.house, arrival(two.devices[1], "pay", "k"))
    model.faults.add(Fault.status(402))
    holding = held(two.house, arrival(two.devices[1], "slow", "slow"))
    joining = arrival(two.devices[1], "and this", "joined", on_busy="merge")
    queued = arrival(two.devices[1], "then", "queued")
    answer(two.house, queued, 0)
    answer(two.house, joining, 0)
    expire(two.url)
    for _ in range(3):
        two.house.turns.work(holding.hold.session_id)
    revision = two.merge()
    if undone:
        two.undo(revision)
        two.merge()
    asked = len(model.requests)
    for key, text in (("k", "pay"), ("joined", "and this"), ("queued", "then")):
        again = answer(two.house, arrival(two.devices[1], text, key, "merge" if key == "joined" else "queue"))
        assert again.session_id == two.home
        assert again.ended_at is not None
    same = answer(two.house, arrival(two.devices[1], "pay", "k"))
    assert (same.reply, same.id != first.id) == (first.reply, True)
    assert len(model.requests) == asked


# ---- lock, todos, metadata, usage


def test_conflicts_are_shown_and_decided_as_the_owner_says(two: Two) -> None:
    two.house.sessions.set_session_lock(two.devices[0], "manager", actor="user")
    two.house.sessions.set_session_lock(two.devices[1], "manager", actor="user")
    run(two.url, "UPDATE audit_log SET agent = 'other' WHERE session_id = %s", str(two.away))
    two.change(two.away, "active_agent", "other")
    two.change(two.home, "metadata", json.dumps({"a": 1, "same": True, "ours": 0}))
    two.change(two.away, "metadata", json.dumps({"a": True, "same": True, "theirs": 0}))
    two.write(two.home, "buy", "sell")
    two.write(two.away, "sell", "keep")
    preview = two.house.branches.preview(two.caller, two.away, Keep(lock=Of.SOURCE))
    shown = [(c.kind, c.field, c.target, c.source, str(c.kept)) for c in preview.plan.conflicts]
    assert shown[0] == ("lock", None, "manager", "other", "source")
    assert (shown[1][0], shown[1][-1]) == ("todos", "both")
    assert shown[2:] == [("metadata", "a", 1, True, "target")]
    before = (two.listed(two.home), two.one(two.home, "metadata"), two.one(two.home, "active_agent"))
    revision = two.merge(Keep(lock=Of.SOURCE), preview.etag)
    assert two.listed(two.home) == ["buy", "sell", "keep"]
    assert two.one(two.home, "metadata") == {"a": 1, "same": True, "ours": 0, "theirs": 0}
    assert two.one(two.home, "active_agent") == "other"
    assert find_wrong(two.url) == []
    assert two.undo(revision).left == []
    assert (two.listed(two.home), two.one(two.home, "metadata"), two.one(two.home, "active_agent")) == before


def test_what_others_changed_since_a_merge_is_not_put_back(two: Two) -> None:
    two.change(two.away, "metadata", json.dumps({"a": 1, "b": 1}))
    two.write(two.away, "keep")
    two.house.sessions.set_session_lock(two.devices[1], "manager", actor="user")
    revision = two.merge()
    two.change(two.home, "metadata", json.dumps({"a": 2, "b": 1, "c": 3}))
    two.write(two.home, "new")
    two.house.sessions.clear_session_lock(two.devices[0], actor="user")
    assert two.undo(revision).left == ["lock", "todos", "metadata.a"]
    assert two.undo(revision).left == ["lock", "todos", "metadata.a"]
    assert two.one(two.home, "metadata") == {"a": 2, "c": 3}
    assert two.listed(two.home) == ["new"]


def test_a_lock_that_only_the_source_has_goes_along(two: Two) -> None:
    two.house.sessions.set_session_lock(two.devices[1], "manager", ttl_s=77, actor="user")
    revision = two.merge()
    lock = two.house.sessions.get_session_lock(two.devices[0])
    assert (lock.agent, lock.ttl_s) == ("manager", 77)
    two.undo(revision)
    assert two.house.sessions.get_session_lock(two.devices[0]).agent is None


def test_the_whole_costs_what_both_cost_and_nothing_is_paid_twice(two: Two) -> None:
    ours, theirs = two.one(two.home, "usage"), two.one(two.away, "usage")
    revision = two.merge()
    assert two.one(two.home, "usage") == {kind: ours[kind] + theirs[kind] for kind in ours}
    assert (
        len(run(two.url, "SELECT 1 FROM turns WHERE session_id = %s AND usage IS NOT NULL", str(two.home)))
        == 1
    )
    two.undo(revision)
    assert two.one(two.home, "usage") == ours
    assert two.one(two.away, "usage") == theirs


# ---- who may, and until when


def test_an_organisations_talk_does_not_leave_it(two: Two) -> None:
    org = str(uuid4())
    run(two.url, "UPDATE users SET org_id = %s", org)
    two.change(two.away, "org_id", org)
    before = everything(two.url)
    with pytest.raises(NotMergeable):
        two.merge()
    assert everything(two.url) == before
    two.change(two.home, "org_id", org)
    two.merge()


def test_a_question_that_is_open_stands_in_the_way(two: Two, model: DemoModel, database_url: str) -> None:
    model.replies.add(Reply(call("burn")))
    assert answer(two.house, arrival(two.devices[1], "burn it")).status == "waiting"
    run(database_url, "UPDATE turns SET status = 'cancelled', ended_at = now() WHERE ended_at IS NULL")
    run(database_url, "UPDATE approvals SET kind = 'outcome'")
    run(database_url, "UPDATE tool_calls SET status = 'dropped', ended_at = now()")
    run(database_url, "UPDATE messages SET left_out = true WHERE seq > 2 AND session_id = %s", str(two.away))
    before = everything(two.url)
    with pytest.raises(SessionBusy, match=r"`from`.*decide it first"):
        two.merge()
    assert everything(two.url) == before


def test_the_source_is_nobodys_until_it_is_given_back_and_lives_as_long_as_that_may_be(
    two: Two, database_url: str
) -> None:
    ttl = two.one(two.away, "idle_ttl")
    two.change(two.home, "idle_ttl", 10_000_000)
    revision = two.merge()
    caller = Caller(two.devices[0], session_id=two.away)
    with pytest.raises(SessionNotFound):
        two.house.branches.revisions(caller)
    assert expired.clean_up(two.house.database, 10, now=revision.undo_until) == []
    two.undo(revision)
    assert two.one(two.away, "idle_ttl") == ttl
    assert two.house.branches.revisions(caller) == []


def test_a_source_that_was_swept_is_not_given_back(two: Two, database_url: str) -> None:
    revision = two.merge()
    run(database_url, "DELETE FROM conversation_states WHERE id = %s", str(two.away))
    with pytest.raises(Exception, match="is gone"):
        two.undo(revision)
    assert two.told(two.home)[::2] == ["one", "two"]


# ---- who is first


def at_once(*works: Callable[[], Any]) -> list[Future[Any]]:
    with ThreadPoolExecutor(len(works)) as pool:
        return [pool.submit(work) for work in works]


def test_of_a_merge_and_a_turn_that_wait_for_one_row_both_are_whole(two: Two, model: DemoModel) -> None:
    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            with row_held(two.url):
                merged = pool.submit(two.merge)
                said = pool.submit(two.say, 0, "meanwhile")
                wait_for_locks(two.url, 2)
            try:
                revision = merged.result(20)
            except SessionBusy:
                revision = None
            assert said.result(20) == two.home
        if revision is not None:
            two.undo(revision)
        assert two.told(two.home)[0] == "one"
    assert refusals(model) == []


@pytest.mark.parametrize("of", ["home", "away"])
def test_what_was_said_while_a_merge_waited_for_the_row_is_not_passed_over(two: Two, of: str) -> None:
    """A statement that waits has read the other tables as they were before."""
    session = str(two.home if of == "home" else two.away)
    turn = str(uuid4())
    counted = "UPDATE conversation_states SET version = version + 1, message_seq = 3, turn_seq = 2"
    with ThreadPoolExecutor(1) as pool:
        with in_the_way(two.url, f"{counted} WHERE id = '{session}'") as also:
            also(
                "INSERT INTO turns (session_id, id, seq, body_digest, status, first_seq, last_seq, ended_at) "
                f"VALUES ('{session}', '{turn}', 2, '', 'failed', 3, 3, now())"
            )
            also(
                "INSERT INTO messages (session_id, seq, turn_id, role, content) "
                f"""VALUES ('{session}', 3, '{turn}', 'user', '[{{"type":"text","text":"meanwhile"}}]')"""
            )
            merged = pool.submit(two.merge)
            wait_for_locks(two.url, 1)
        merged.result(20)
    expected = ["one", "meanwhile", "two"] if of == "home" else ["one", "two", "meanwhile"]
    assert [text for text in two.told(two.home) if text in expected] == expected


def test_two_merges_at_once_are_one(two: Two) -> None:
    with ThreadPoolExecutor(2) as pool:
        with row_held(two.url):
            both = [pool.submit(two.merge) for _ in range(2)]
            wait_for_locks(two.url, 2)
        first, second = (one.result(20) for one in both)
    assert first.id == second.id
    assert two.told(two.home)[::2] == ["one", "two"]


def test_two_that_are_merged_into_each_other_at_once_do_not_wait_for_each_other(two: Two) -> None:
    def other_way() -> Revision:
        caller = Caller(two.devices[1], session_id=two.away)
        return two.house.branches.merge(caller, two.home, KEEP, {"*"})

    with ThreadPoolExecutor(2) as pool:
        with row_held(two.url):
            both = [pool.submit(two.merge), pool.submit(other_way)]
            wait_for_locks(two.url, 2)
        errors = [one.exception(20) for one in both]
    assert sorted(type(error).__name__ for error in errors) == ["NoneType", "SessionNotFound"]


def test_a_merge_that_was_shown_is_not_made_of_what_came_while_it_waited(two: Two) -> None:
    preview = two.house.branches.preview(two.caller, two.away, KEEP)
    both = merges.sides(two.house.database, two.home, two.away)
    assert both is not None
    two.say(1, "late")
    before = everything(two.url)
    with pytest.raises(NotAsSeen):
        two.merge(seen=preview.etag)
    assert everything(two.url) == before


def test_an_undo_and_a_turn_at_once(two: Two) -> None:
    revision = two.merge()
    with ThreadPoolExecutor(2) as pool:
        with row_held(two.url):
            undone = pool.submit(two.undo, revision)
            said = pool.submit(two.say, 0, "meanwhile")
            wait_for_locks(two.url, 2)
        assert said.result(20) == two.home
        error = undone.exception(20)
    assert error is None or isinstance(error, SessionBusy)
    two.undo(revision)
    assert two.told(two.home)[::2] == ["one", "meanwhile"]


def test_what_is_put_back_is_decided_on_what_there_is(two: Two) -> None:
    """An undo that waits for the row has decided on what was there before."""
    two.change(two.away, "metadata", json.dumps({"a": 1}))
    revision = two.merge()
    with ThreadPoolExecutor(1) as pool:
        late = 'UPDATE conversation_states SET version = version + 1, metadata = \'{"a": 2, "b": 1}\''
        with in_the_way(two.url, f"{late} WHERE id = '{two.home}'"):
            undone = pool.submit(two.undo, revision)
            wait_for_locks(two.url, 1)
        assert undone.result(20).left == ["metadata.a"]
    assert two.one(two.home, "metadata") == {"a": 2, "b": 1}


@pytest.mark.parametrize("of", ["home", "away"])
def test_whoever_slept_over_a_merge_writes_nothing(two: Two, of: str) -> None:
    """A holder whose turn was ended for it, which does not know that yet."""
    session = two.home if of == "home" else two.away
    holding = held(two.house, arrival(two.devices[0 if of == "home" else 1], "slow"))
    expire(two.url)
    run(
        two.url,
        "UPDATE turns SET status = 'failed', ended_at = now() WHERE id = %s",
        str(holding.hold.turn_id),
    )
    run(two.url, "UPDATE conversation_states SET version = version + 1 WHERE id = %s", str(session))
    two.merge()
    before = everything(two.url)
    assert steps.renew(two.house.database, holding.hold, lease_ttl_s=30) is None
    assert everything(two.url) == before


@pytest.mark.parametrize("lost", ["merge", "undo"])
def test_a_reply_that_is_lost_is_asked_for_again(
    two: Two, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    statement = merges._MERGE if lost == "merge" else partings._PART
    times = losing_replies(monkeypatch, statement)
    revision = two.merge()
    undone = two.undo(revision)
    assert len(times) == 1
    assert undone.undone_at is not None
    assert two.told(two.home)[::2] == ["one"]


def test_a_device_that_was_in_the_source_goes_on_in_the_target(two: Two) -> None:
    two.merge()
    assert two.say(1, "here?") == two.home
    assert two.told(two.home)[::2] == ["one", "two", "here?"]


def test_a_turn_that_never_began_is_counted_once_over_a_merge(two: Two, database_url: str) -> None:
    """It was stopped in the queue, so no message tells where it was said first; its key comes along, and the turn with it."""
    run(
        database_url,
        "INSERT INTO turns (session_id, id, seq, idempotency_key, body_digest, status, ended_at) "
        "VALUES (%s, gen_random_uuid(), 2, 'key', repeat('d', 64), 'cancelled', now())",
        str(two.away),
    )
    two.change(two.away, "turn_seq", 2)
    today = day_of(datetime.now(UTC))
    before = series(two.house.database, "turns", today)
    assert before[0]["values"] == {"cancelled": 1, "completed": 2}
    two.merge()
    assert run(database_url, "SELECT count(*) FROM turns WHERE idempotency_key = 'key'") == [(2,)]
    assert series(two.house.database, "turns", today) == before
    for session in (two.home, two.away):
        assert endings.end_session(two.house.database, session)
    assert series(two.house.database, "turns", today) == before
