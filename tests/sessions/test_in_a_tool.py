"""A tool keeps its own state of the conversation that it runs in, with a manager of its team's."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from uuid import UUID

import pytest

from core.agents.tool import Arguments, ToolContext
from core.cache.allowance import allowance, one_request
from core.house import House, build_house
from core.ids import DeviceId
from core.sessions.manager import SessionManager
from core.sessions.session import Session
from core.settings import Settings
from dev.demo_model import DemoModel, Reply
from tests.agents import Workshop, call
from tests.conversations import answer, arrival, refusals


@dataclass
class Desk:
    tickets: list[str] = field(default_factory=list)


@pytest.fixture
def house(settings: Settings, shop: Workshop, model: DemoModel) -> Iterator[House]:
    built = build_house(settings, shop.roster())
    yield built
    built.close()
    assert refusals(model) == []


def test_what_a_tool_keeps_is_there_in_the_next_turn_and_ends_with_the_conversation(
    house: House, shop: Workshop, model: DemoModel, device: UUID
) -> None:
    kept = cache(lambda storage: SessionManager(Desk, storage, namespace="desk"))
    desks = house.session_manager(Desk, namespace="desk")

    def open_ticket(context: ToolContext, _: Arguments) -> str:
        mine = kept(context.storage)
        mine.create(context.session_id, user_id=context.user_id)
        for _again in range(2):  # as after a crash: the same key
            desk = mine.update(
                context.session_id,
                lambda s: s.with_state(Desk([*s.state.tickets, "x"])),
                key=context.idempotency_key,
            )
        return f"{len(desk.state.tickets)} tickets"

    shop.does["pay"] = open_ticket
    found: Session[Desk] | None = None
    for number in (1, 2):
        model.replies.add(Reply(call("pay")))
        turn = answer(house, arrival(device))
        assert turn.status == "completed"
        assert turn.session_id is not None
        found = desks.get(turn.session_id)
        assert found is not None
        assert len(found.state.tickets) == number
    house.sessions.end_session(DeviceId(device))
    assert found is not None
    assert desks.get(found.id) is None


def test_what_a_tool_waits_for_redis_its_request_has_waited(
    house: House, shop: Workshop, model: DemoModel, device: UUID
) -> None:
    def wait(_: ToolContext, __: Arguments) -> str:
        with allowance(9).waiting() as left_s:
            return f"{left_s} s"

    shop.does["pay"] = wait
    model.replies.add(Reply(call("pay")))
    with one_request(0.5):
        assert answer(house, arrival(device)).status == "completed"
        assert allowance(9).left_s() < 0.5


def test_what_is_done_with_the_sessions_of_a_house_is_in_its_figures(house: House) -> None:
    house.session_manager(Desk, namespace="desk").create()
    assert house.figures.snapshot()["sessions.created"] == 1
