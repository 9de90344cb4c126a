"""A yes, a no, a stop and the end of its time, two at once: one of them is first, and the other finds it decided."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest

from core.content import Blocks
from core.decisions import expire
from core.errors import ApprovalChanged, ApprovalDecided, ApprovalExpired, LatchkeyError, RoleTooSmall
from core.house import House, build_house
from core.ids import DeviceId
from core.settings import Settings
from core.shown import Turn
from core.store import approvals
from dev.demo_model import DemoModel, Reply
from tests import conversations
from tests.agents import Workshop, call
from tests.bells import Deaf
from tests.cleaning import clean
from tests.conversations import (
    answer,
    arrival,
    everything,
    held,
    refusals,
    row_held,
    statuses,
    wait_for_locks,
)
from tests.databases import run

LATE = timedelta(days=1)


@pytest.fixture
def house(settings: Settings, shop: Workshop, model: DemoModel) -> Iterator[House]:
    built = build_house(settings, shop.roster(thinking=True))
    yield built
    built.close()
    assert refusals(model) == []


@pytest.fixture
def asking(house: House, model: DemoModel, device: UUID) -> Turn:
    model.replies.add(Reply(call("burn")))
    turn = answer(house, arrival(device, "burn it", "k"))
    assert turn.status == "waiting"
    return turn


Attempts = dict[str, Callable[[], Any]]


@pytest.fixture
def attempts(house: House, device: UUID, asking: Turn) -> Attempts:
    asked = asking.approvals[0].id

    def end() -> None:
        late = datetime.now(UTC) + LATE
        for overdue in approvals.overdue(house.database, 10, now=late):
            if not expire(house.database, overdue.session_id, overdue.version, [overdue], now=late):
                raise ApprovalDecided

    return {
        "approved": lambda: house.turns.decide(DeviceId(device), asked, yes=True),
        "denied": lambda: house.turns.decide(DeviceId(device), asked, yes=False),
        "withdrawn": lambda: house.turns.cancel(DeviceId(device), asking.id),
        "expired": end,
    }


def at_once(url: str, *attempts: Callable[[], Any]) -> list[str | None]:
    """They stand in line to write, in this order, and all have read the same before the first writes. The code of what
    each was refused with.
    """

    def attempt(what: Callable[[], Any]) -> str | None:
        try:
            what()
        except LatchkeyError as error:
            return error.code
        return None

    with ThreadPoolExecutor(len(attempts)) as pool:
        with row_held(url):
            tried = []
            for number, what in enumerate(attempts, 1):
                tried.append(pool.submit(attempt, what))
                wait_for_locks(url, number)
        return [future.result(30) for future in tried]


def told(model: DemoModel) -> Blocks:
    content: Blocks = model.requests[-1].body["messages"][-1]["content"]
    return content


DECIDED = (
    "SELECT a.status, l.action, l.actor FROM approvals a JOIN audit_log l ON l.session_id = a.session_id"
)
ACTORS = {"approved": "user", "denied": "user", "expired": "system", "withdrawn": "user"}


@pytest.mark.parametrize(("first", "second"), list(permutations(ACTORS, 2)))
def test_of_two_at_once_the_first_decides(
    house: House,
    shop: Workshop,
    database_url: str,
    device: UUID,
    attempts: Attempts,
    first: str,
    second: str,
) -> None:
    house.turns.wakeups = Deaf()
    refused = at_once(database_url, attempts[first], attempts[second])
    assert run(database_url, DECIDED) == [(first, f"approval_{first}", ACTORS[first])]
    # A person is told that it is decided, or that its time was over. Who only stops the turn has nothing to withdraw.
    by_first = "approval_expired" if first == "expired" else "approval_decided"
    told = {"withdrawn": None, "expired": "approval_decided"}.get(second, by_first)
    assert refused == [None, told]
    house.turns.wakeups = None
    turn = answer(house, arrival(device, "burn it", "k"))
    assert turn.status == ("cancelled" if "withdrawn" in (first, second) else "completed")
    assert shop.ran["burn"] == (first == "approved" and second != "withdrawn")


def test_the_same_yes_from_two_places_is_one(
    house: House, shop: Workshop, database_url: str, device: UUID, attempts: Attempts
) -> None:
    assert at_once(database_url, attempts["approved"], attempts["approved"]) == [None, None]
    assert run(database_url, DECIDED) == [("approved", "approval_approved", "user")]
    assert answer(house, arrival(device, "burn it", "k")).status == "completed"
    assert shop.ran["burn"] == 1


def test_the_same_decision_again_changes_nothing(
    house: House, database_url: str, device: UUID, asking: Turn
) -> None:
    asked = asking.approvals[0].id
    first = house.turns.decide(DeviceId(device), asked, yes=False, note="Not today.")
    before = everything(database_url)
    again = house.turns.decide(DeviceId(device), asked, yes=False, note="Never.")
    assert again == first
    assert (again.status, again.note) == ("denied", "Not today.")
    assert everything(database_url) == before


def test_a_no_is_told_with_what_the_person_said(
    house: House, model: DemoModel, device: UUID, asking: Turn
) -> None:
    house.turns.decide(DeviceId(device), asking.approvals[0].id, yes=False, note="Not the red one.")
    assert answer(house, arrival(device, "burn it", "k")).status == "completed"
    (result,) = told(model)
    assert result["is_error"] is True
    assert result["content"].endswith("did not allow this call. It was not run. They said: Not the red one.")


def test_only_what_was_shown_is_approved(house: House, database_url: str, device: UUID, asking: Turn) -> None:
    shown = asking.approvals[0]
    before = everything(database_url)
    with pytest.raises(ApprovalChanged):
        house.turns.decide(DeviceId(device), shown.id, yes=True, shown="0" * 64)
    assert everything(database_url) == before
    approved = house.turns.decide(DeviceId(device), shown.id, yes=True, shown=shown.input_digest)
    assert (approved.status, approved.input_digest) == ("approved", shown.input_digest)


def let_in(url: str, device: UUID, asking: Turn, role: str) -> None:
    """Somebody else's device, of a member of the conversation."""
    user = "SELECT user_id FROM connections WHERE device_id = %s"
    run(
        url,
        f"INSERT INTO members (session_id, user_id, role) VALUES (%s, ({user}), %s)",
        str(asking.session_id),
        str(device),
        role,
    )


