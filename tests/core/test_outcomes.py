"""What came of a `once` call whose function stopped in the middle: a person says so, and the model is told."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from core.agents.tool import Arguments, ToolContext
from core.deadline import Deadline
from core.doctor.diagnosis import diagnose
from core.errors import ApprovalDecided, ApprovalExpired, InvalidRequest, SessionBusy
from core.house import House, build_house
from core.ids import DeviceId
from core.settings import Settings
from core.shown import Turn
from core.store import approvals, messages, outcomes, records
from core.store.asked import Approval
from dev.demo_model import DemoModel, Fault, Reply
from tests.agents import Workshop, call
from tests.bells import Deaf
from tests.cleaning import clean
from tests.conversations import (
    answer,
    arrival,
    everything,
    expire,
    held,
    history,
    losing_replies,
    refusals,
    row_held,
    sent,
    wait_for_locks,
)
from tests.databases import run

HAPPENED = "[What came of the call post of earlier is known now: it did take effect.]"
NOT = "[What came of the call post of earlier is known now: it did not take effect.]"
CALL = "SELECT status, settled_at IS NOT NULL FROM tool_calls WHERE name = 'post'"
NOTES = "SELECT count(*) FROM messages WHERE content LIKE '%What came of the call%'"


@pytest.fixture
def house(settings: Settings, shop: Workshop, model: DemoModel) -> Iterator[House]:
    built = build_house(settings, shop.roster(thinking=True))
    yield built
    built.close()
    assert refusals(model) == []


def dies(house: House, url: str, model: DemoModel, device: UUID, *tools: str) -> None:
    """A holder that committed the model's wish for these tools, and died before it could tell what they came to."""
    model.replies.add(Reply(call(*tools)))
    holding = held(house, arrival(device, "post it", "k"))
    over, _ = house.turns.story._step(
        holding, house.turns.roster.manager, house.turns._inline(Deadline.after(20))
    )
    assert not over
    expire(url)


@pytest.fixture
def turn(house: House, model: DemoModel, database_url: str, device: UUID) -> Turn:
    dies(house, database_url, model, device, "post")
    return answer(house, arrival(device, "post it", "k"))


@pytest.fixture
def asked(turn: Turn) -> Approval:
    (approval,) = turn.approvals
    return approval


def say(house: House, device: UUID, asked: Approval, happened: bool = True, wait_s: float = 0) -> Approval:
    return house.turns.decide(DeviceId(device), asked.id, yes=happened, kind="outcome", wait_s=wait_s)


def test_the_turn_does_not_wait_and_a_person_is_asked(
    house: House, device: UUID, turn: Turn, asked: Approval, model: DemoModel
) -> None:
    assert turn.status == "completed"
    assert "unknown" in model.requests[-1].body["messages"][-1]["content"][0]["content"]
    assert (asked.kind, asked.tool, asked.status, asked.arguments) == ("outcome", "post", "pending", {})
    assert (asked.expires_at - asked.created_at).total_seconds() == house.settings.outcome_ttl_s == 604_800
    assert approvals.pending(house.database, DeviceId(device)) == [asked]


