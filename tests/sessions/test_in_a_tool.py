"""A tool keeps its own state of the conversation that it runs in, with a manager of its team's."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from core.agents.tool import Arguments, ToolContext
from core.house import House, build_house
from core.ids import DeviceId
from core.sessions.manager import SessionManager
from core.sessions.postgres import PostgresStorage
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
    desks = SessionManager(Desk, PostgresStorage(house.database), namespace="desk")

    def open_ticket(context: ToolContext, _: Arguments) -> str:
        desks.create(context.session_id, user_id=context.user_id)
        for _again in range(2):  # as after a crash: the same key
            desk = desks.update(
                context.session_id,
                lambda s: s.with_state(Desk([*s.state.tickets, "x"])),
                key=context.idempotency_key,
            )
        return f"{len(desk.state.tickets)} tickets"

    shop.does["pay"] = open_ticket
    for number in (1, 2):
        model.replies.add(Reply(call("pay")))
        turn = answer(house, arrival(device))
        assert turn.status == "completed"
        assert turn.session_id is not None
        found = desks.get(turn.session_id)
        assert found is not None
        assert len(found.state.tickets) == number
    house.sessions.end_session(DeviceId(device))
    assert desks.get(found.id) is None
