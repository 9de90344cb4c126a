"""What a process remembers of a conversation: it asks only for what it has not seen, and is never wrong."""

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from core.content import Message
from core.conversation import Conversation, Memory
from core.house import House, build_house
from core.ids import DeviceId, SessionId
from core.settings import Settings
from core.store import claims, takes
from core.store.holds import Grant, Remembered
from dev.demo_model import DemoModel, Fault, Reply
from tests.agents import Workshop, call
from tests.conversations import answer, arrival, expire, refusals, sent, until
from tests.databases import run


@pytest.fixture
def house(settings: Settings, model: DemoModel) -> Iterator[House]:
    built = build_house(settings, Workshop().roster())
    yield built
    built.close()
    assert refusals(model) == []


@pytest.fixture
def elsewhere(settings: Settings) -> Iterator[House]:
    """Another process."""
    built = build_house(settings, Workshop().roster())
    yield built
    built.close()


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Of each grant, the numbers of the messages that came with it."""
    seen: list[list[int]] = []
    real_claim, real_take = claims.claim, takes.take

    def note(grant: Grant | None) -> None:
        if grant is not None:
            seen.append([message.seq for message in grant.history])

    def claim(*given: object, **named: object) -> claims.Claim:
        made = real_claim(*given, **named)  # type: ignore[arg-type]
        note(made.grant)
        return made

    def take(*given: object, **named: object) -> Grant | None:
        made = real_take(*given, **named)  # type: ignore[arg-type]
        note(made)
        return made

    monkeypatch.setattr(claims, "claim", claim)
    monkeypatch.setattr(takes, "take", take)
    return seen


def said(model: DemoModel) -> list[str]:
    """What people said, as the model was last told."""
    return [texts[0] for role, texts in sent(model) if role == "user"]


def test_a_warm_process_loads_only_what_it_has_not_seen(
    house: House, model: DemoModel, device: UUID, loaded: list[list[int]]
) -> None:
    for text in ("one", "two", "three"):
        answer(house, arrival(device, text))
    assert loaded == [[1], [3], [5]]
    assert said(model) == ["one", "two", "three"]
    assert [role for role, _ in sent(model)] == ["user", "assistant"] * 2 + ["user"]


def test_a_fresh_process_loads_it_all(
    house: House, elsewhere: House, model: DemoModel, device: UUID, loaded: list[list[int]]
) -> None:
    for text in ("one", "two"):
        answer(house, arrival(device, text))
    answer(elsewhere, arrival(device, "three"))
    assert loaded[-1] == [1, 2, 3, 4, 5]
    assert said(model) == ["one", "two", "three"]


def test_what_another_process_answered_meanwhile_is_loaded_and_no_more(
    house: House, elsewhere: House, model: DemoModel, device: UUID, loaded: list[list[int]]
) -> None:
    answer(house, arrival(device, "one"))
    answer(elsewhere, arrival(device, "two"))
    answer(house, arrival(device, "three"))
    assert loaded == [[1], [1, 2, 3], [3, 4, 5]]
    assert said(model) == ["one", "two", "three"]


def test_tool_rounds_are_remembered_too(
    house: House, model: DemoModel, device: UUID, loaded: list[list[int]]
) -> None:
    model.replies.add(Reply(call("peek")))
    answer(house, arrival(device, "one"))
    answer(house, arrival(device, "two"))
    assert loaded == [[1], [5]]
    assert [role for role, _ in sent(model)] == ["user", "assistant", "user", "assistant", "user"]


@pytest.mark.parametrize("by_itself", [True, False], ids=["by this process", "by another"])
def test_after_a_rollback_nothing_of_it_is_remembered(
    house: House,
    elsewhere: House,
    model: DemoModel,
    device: UUID,
    loaded: list[list[int]],
    database_url: str,
    by_itself: bool,
) -> None:
    """The process saw the beginning of the turn that was taken back."""
    answer(house, arrival(device, "before"))
    other = house if by_itself else elsewhere
    quick = dataclasses.replace(other.turns.reception, lease_ttl_s=2.0, lease_margin_s=0.5)
    other.turns.reception = quick
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(answer, other, arrival(device, "first"))
        try:
            assert model.requests.wait_for(2)
            second = answer(other, arrival(device, "second", on_busy="rollback"))
            assert first.result(20).status == "cancelled"
        finally:
            gate.set()
    assert second.status == "completed"
    answer(house, arrival(device, "third"))
    assert said(model) == ["before", "second", "third"]
    assert run(database_url, "SELECT rewrites FROM conversation_states") == [(1,)]


def test_a_rollback_makes_the_process_that_remembers_load_it_again(
    house: House, elsewhere: House, model: DemoModel, device: UUID, loaded: list[list[int]], database_url: str
) -> None:
    answer(house, arrival(device, "one"))
    answer(house, arrival(device, "two"))
    run(database_url, "UPDATE messages SET left_out = true WHERE seq <= 2")
    run(database_url, "UPDATE conversation_states SET rewrites = rewrites + 1, version = version + 1")
    answer(house, arrival(device, "three"))
    assert loaded[-1] == [3, 4, 5]
    assert said(model) == ["two", "three"]


def test_a_holder_that_lost_its_turn_remembers_nothing_of_it(
    house: House, elsewhere: House, model: DemoModel, device: UUID, loaded: list[list[int]], database_url: str
) -> None:
    answer(house, arrival(device, "one"))
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(answer, house, arrival(device, "two", "k"))
        try:
            assert model.requests.wait_for(2)
            expire(database_url)
            assert answer(elsewhere, arrival(device, "two", "k")).status == "completed"
        finally:
            gate.set()
        assert slow.result(20).status == "completed"
    answer(house, arrival(device, "three"))
    assert loaded[-1] == [1, 2, 3, 4, 5], "what it had is thrown away"
    assert said(model) == ["one", "two", "three"]


def test_a_turn_that_a_worker_of_this_process_goes_on_with_is_not_loaded_again(
    house: House, model: DemoModel, device: UUID, loaded: list[list[int]]
) -> None:
    workers = house.start_workers(threads=1, sweep_every_s=60)
    answer(house, arrival(device, "one"))
    turn = answer(house, arrival(device, "two"), 0)
    until(lambda: house.turns.look(DeviceId(device), turn.id, 0).is_over)
    workers.stop()
    answer(house, arrival(device, "three"))
    assert loaded == [[1], [3], [], [5]]
    assert said(model) == ["one", "two", "three"]


def test_a_message_that_is_refused_costs_the_process_no_memory(
    house: House, model: DemoModel, device: UUID, loaded: list[list[int]]
) -> None:
    """A retry is answered from what is stored; the conversation is still remembered after it."""
    answer(house, arrival(device, "one", "k"))
    answer(house, arrival(device, "one", "k"))
    answer(house, arrival(device, "two"))
    assert loaded == [[1], [3]]


# ---- the memory itself


def remembered(number: int) -> tuple[Remembered, Conversation]:
    message = Message(1, "user", [{"type": "text", "text": str(number)}])
    return Remembered(SessionId(UUID(int=number)), 0, 1), Conversation([message])


def test_a_conversation_that_is_taken_out_is_nobody_elses() -> None:
    memory, device = Memory(), DeviceId(uuid4())
    kept = remembered(1)
    memory.put(*kept, device)
    assert memory.of_device(device) == kept
    assert memory.of_device(device) is None
    assert memory.of_session(kept[0].session_id) is None
    memory.put(*kept)
    assert memory.of_device(device) == kept, "the device is still known"


def test_memory_has_an_end() -> None:
    memory = Memory(room=2)
    for number in range(5):
        memory.put(*remembered(number), DeviceId(UUID(int=number)))
    assert [memory.of_device(DeviceId(UUID(int=n))) is not None for n in range(5)] == [False] * 3 + [True] * 2
