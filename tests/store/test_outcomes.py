"""What is asked of a person in the same write that makes it a question, and what a word of theirs writes, once."""

import dataclasses
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from core.content import dump
from core.doctor.rounds import visit
from core.house import House, build_house
from core.ids import DeviceId, UserId
from core.settings import Settings
from core.store import admissions, approvals, ends, outcomes, steps
from core.store.approvals import Verdict
from core.store.asked import Approval
from core.store.ends import Closing
from core.store.fence import Reply
from core.store.holds import Hold
from core.store.steps import Asked, Consequences
from core.store.used import Used
from tests.agents import Workshop
from tests.conversations import arrival, everything, held
from tests.databases import run

WISH = dump([{"type": "tool_use", "id": name, "name": name, "input": {}} for name in ("c_post", "c_burn")])
USED = Used("{}", "{}")
REPLY = Reply("manager", WISH, "p", "tool_use", "{}", USED)
CALLS = [
    Asked("c_post", "post", "once", "d", None, "editor"),
    Asked("c_burn", "burn", "once", "d", str(UUID(int=7)), "viewer"),
]
QUESTIONS = "SELECT kind, tool_call_id, role, status FROM approvals ORDER BY kind, tool_call_id"
ASKED = [("call", "c_burn", "viewer", "pending")]


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    built = build_house(settings, Workshop().roster())
    yield built
    built.close()


@pytest.fixture
def hold(house: House, device: UUID) -> Hold:
    """The model has asked for two calls: one was started, one waits for a person."""
    begun = held(house, arrival(device)).hold
    assert steps.append_reply(house.database, begun, REPLY, CALLS, lease_ttl_s=30, approval_ttl_s=60)
    return dataclasses.replace(begun, message_seq=2)


def results(house: House, hold: Hold, **settled: str) -> bool:
    written = steps.append_results(
        house.database,
        hold,
        dump([{"type": "tool_result", "tool_use_id": id_, "content": "?"} for id_ in settled]),
        settled,
        Consequences(),
        session_usage="{}",
        lease_ttl_s=30,
        outcome_ttl_s=60,
    )
    return written is not None


def close(house: House, hold: Hold, status: str = "failed", left_out_from: int | None = None) -> bool:
    closing = Closing(status, left_out_from=left_out_from)
    return bool(ends.close(house.database, hold, closing, used=USED, outcome_ttl_s=60))


@pytest.fixture
def asking(house: House, device: UUID, hold: Hold) -> Approval:
    """The turn is over, and nobody knows what came of its call."""
    assert results(house, hold, c_post="unknown", c_burn="dropped")
    assert close(house, dataclasses.replace(hold, message_seq=3))
    (asked,) = approvals.pending(house.database, DeviceId(device))
    return asked


def settle(house: House, asked: Approval, *, happened: bool = True, late: int = 0) -> bool:
    return outcomes.settle(
        house.database,
        asked.session_id,
        asked.version - late,
        asked.id,
        happened=happened,
        content='[{"type":"text","text":"It did."}]',
        by=UserId(UUID(int=5)),
    )


def test_a_call_waits_for_those_whom_its_tool_names(house: House, database_url: str, hold: Hold) -> None:
    assert run(database_url, QUESTIONS) == ASKED


def test_the_results_ask_of_what_is_unknown_and_of_nothing_else(
    house: House, database_url: str, hold: Hold
) -> None:
    assert results(house, hold, c_post="unknown", c_burn="denied")
    after = run(database_url, QUESTIONS)
    assert after == [*ASKED, ("outcome", "c_post", "editor", "pending")]
    assert not results(house, hold, c_post="unknown", c_burn="denied"), "sent twice it asks once"
    assert run(database_url, QUESTIONS) == after


def test_results_that_are_known_ask_nothing(house: House, database_url: str, hold: Hold) -> None:
    assert results(house, hold, c_post="done", c_burn="denied")
    assert run(database_url, QUESTIONS) == ASKED


