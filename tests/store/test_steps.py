"""The holder's writes: under the epoch, once, and no end before everything that arrived was seen."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.content import Compaction
from core.house import House
from core.ids import DeviceId
from core.store import admissions, compactions, ends, following, spending, steps, takes, turns
from core.store.admissions import Admission
from core.store.database import Database
from core.store.ends import Closing
from core.store.fence import Reply
from core.store.holds import Hold
from core.store.locks import LockTtl, Relock
from core.store.steps import Asked, Consequences, Renewed
from core.store.used import Amount, Used
from tests.conversations import arrival, everything, expire, held
from tests.databases import run

REPLY = Reply(
    agent="manager",
    content='[{"type":"text","text":"Well"}]',
    prefix_digest="p",
    stop_reason="tool_use",
    usage='{"output_tokens":3}',
    used=Used('{"output_tokens":3}', '{"output_tokens":3}'),
)
CALLS = [
    Asked("c_peek", "peek", "read", "d", None),
    Asked("c_post", "post", "once", "d", None),
    Asked("c_burn", "burn", "once", "d", str(UUID(int=7))),
]
RESULTS = '[{"type":"tool_result","tool_use_id":"c_peek","content":"yes"}]'
SETTLED = {"c_peek": "done", "c_post": "unknown", "c_burn": "denied"}
NOW = datetime.now(UTC)
USAGE = '{"output_tokens":5}'
USED = Used(USAGE, USAGE)

GONE = Relock(None, LockTtl(None, None, 1), "system", "agent_missing", "Gone.", of="scheduling")
RELOCK = Relock("billing", LockTtl(None, 60, 1), "agent:manager", "lock_set", "The bill.")

Write = Callable[[Database, Hold], Any]
WRITES: dict[str, Write] = {
    "append_reply": lambda db, hold: steps.append_reply(
        db,
        hold,
        REPLY,
        [Asked("c_more", "peek", "read", "d", None)],
        lease_ttl_s=30,
        approval_ttl_s=60,
        now=NOW,
    ),
    "append_results": lambda db, hold: steps.append_results(
        db,
        hold,
        RESULTS,
        SETTLED,
        Consequences(),
        session_usage=USAGE,
        lease_ttl_s=30,
        outcome_ttl_s=60,
        now=NOW,
    ),
    "move_on": lambda db, hold: steps.append_results(
        db,
        hold,
        RESULTS,
        SETTLED,
        Consequences(RELOCK, [{"content": "Ask", "status": "pending"}]),
        session_usage=USAGE,
        lease_ttl_s=30,
        outcome_ttl_s=60,
        now=NOW,
    ),
    "list_nothing": lambda db, hold: steps.append_results(
        db,
        hold,
        RESULTS,
        SETTLED,
        Consequences(None, []),
        session_usage=USAGE,
        lease_ttl_s=30,
        outcome_ttl_s=60,
        now=NOW,
    ),
    "relock": lambda db, hold: steps.relock(db, hold, GONE, lease_ttl_s=30, now=NOW),
    "reserve": lambda db, hold: spending.reserve(
        db, hold, Amount(70, 7), USED, UUID(int=9), lease_ttl_s=30, now=NOW
    ),
    "absorb": lambda db, hold: steps.absorb(db, hold, REPLY.content, lease_ttl_s=30, now=NOW),
    "compact": lambda db, hold: compactions.add(
        db,
        hold,
        Compaction(1, REPLY.content),
        rewrites=0,
        agent="manager",
        usage=USAGE,
        used=USED,
        lease_ttl_s=30,
        now=NOW,
    ),
    "finish": lambda db, hold: ends.finish(db, hold, REPLY, now=NOW),
    "close": lambda db, hold: ends.close(
        db, hold, Closing("failed", "manager"), used=USED, outcome_ttl_s=60, now=NOW
    ),
    "roll_back": lambda db, hold: ends.close(
        db,
        hold,
        Closing("cancelled", left_out_from=1),
        used=USED,
        outcome_ttl_s=60,
        now=NOW,
    ),
    "hand_over": lambda db, hold: ends.hand_over(db, hold, not_run=["c_peek"], used=USED),
    "wait": lambda db, hold: ends.hand_over(db, hold, waits=True, used=USED),
    "give_up": ends.give_up,
    "renew": lambda db, hold: steps.renew(db, hold, lease_ttl_s=900, now=NOW),
    "start_calls": lambda db, hold: steps.start_calls(db, hold, ["c_burn"], lease_ttl_s=30, now=NOW),
    "keep_result": lambda db, hold: steps.keep_result(
        db, hold, "c_post", status="done", result="{}", lease_ttl_s=30, now=NOW
    ),
}
STEPS = ("append_reply", "append_results", "move_on", "list_nothing", "absorb", "compact")
ENDS = ("finish", "close", "roll_back", "hand_over", "wait")


@pytest.fixture
def hold(house: House, database_url: str) -> Hold:
    """A turn whose model has asked for three tools: two run, one waits for a person."""
    begun = held(house, arrival(uuid4())).hold
    run(database_url, "UPDATE conversation_states SET active_agent = 'scheduling', locked_at = now()")
    asked = steps.append_reply(house.database, begun, REPLY, CALLS, lease_ttl_s=30, approval_ttl_s=60)
    assert asked is not None
    assert asked.message_seq == 2
    # Something stands in the list, so that it can be taken away.
    run(
        database_url,
        "INSERT INTO todos (session_id, position, content, status) VALUES (%s, 1, 'Think', 'pending')",
        str(begun.session_id),
    )
    return dataclasses.replace(begun, message_seq=2)


def signal(house: House, hold: Hold, content: str = REPLY.content) -> None:
    """Something is steered into the turn, which its holder has not seen."""
    device = run_device(house)
    found = turns.find(house.database, device, hold.turn_id)
    assert found is not None
    steered = dataclasses.replace(arrival(device, on_busy="steer"), content=content)
    assert admissions.admit(
        house.database,
        hold.session_id,
        found.version,
        steered,
        Admission(joins=hold.turn_id),
        steers=True,
        replaced={},
    )


def run_device(house: House) -> DeviceId:
    assert house.settings.database_url is not None
    ((device,),) = run(
        house.settings.database_url.reveal().replace("+psycopg2", ""), "SELECT device_id FROM connections"
    )
    return DeviceId(UUID(str(device)))


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_woken_zombie_writes_nothing_at_all(
    house: House, database_url: str, hold: Hold, write: Write
) -> None:
    """The heir has only just come: every number but the epoch is still the zombie's."""
    expire(database_url)
    heir = takes.take(house.database, hold.session_id, uuid4(), lease_ttl_s=30)
    assert heir is not None
    assert dataclasses.replace(heir.hold, epoch=hold.epoch) == hold
    before = everything(database_url)
    assert not write(house.database, hold)
    assert everything(database_url) == before


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("end", [*ENDS, "give_up"])
def test_whoever_has_let_go_writes_nothing_more(
    house: House, database_url: str, hold: Hold, end: str, write: Write
) -> None:
    """Its epoch is still the newest, so what tells is that nobody holds the conversation."""
    WRITES[end](house.database, hold)
    current = run(database_url, "SELECT lease_epoch, message_seq, signal_seq FROM conversation_states")[0]
    before = everything(database_url)
    assert not write(house.database, dataclasses.replace(hold, message_seq=current[1]))
    assert everything(database_url) == before


