"""What operators write goes out at the version that was read, and leaves alone what became a part of another conversation."""

from uuid import UUID, uuid4

import pytest

from core.house import House
from core.ids import SessionId
from core.store import operators
from tests.conversations import answer, arrival, everything, held
from tests.databases import run

CANCELLED = {"code": "turn_cancelled", "detail": "Cancelled."}


@pytest.fixture
def session(house: House, device: UUID) -> SessionId:
    told = answer(house, arrival(device))
    assert told.session_id is not None
    return told.session_id


def test_one_that_became_a_part_of_another_is_neither_cleared_nor_ended(
    house: House, database_url: str, session: SessionId
) -> None:
    """Also if it became that since the operator looked."""
    run(
        database_url,
        "UPDATE conversation_states SET merged_into = %s, active_agent = 'manager', locked_at = now()",
        str(uuid4()),
    )
    before = everything(database_url)
    assert operators.clear_lock(house.database, session, None) is None
    assert operators.end(house.database, session) is None
    assert everything(database_url) == before


@pytest.mark.parametrize("late", [1, -1])
def test_nothing_is_stopped_at_another_version(
    house: House, database_url: str, device: UUID, late: int
) -> None:
    hold = held(house, arrival(device)).hold
    standing = operators.standing(house.database, hold.session_id)
    assert standing is not None
    before = everything(database_url)
    for version, done in ((standing.version - late, False), (standing.version, True)):
        assert (
            operators.stop(house.database, hold.session_id, version, [hold.turn_id], None, error=CANCELLED)
            is done
        )
        assert (everything(database_url) == before) is not done


def test_what_has_ended_is_not_noted_as_stopped(house: House, database_url: str, session: SessionId) -> None:
    ((turn, version),) = run(
        database_url, "SELECT t.id, s.version FROM turns t JOIN conversation_states s ON s.id = t.session_id"
    )
    assert not operators.stop(house.database, session, version, [turn], None, error=CANCELLED)
    assert run(database_url, "SELECT count(*) FROM audit_log") == [(0,)]
    assert run(database_url, "SELECT status, stop FROM turns") == [("completed", None)]


def test_of_what_is_gone_nothing_is_noted(house: House, database_url: str) -> None:
    operators.note_woken(house.database, SessionId(uuid4()), held(house, arrival(uuid4())).hold.turn_id, None)
    assert run(database_url, "SELECT count(*) FROM audit_log") == [(0,)]


def test_what_has_not_ended_is_told_in_its_order(house: House, device: UUID) -> None:
    hold = held(house, arrival(device)).hold
    for text in ("second", "third"):
        house.turns.answer(arrival(device, text), 0)
    standing = operators.standing(house.database, hold.session_id, hold.turn_id)
    assert standing is not None
    assert [(turn.status, turn.is_begun) for turn in standing.turns] == [
        ("running", True),
        ("queued", False),
        ("queued", False),
    ]
    assert standing.turns[0].id == standing.meant == hold.turn_id
    assert (standing.epoch, standing.held_until is None) == (hold.epoch, False)
    assert operators.standing(house.database, SessionId(uuid4())) is None