@pytest.mark.parametrize("kept", [True, False])
def test_an_end_asks_of_what_it_leaves_unknown(
    house: House, database_url: str, hold: Hold, kept: bool
) -> None:
    """Also of a call that was known to be unknown before its message could be written."""
    if kept:
        assert steps.keep_result(
            house.database, hold, "c_post", status="unknown", result="{}", lease_ttl_s=30
        )
    assert close(house, hold, "cancelled", left_out_from=1)
    assert run(database_url, QUESTIONS) == [
        ("call", "c_burn", "viewer", "withdrawn"),
        ("outcome", "c_post", "editor", "pending"),
    ]
    assert run(database_url, "SELECT actor, action, reason FROM audit_log") == [
        ("turn", "approval_withdrawn", "burn")
    ]


def test_an_end_neither_asks_again_nor_takes_back(house: House, database_url: str, asking: Approval) -> None:
    assert run(database_url, QUESTIONS) == [
        ("call", "c_burn", "viewer", "withdrawn"),
        ("outcome", "c_post", "editor", "pending"),
    ]


def test_a_stop_is_on_record_as_what_withdrew_the_question(
    house: House, database_url: str, hold: Hold
) -> None:
    run(database_url, "UPDATE turns SET status = 'waiting'")
    ((version,),) = run(database_url, "SELECT version FROM conversation_states")
    assert admissions.stop(house.database, hold.session_id, version, hold.turn_id, error={})
    audit = "SELECT actor, action, reason, turn_id::text FROM audit_log"
    assert run(database_url, audit) == [("user", "approval_withdrawn", "burn", str(hold.turn_id))]


def test_the_doctor_asks_of_a_call_that_was_left_open(house: House, database_url: str, hold: Hold) -> None:
    run(database_url, "UPDATE turns SET status = 'failed', ended_at = now()")
    run(database_url, "UPDATE conversation_states SET lease_expires_at = NULL")
    seen = visit(house.database, hold.session_id, fix=True)
    assert seen is not None
    assert seen.mended
    assert run(database_url, QUESTIONS) == [
        ("call", "c_burn", "viewer", "withdrawn"),
        ("outcome", "c_post", "editor", "pending"),
    ]
    assert run(database_url, "SELECT actor FROM audit_log") == [("system",)]


@pytest.mark.parametrize("late", [1, -1])
def test_a_word_at_another_version_is_not_written(
    house: House, database_url: str, asking: Approval, late: int
) -> None:
    before = everything(database_url)
    assert not settle(house, asking, late=late)
    assert everything(database_url) == before
    assert settle(house, asking)


def test_a_word_is_written_once(house: House, database_url: str, asking: Approval) -> None:
    assert settle(house, asking)
    after = everything(database_url)
    current = dataclasses.replace(asking, version=asking.version + 1)
    assert not settle(house, asking, happened=False)
    assert not settle(house, current, happened=False), "though nobody came between"
    assert everything(database_url) == after
    state = "SELECT s.version, s.message_seq, max(m.seq) FROM conversation_states s, messages m GROUP BY 1, 2"
    assert run(database_url, state) == [(asking.version + 1, 4, 4)]


def test_no_word_is_written_while_somebody_works(
    house: House, database_url: str, device: UUID, asking: Approval
) -> None:
    held(house, arrival(device, "and now?"))
    ((version,),) = run(database_url, "SELECT version FROM conversation_states")
    before = everything(database_url)
    assert not settle(house, dataclasses.replace(asking, version=version))
    assert everything(database_url) == before


@pytest.mark.parametrize("decision", ["approved", "denied"])
def test_a_question_is_not_decided_as_a_call_is(
    house: House, database_url: str, asking: Approval, decision: str
) -> None:
    before = everything(database_url)
    verdicts = [Verdict(asking.id)]
    assert not approvals.decide(house.database, asking.session_id, asking.version, verdicts, decision)
    assert everything(database_url) == before


def test_a_question_of_somebody_else_is_not_found(house: House, asking: Approval) -> None:
    assert approvals.find(house.database, DeviceId(uuid4()), asking.id) is None