@pytest.mark.parametrize("name", [*STEPS, *ENDS, "give_up"])
def test_a_write_that_is_sent_twice_writes_once(
    house: House, database_url: str, hold: Hold, name: str
) -> None:
    before = everything(database_url)
    first = WRITES[name](house.database, hold)
    assert first or name == "give_up"
    after = everything(database_url)
    assert after != before
    assert not WRITES[name](house.database, hold)
    assert everything(database_url) == after


@pytest.mark.parametrize("name", ["start_calls", "keep_result", "renew"])
def test_a_write_that_takes_no_number_says_the_same_when_sent_twice(
    house: House, database_url: str, hold: Hold, name: str
) -> None:
    assert WRITES[name](house.database, hold) is not None
    after = everything(database_url)[1:]
    assert WRITES[name](house.database, hold) is not None
    assert everything(database_url)[1:] == after


@pytest.mark.parametrize("name", [*ENDS, "absorb"])
def test_nothing_ends_before_what_arrived_was_seen(
    house: House, database_url: str, hold: Hold, name: str
) -> None:
    signal(house, hold)
    before = everything(database_url)
    assert not WRITES[name](house.database, hold)
    assert everything(database_url) == before
    seen = steps.look(house.database, hold)
    assert seen is not None
    assert seen.input == REPLY.content
    assert WRITES[name](house.database, dataclasses.replace(hold, signal_seq=seen.signal_seq))


