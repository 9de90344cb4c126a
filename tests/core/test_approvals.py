"""A person is asked before a tool runs: a yes, a no, no answer, and a turn that is stopped meanwhile."""

from collections.abc import Iterator
from uuid import UUID

import pytest

from core.content import Blocks
from core.errors import ApprovalDecided, ApprovalExpired
from core.house import House, build_house
from core.ids import DeviceId
from core.settings import Settings
from core.store import approvals
from dev.demo_model import DemoModel, Reply
from tests.agents import Workshop, call
from tests.bells import Bell
from tests.cleaning import clean
from tests.conversations import answer, arrival, decide, expire, refusals, statuses, taken
from tests.databases import run


@pytest.fixture
def house(settings: Settings, shop: Workshop, model: DemoModel) -> Iterator[House]:
    built = build_house(settings, shop.roster(thinking=True))
    yield built
    built.close()
    assert refusals(model) == []


def results(model: DemoModel) -> Blocks:
    """The last message that the model was sent, which holds nothing but results."""
    content: Blocks = model.requests[-1].body["messages"][-1]["content"]
    assert {block["type"] for block in content} == {"tool_result"}
    return content


def waiting(house: House, model: DemoModel, device: UUID, *tools: str) -> UUID:
    """A turn that waits for a person; gives the first approval's ID."""
    model.replies.add(Reply(call(*(tools or ("burn",)))))
    turn = answer(house, arrival(device, "burn it", "k"))
    assert turn.status == "waiting"
    return UUID(str(turn.approvals[0].id))


def test_a_turn_that_waits_holds_nothing_and_runs_nothing(
    house: House, model: DemoModel, shop: Workshop, database_url: str, device: UUID
) -> None:
    waiting(house, model, device, "burn", "peek")
    assert run(database_url, "SELECT lease_expires_at FROM conversation_states") == [(None,)]
    assert (shop.ran["burn"], shop.ran["peek"]) == (0, 1)
    assert run(database_url, "SELECT name, status FROM tool_calls ORDER BY name") == [
        ("burn", "asked"),
        ("peek", "done"),
    ]


@pytest.mark.parametrize("yes", [True, False])
def test_what_a_person_decides_is_done(
    house: House, model: DemoModel, shop: Workshop, device: UUID, yes: bool
) -> None:
    asked = waiting(house, model, device, "burn", "peek")
    house.turns.decide(DeviceId(device), asked, yes=yes)
    turn = answer(house, arrival(device, "burn it", "k"))
    assert turn.status == "completed"
    assert (shop.ran["burn"], shop.ran["peek"]) == (int(yes), 1)
    burned, peeked = results(model)
    assert burned["content"] == ("burn says yes" if yes else burned["content"])
    assert ("did not allow" in burned["content"]) is not yes
    assert peeked["content"] == "peek says yes"
    with pytest.raises(ApprovalDecided):
        house.turns.decide(DeviceId(device), asked, yes=not yes)


def test_a_turn_goes_on_when_the_last_of_its_approvals_is_decided(
    house: House, model: DemoModel, shop: Workshop, device: UUID
) -> None:
    waiting(house, model, device, "burn", "burn")
    first, second = approvals.pending(house.database, DeviceId(device))
    house.turns.decide(DeviceId(device), first.id, yes=True)
    assert answer(house, arrival(device, "burn it", "k"), 0).status == "waiting"
    house.turns.decide(DeviceId(device), second.id, yes=False)
    assert answer(house, arrival(device, "burn it", "k")).status == "completed"
    assert shop.ran["burn"] == 1


def test_no_answer_in_time_is_a_no(
    house: House, model: DemoModel, shop: Workshop, database_url: str, device: UUID
) -> None:
    asked = waiting(house, model, device)
    bell = Bell()
    assert clean(house.database, bell) == {}
    run(database_url, "UPDATE approvals SET expires_at = now() - interval '1 second'")
    (overdue,) = approvals.overdue(house.database, 10)
    assert not decide(house.database, overdue, "approved"), "its time is over"
    assert clean(house.database, bell) == {"approvals": 1, "turns": 1}
    assert len(bell.woken) == 1
    with pytest.raises(ApprovalExpired):
        house.turns.decide(DeviceId(device), asked, yes=True)
    assert answer(house, arrival(device, "burn it", "k")).status == "completed"
    assert shop.ran["burn"] == 0
    assert "Nobody said yes in time" in results(model)[0]["content"]


def test_a_turn_that_waits_can_be_cancelled(
    house: House, model: DemoModel, shop: Workshop, database_url: str, device: UUID
) -> None:
    asked = waiting(house, model, device)
    turn = answer(house, arrival(device, "burn it", "k"), 0)
    assert house.turns.cancel(DeviceId(device), turn.id).status == "cancelled"
    with pytest.raises(ApprovalDecided, match="withdrawn"):
        house.turns.decide(DeviceId(device), asked, yes=True)
    assert run(database_url, "SELECT status FROM approvals") == [("withdrawn",)]
    assert answer(house, arrival(device, "next")).status == "completed"
    assert shop.ran["burn"] == 0
    assert statuses(database_url) == [("cancelled", "turn_cancelled"), ("completed", None)]


def test_a_yes_is_on_record_before_the_call_runs(
    house: House, model: DemoModel, shop: Workshop, database_url: str, device: UUID
) -> None:
    asked = waiting(house, model, device)
    house.turns.decide(DeviceId(device), asked, yes=True)
    shop.does = {"burn": lambda _, __: str(run(database_url, "SELECT status FROM tool_calls"))}
    assert answer(house, arrival(device, "burn it", "k")).tool_calls[0]["status"] == "done"
    assert "started" in results(model)[0]["content"]


def test_a_call_that_a_person_allowed_is_not_run_twice_though_its_function_died(
    house: House, model: DemoModel, shop: Workshop, database_url: str, device: UUID
) -> None:
    asked = waiting(house, model, device)
    house.turns.decide(DeviceId(device), asked, yes=True)
    session = run(database_url, "SELECT id FROM conversation_states")[0][0]
    holding = taken(house, session)
    holding.start([call.id for call in holding.calls.values()])
    expire(database_url)
    assert answer(house, arrival(device, "burn it", "k")).status == "completed"
    assert shop.ran["burn"] == 0
    assert "unknown" in results(model)[0]["content"]
