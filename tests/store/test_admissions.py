"""What is decided from outside is written at the version that it was decided on, once, or not at all."""

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.content import load_sendable
from core.house import House, build_house
from core.ids import DeviceId, SessionId, TurnId
from core.settings import Settings
from core.store import admissions, approvals, claims
from core.store.admissions import Admission
from core.store.asked import Approval
from dev.demo_model import DemoModel, Reply
from tests.agents import Workshop, call
from tests.conversations import answer, arrival, decide, everything, held, statuses
from tests.databases import run

REPLACED = {"code": "turn_replaced", "detail": "Replaced."}
CANCELLED = {"code": "turn_cancelled", "detail": "Cancelled."}


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    built = build_house(settings, Workshop().roster())
    yield built
    built.close()


def standing(url: str) -> tuple[SessionId, int]:
    ((session_id, version),) = run(url, "SELECT id, version FROM conversation_states")
    return SessionId(UUID(str(session_id))), version


def admit(
    house: House,
    url: str,
    arrived: claims.Arrival,
    decided: Admission,
    *,
    late: int = 0,
    steers: bool = False,
) -> bool:
    session_id, version = standing(url)
    return admissions.admit(
        house.database, session_id, version - late, arrived, decided, steers=steers, replaced=REPLACED
    )


def stop(house: House, url: str, turn_id: TurnId, *, late: int = 0) -> bool:
    session_id, version = standing(url)
    return admissions.stop(house.database, session_id, version - late, turn_id, error=CANCELLED)


@pytest.fixture
def asking(house: House, model: DemoModel, device: UUID) -> Approval:
    """A turn that waits for two people."""
    model.replies.add(Reply(call("burn", "burn")))
    assert answer(house, arrival(device, "burn it", "k")).status == "waiting"
    return approvals.pending(house.database, DeviceId(device))[0]


@pytest.mark.parametrize("late", [1, -1])
def test_nothing_is_written_at_another_version(
    house: House, database_url: str, device: UUID, asking: Approval, late: int
) -> None:
    decided = Admission(stops=asking.turn_id, stop="interrupt")
    before = everything(database_url)
    assert not admit(house, database_url, arrival(device), decided, late=late)
    assert not stop(house, database_url, asking.turn_id, late=late)
    for decision in ("approved", "denied"):
        moved = dataclasses.replace(asking, version=asking.version - late)
        assert not decide(house.database, moved, decision)
    assert everything(database_url) == before


@pytest.mark.parametrize("what", ["admit", "stop", "approved", "denied"])
def test_what_is_sent_twice_is_written_once(
    house: House, database_url: str, device: UUID, asking: Approval, what: str
) -> None:
    session_id, version = standing(database_url)
    arrived = arrival(device)
    tries: dict[str, Callable[[], bool]] = {
        "admit": lambda: admissions.admit(
            house.database, session_id, version, arrived, Admission(), steers=False, replaced=REPLACED
        ),
        "stop": lambda: admissions.stop(house.database, session_id, version, asking.turn_id, error=CANCELLED),
        "approved": lambda: decide(house.database, asking, "approved"),
        "denied": lambda: decide(house.database, asking, "denied"),
    }
    assert tries[what]()
    after = everything(database_url)
    assert not tries[what]()
    assert everything(database_url) == after


@pytest.mark.parametrize("by", ["stop", "interrupt", "rollback"])
def test_a_waiting_turn_that_is_to_stop_is_queued_and_its_questions_are_withdrawn(
    house: House, database_url: str, device: UUID, asking: Approval, by: str
) -> None:
    ((signals,),) = run(database_url, "SELECT signal_seq FROM conversation_states")
    if by == "stop":
        assert stop(house, database_url, asking.turn_id)
    else:
        assert admit(house, database_url, arrival(device), Admission(stops=asking.turn_id, stop=by))
    turn = run(database_url, "SELECT status, stop, ended_at FROM turns ORDER BY seq")[0]
    assert turn == ("queued", "cancel" if by == "stop" else by, None)
    assert run(database_url, "SELECT status FROM approvals") == [("withdrawn",)] * 2
    assert run(database_url, "SELECT signal_seq FROM conversation_states") == [(signals + 1,)]
    assert not decide(
        house.database, dataclasses.replace(asking, version=standing(database_url)[1]), "approved"
    )