@pytest.mark.parametrize("name", ["append_reply", "append_results"])
def test_a_step_tells_that_something_has_arrived(house: House, hold: Hold, name: str) -> None:
    signal(house, hold)
    stepped = WRITES[name](house.database, hold)
    assert stepped.signal_seq == hold.signal_seq + 1
    renewed = WRITES["renew"](house.database, hold)
    assert renewed == Renewed(hold.signal_seq + 1, is_followed=False)


def test_a_beat_of_the_heart_tells_that_somebody_reads_along(house: House, hold: Hold) -> None:
    following.follow(house.database, hold.session_id, hold.turn_id)
    assert WRITES["renew"](house.database, hold) == Renewed(hold.signal_seq, is_followed=True)


@pytest.mark.parametrize("name", [*STEPS, "relock", "reserve", "start_calls", "keep_result", "renew"])
def test_every_step_renews_the_lease(house: House, database_url: str, hold: Hold, name: str) -> None:
    run(database_url, "UPDATE conversation_states SET lease_expires_at = now() + interval '1 second'")
    assert WRITES[name](house.database, hold) is not None
    ((ends,),) = run(database_url, "SELECT lease_expires_at FROM conversation_states")
    assert ends == NOW + timedelta(seconds=900 if name == "renew" else 30)


@pytest.mark.parametrize("name", [*STEPS, *ENDS, "relock", "give_up", "start_calls", "keep_result"])
def test_every_write_is_seen_by_whoever_decided_on_what_was_before(
    house: House, database_url: str, hold: Hold, name: str
) -> None:
    """A claim, a stop and an admission pass only at the version that they read."""
    version = "SELECT version FROM conversation_states"
    ((before,),) = run(database_url, version)
    WRITES[name](house.database, hold)
    assert run(database_url, version) == [(before + 1,)]


CALL_STATES = "SELECT name, status FROM tool_calls ORDER BY name"


def test_a_call_is_on_record_as_started_with_the_reply_that_asks_for_it(
    house: House, database_url: str, hold: Hold
) -> None:
    assert run(database_url, CALL_STATES) == [("burn", "asked"), ("peek", "started"), ("post", "started")]
    assert run(database_url, "SELECT tool_call_id, status FROM approvals") == [("c_burn", "pending")]


def test_the_results_settle_their_calls_in_the_same_write(
    house: House, database_url: str, hold: Hold
) -> None:
    WRITES["append_results"](house.database, hold)
    assert run(database_url, CALL_STATES) == [("burn", "denied"), ("peek", "done"), ("post", "unknown")]
    assert run(database_url, "SELECT count(*) FROM tool_calls WHERE ended_at IS NULL") == [(0,)]


@pytest.mark.parametrize("name", ["close", "roll_back"])
def test_a_turn_that_is_broken_off_leaves_no_call_and_no_question_open(
    house: House, database_url: str, hold: Hold, name: str
) -> None:
    """A `once` call that was started may have run; one that waited for a person cannot have."""
    WRITES[name](house.database, hold)
    assert run(database_url, CALL_STATES) == [("burn", "dropped"), ("peek", "dropped"), ("post", "unknown")]
    asked = "SELECT kind, tool_call_id, status FROM approvals ORDER BY kind"
    assert run(database_url, asked) == [
        ("call", "c_burn", "withdrawn"),
        ("outcome", "c_post", "pending"),
    ]
    left_out = name == "roll_back"
    assert run(database_url, "SELECT DISTINCT left_out FROM messages") == [(left_out,)]
    assert run(database_url, "SELECT rewrites FROM conversation_states") == [(int(left_out),)]


def test_calls_that_were_not_run_are_ready_for_the_next_holder(
    house: House, database_url: str, hold: Hold
) -> None:
    WRITES["hand_over"](house.database, hold)
    assert run(database_url, CALL_STATES) == [("burn", "asked"), ("peek", "ready"), ("post", "started")]
    heir = takes.take(house.database, hold.session_id, uuid4(), lease_ttl_s=30)
    assert heir is not None
    assert {call.name: call.status for call in heir.calls} == {
        "peek": "ready",
        "post": "started",
        "burn": "asked",
    }
    assert heir.crashes == 0


def test_giving_up_counts_as_a_crash(house: House, database_url: str, hold: Hold) -> None:
    ends.give_up(house.database, hold)
    heir = takes.take(house.database, hold.session_id, uuid4(), lease_ttl_s=30)
    assert heir is not None
    assert heir.crashes == 1