@pytest.mark.parametrize(
    ("role", "needed", "enough"),
    [
        ("viewer", "owner", False),
        ("editor", "owner", False),
        ("owner", "owner", True),
        ("viewer", "editor", False),
        ("editor", "editor", True),
        ("viewer", "viewer", True),
    ],
)
def test_a_member_decides_as_far_as_their_role_goes(
    house: House,
    database_url: str,
    device: UUID,
    asking: Turn,
    role: str,
    needed: str,
    enough: bool,
) -> None:
    friend, asked = UUID(int=7), asking.approvals[0].id
    answer(house, arrival(friend))
    let_in(database_url, friend, asking, role)
    run(database_url, "UPDATE approvals SET role = %s", needed)
    listed = [approval.id for approval in approvals.pending(house.database, DeviceId(friend))]
    assert listed == ([asked] if enough else [])
    if enough:
        house.turns.decide(DeviceId(friend), asked, yes=True)
        by = "SELECT d.device_id::text FROM approvals a JOIN connections d ON d.user_id = a.decided_by"
        assert run(database_url, by) == [(str(friend),)]
        with pytest.raises(ApprovalDecided):
            house.turns.decide(DeviceId(device), asked, yes=False)
    else:
        with pytest.raises(RoleTooSmall):
            house.turns.decide(DeviceId(friend), asked, yes=True)
        assert house.turns.decide(DeviceId(device), asked, yes=True).status == "approved"


@pytest.mark.parametrize("yes", [True, False])
def test_one_whose_time_is_over_is_ended_by_whoever_comes_to_decide_it(
    house: House, model: DemoModel, shop: Workshop, database_url: str, device: UUID, asking: Turn, yes: bool
) -> None:
    """No sweep has seen it yet."""
    run(database_url, "UPDATE approvals SET expires_at = now() - interval '1 second'")
    seen = house.turns.look(DeviceId(device), asking.id, 0)
    assert [approval.status for approval in seen.approvals] == ["expired"]
    assert approvals.pending(house.database, DeviceId(device)) == []
    with pytest.raises(ApprovalExpired):
        house.turns.decide(DeviceId(device), asking.approvals[0].id, yes=yes)
    assert run(database_url, DECIDED) == [("expired", "approval_expired", "system")]
    assert answer(house, arrival(device, "burn it", "k")).status == "completed"
    assert "Nobody said yes in time" in told(model)[0]["content"]
    assert shop.ran["burn"] == 0


def test_a_sweep_ends_all_that_are_overdue_in_one_conversation(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    model.replies.add(Reply(call("burn", "burn", "burn")))
    turn = answer(house, arrival(device, "burn it", "k"))
    run(database_url, "UPDATE approvals SET expires_at = now() - interval '1 second'")
    assert clean(house.database, Deaf()) == {"approvals": 3, "turns": 1}
    assert house.turns.look(DeviceId(device), turn.id, 20).status == "completed"
    assert len(told(model)) == 3
    assert statuses(database_url) == [("completed", None)]


def test_a_decision_at_the_moment_in_which_its_turn_begins_to_wait_is_seen(
    house: House, device: UUID, model: DemoModel, database_url: str
) -> None:
    """Both have read that it is not decided, and the decision is written first."""
    holding = held(house, arrival(device, "burn it"))
    model.replies.add(Reply(call("burn")))
    conversations.asking(holding, house, house.turns.roster.manager)
    (asked,) = approvals.pending(house.database, DeviceId(device))
    waited: list[bool] = []
    at_once(
        database_url,
        lambda: house.turns.decide(DeviceId(device), asked.id, yes=True),
        lambda: waited.append(holding.hand_over(waits=True)),
    )
    assert waited == [False]
    assert holding.hand_over(waits=True)
    assert statuses(database_url) == [("queued", None)]