def test_a_turn_that_has_not_begun_ends_when_it_is_stopped_or_replaced(
    house: House, database_url: str, device: UUID
) -> None:
    held(house, arrival(device, "first"))
    waiting = [arrival(device, text) for text in ("second", "third", "fourth")]
    for arrived in waiting:
        assert admit(house, database_url, arrived, Admission())
    assert stop(house, database_url, waiting[0].turn_id)
    others = Admission(replaces=tuple(arrived.turn_id for arrived in waiting[1:]))
    assert admit(house, database_url, arrival(device, "last"), others)
    assert statuses(database_url) == [
        ("running", None),
        ("cancelled", "turn_cancelled"),
        ("cancelled", "turn_replaced"),
        ("cancelled", "turn_replaced"),
        ("queued", None),
    ]
    ended = "SELECT count(*) FROM turns WHERE ended_at IS NOT NULL AND input IS NULL"
    assert run(database_url, ended) == [(3,)]


def test_texts_that_join_a_turn_stand_in_it_in_their_order(
    house: House, database_url: str, device: UUID
) -> None:
    begun = held(house, arrival(device, "first")).hold.turn_id
    for text in ("one", 'two ] " \\ \ud83d', "three"):
        arrived = dataclasses.replace(arrival(device, text), body_digest="d")
        assert admit(house, database_url, arrived, Admission(joins=begun), steers=True)
    ((joined,),) = run(database_url, "SELECT input FROM turns WHERE id = %s", str(begun))
    assert [block["text"] for block in load_sendable(joined)] == ["one", 'two ] " \\ �', "three"]
    rows = run(database_url, "SELECT status, joined_to::text, input FROM turns WHERE joined_to IS NOT NULL")
    assert rows == [("joined", str(begun), None)] * 3
    assert run(database_url, "SELECT signal_seq FROM conversation_states") == [(3,)]


def test_a_message_that_only_waits_disturbs_nobody(house: House, database_url: str, device: UUID) -> None:
    """Else a holder could not end its turn before it had looked at what is none of its business."""
    holding = held(house, arrival(device, "first"))
    assert admit(house, database_url, arrival(device, "second"), Admission())
    assert run(database_url, "SELECT signal_seq FROM conversation_states") == [(holding.hold.signal_seq,)]


# ---- approvals


CALLS = "SELECT status FROM tool_calls ORDER BY status"


@pytest.mark.parametrize(("decision", "status"), [("approved", "ready"), ("denied", "denied")])
def test_a_decision_is_for_its_own_call_alone(
    house: House, database_url: str, asking: Approval, decision: str, status: str
) -> None:
    assert decide(house.database, asking, decision)
    assert run(database_url, CALLS) == sorted([("asked",), (status,)])
    assert run(database_url, "SELECT status FROM turns") == [("waiting",)], "the other is still open"
    ended = f"SELECT tool_call_id FROM approvals WHERE status = '{decision}'"
    assert run(database_url, ended) == [(asking.tool_call_id,)]


def test_the_last_decision_queues_the_turn(
    house: House, database_url: str, device: UUID, asking: Approval
) -> None:
    for decision in ("approved", "denied"):
        (asked, *_) = approvals.pending(house.database, DeviceId(device))
        assert decide(house.database, asked, decision)
    assert approvals.pending(house.database, DeviceId(device)) == []
    assert run(database_url, "SELECT status FROM turns") == [("queued",)]


def test_a_decision_and_the_end_of_its_time_exclude_each_other(
    house: House, database_url: str, asking: Approval
) -> None:
    before = everything(database_url)
    assert not decide(house.database, asking, "expired"), "its time is not over"
    late = datetime.now(UTC) + timedelta(days=1)
    assert not decide(house.database, asking, "approved", now=late)
    assert not decide(house.database, asking, "denied", now=late)
    assert everything(database_url) == before
    assert decide(house.database, asking, "expired", now=late)
    assert run(database_url, CALLS) == [("asked",), ("denied",)]


def test_of_a_yes_a_no_and_a_stop_at_once_one_is_first(
    house: House, database_url: str, asking: Approval
) -> None:
    session_id, version = standing(database_url)
    at_once: list[Callable[[], Any]] = [
        lambda: decide(house.database, asking, "approved"),
        lambda: decide(house.database, asking, "denied"),
        lambda: admissions.stop(house.database, session_id, version, asking.turn_id, error=CANCELLED),
    ] * 2
    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(lambda attempt: attempt(), at_once)) == [False] * 5 + [True]
    assert standing(database_url)[1] == version + 1


def test_an_approval_of_another_device_is_not_there(house: House, asking: Approval) -> None:
    assert approvals.pending(house.database, DeviceId(uuid4())) == []