@pytest.mark.parametrize(("happened", "status", "said"), [(True, "done", HAPPENED), (False, "failed", NOT)])
@pytest.mark.parametrize("warm", [True, False])
def test_what_came_of_it_is_told_to_the_model(
    house: House,
    model: DemoModel,
    database_url: str,
    device: UUID,
    asked: Approval,
    happened: bool,
    status: str,
    said: str,
    warm: bool,
) -> None:
    """A process that remembers the conversation reads the word by itself."""
    settled = say(house, device, asked, happened)
    assert settled.status == ("approved" if happened else "denied")
    assert run(database_url, CALL) == [(status, True)]
    assert (history(database_url)[-1][1:]) == ("user", said)
    assert run(database_url, "SELECT actor, action FROM audit_log") == [("user", "outcome_settled")]
    if not warm:
        house.turns.reception.memory.of_device(DeviceId(device))
    assert answer(house, arrival(device, "and now?")).status == "completed"
    assert sent(model)[-2:] == [("user", [said]), ("user", ["and now?"])]
    numbers = [seq for seq, *_ in history(database_url)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_word_is_of_the_turn_that_made_the_call(
    house: House, database_url: str, device: UUID, turn: Turn, asked: Approval
) -> None:
    answer(house, arrival(device, "another matter"))
    house.turns.decide(DeviceId(device), asked.id, yes=True, note="It came on Monday.")
    last = messages.page_after(house.database, DeviceId(device), 0, 50).items[-1]
    assert (last.turn_id, last.role) == (turn.id, "user")
    assert "Whoever looked into it said: It came on Monday.]" in last.content
    seen = house.turns.look(DeviceId(device), turn.id, 0)
    assert (seen.reply, seen.status) == (turn.reply, "completed")
    assert [made["status"] for made in seen.tool_calls] == ["done"]
    record = records.read(house.database, asked.session_id)
    assert record is not None
    assert diagnose(record).is_well


def test_an_open_question_is_no_ailment(house: House, asked: Approval) -> None:
    record = records.read(house.database, asked.session_id)
    assert record is not None
    assert diagnose(record).is_well


def test_a_call_that_was_left_at_its_time_limit_is_asked_about_at_once(
    settings: Settings, model: DemoModel, device: UUID
) -> None:
    shop, gate = Workshop(), threading.Event()

    def stay(_: ToolContext, __: Arguments) -> str:
        gate.wait(20)
        return "late"

    shop.does = {"post": stay}
    house = build_house(settings, shop.roster(time_limit_s=0.2))
    model.replies.add(Reply(call("post")))
    turn = answer(house, arrival(device))
    gate.set()
    assert [(approval.kind, approval.status) for approval in turn.approvals] == [("outcome", "pending")]
    house.close()


def test_while_the_model_is_asked_it_is_refused_and_nothing_is_stored(
    house: House, model: DemoModel, database_url: str, device: UUID, asked: Approval
) -> None:
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    before_it = len(model.requests)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(answer, house, arrival(device, "and now?"))
        assert model.requests.wait_for(before_it + 1)
        before = everything(database_url)
        with pytest.raises(SessionBusy, match="only between two turns"):
            say(house, device, asked)
        assert everything(database_url) == before
        patient = pool.submit(say, house, device, asked, True, 20)
        gate.set()
        assert running.result(20).status == "completed"
        assert patient.result(20).status == "approved"
    assert [said for _, _, said in history(database_url)][-1] == HAPPENED


def test_it_does_not_come_between_a_call_and_its_result(
    house: House, model: DemoModel, database_url: str, device: UUID, asked: Approval
) -> None:
    """A turn that waits for a person is in the middle, though nobody holds it."""
    model.replies.add(Reply(call("burn")))
    waiting = answer(house, arrival(device, "burn it", "b"))
    assert waiting.status == "waiting"
    with pytest.raises(SessionBusy, match="decide that one first"):
        say(house, device, asked)
    house.turns.decide(DeviceId(device), waiting.approvals[0].id, yes=True)
    with pytest.raises(SessionBusy):
        say(house, device, asked)
    assert answer(house, arrival(device, "burn it", "b")).status == "completed"
    assert say(house, device, asked).status == "approved"
    assert answer(house, arrival(device, "and now?")).status == "completed"


def test_a_message_that_has_not_begun_is_not_in_the_way(
    house: House, model: DemoModel, database_url: str, device: UUID, asked: Approval
) -> None:
    queued = "INSERT INTO turns (session_id, id, seq, body_digest, status, input) VALUES (%s, %s, 9, 'd', 'queued', %s)"
    text = '[{"type":"text","text":"later"}]'
    run(database_url, queued, str(asked.session_id), str(UUID(int=9)), text)
    assert say(house, device, asked).status == "approved"
    house.turns.work(asked.session_id)
    assert sent(model)[-2:] == [("user", [HAPPENED]), ("user", ["later"])]


@pytest.mark.parametrize("yes", [True, False])
def test_of_a_turn_that_was_taken_back_the_model_is_told_nothing(
    house: House, model: DemoModel, database_url: str, device: UUID, yes: bool
) -> None:
    """It is settled at any time, then: nothing is said."""
    dies(house, database_url, model, device, "post")
    turn = answer(house, arrival(device, "forget that", on_busy="rollback"))
    assert turn.status == "completed"
    (asked,) = approvals.pending(house.database, DeviceId(device))
    held(house, arrival(device, "and now?"))
    assert say(house, device, asked, yes).status == ("approved" if yes else "denied")
    assert run(database_url, CALL) == [("done" if yes else "failed", True)]
    assert run(database_url, NOTES) == [(0,)]


def test_a_stop_withdraws_no_question_of_what_came_of_a_call(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    """The turn goes on to a second call, which waits for a person, and is cancelled there."""
    dies(house, database_url, model, device, "post")
    model.replies.add(Reply(call("burn")))
    waiting = answer(house, arrival(device, "post it", "k"))
    assert waiting.status == "waiting"
    assert house.turns.cancel(DeviceId(device), waiting.id).status == "cancelled"
    kinds = "SELECT kind, status FROM approvals ORDER BY kind"
    assert run(database_url, kinds) == [("call", "withdrawn"), ("outcome", "pending")]


def test_a_question_about_a_call_holds_up_no_turn_that_waits_for_another(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    dies(house, database_url, model, device, "post")
    model.replies.add(Reply(call("burn")))
    waiting = answer(house, arrival(device, "post it", "k"))
    (burn,) = (approval for approval in waiting.approvals if approval.kind == "call")
    house.turns.decide(DeviceId(device), burn.id, yes=False)
    assert answer(house, arrival(device, "post it", "k")).status == "completed"


# ---- at once


def at_once(url: str, *attempts: Callable[[], object]) -> list[object]:
    """All of them have read the same before any of them writes."""

    def attempt(what: Callable[[], object]) -> object:
        try:
            return what()
        except ApprovalDecided:
            return None

    with ThreadPoolExecutor(len(attempts)) as pool:
        with row_held(url):
            tried = [pool.submit(attempt, what) for what in attempts]
            wait_for_locks(url, len(attempts))
        return [future.result(30) for future in tried]


def test_of_two_who_know_otherwise_one_is_believed(
    house: House, database_url: str, device: UUID, asked: Approval
) -> None:
    came = at_once(database_url, lambda: say(house, device, asked), lambda: say(house, device, asked, False))
    assert came.count(None) == 1
    ((status, _),) = run(database_url, CALL)
    assert status == ("done" if came[0] else "failed")
    assert run(database_url, NOTES) == [(1,)]
    assert run(database_url, "SELECT count(*) FROM audit_log") == [(1,)]


def test_a_word_and_a_message_at_once_both_reach_the_model(
    house: House, model: DemoModel, database_url: str, device: UUID, asked: Approval
) -> None:
    came = at_once(
        database_url,
        lambda: say(house, device, asked, True, 20),
        lambda: answer(house, arrival(device, "and now?")),
    )
    assert None not in came
    assert answer(house, arrival(device, "and then?")).status == "completed"
    texts = [text for _, said in sent(model) for text in said]
    assert (texts.count(HAPPENED), texts.count("and now?")) == (1, 1)


def test_a_word_whose_reply_was_lost_is_said_once(
    house: House, database_url: str, device: UUID, asked: Approval, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = losing_replies(monkeypatch, outcomes._SETTLE)
    assert say(house, device, asked).status == "approved"
    assert lost
    assert say(house, device, asked).status == "approved"
    assert run(database_url, NOTES) == [(1,)]


def test_nobody_knows_for_ever(
    house: House, database_url: str, device: UUID, turn: Turn, asked: Approval
) -> None:
    """The question ends, and the outcome stays unknown."""
    run(database_url, "UPDATE approvals SET expires_at = now() - interval '1 second'")
    ((version,),) = run(database_url, "SELECT version FROM conversation_states")
    assert not outcomes.settle(
        house.database,
        asked.session_id,
        version,
        asked.id,
        happened=True,
        content="[]",
        by=run(database_url, "SELECT id FROM users")[0][0],
    )
    assert clean(house.database, Deaf()) == {"approvals": 1}
    assert run(database_url, CALL) == [("unknown", False)]
    assert run(database_url, "SELECT action FROM audit_log") == [("approval_expired",)]
    with pytest.raises(ApprovalExpired):
        say(house, device, asked)
    assert house.turns.look(DeviceId(device), turn.id, 0).status == "completed"


def test_a_question_is_answered_in_its_own_words(house: House, device: UUID, asked: Approval) -> None:
    with pytest.raises(InvalidRequest, match="happened, did_not_happen"):
        house.turns.decide(DeviceId(device), asked.id, yes=True, kind="call")
