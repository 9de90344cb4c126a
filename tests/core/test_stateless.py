"""With the database away: an error, or an answer that says of itself that it knows nothing and was not stored."""

from dataclasses import replace
from uuid import UUID

import pytest

from core.errors import DatabaseUnavailable
from core.house import House, build_house
from core.settings import Secret, Settings
from dev.demo_model import DemoModel, Reply
from functions.answers import turn_shape
from functions.shapes import TurnShape
from tests.agents import Workshop
from tests.conversations import answer, arrival, refusals
from tests.databases import run

NOWHERE = Secret("postgresql+psycopg2://nobody@127.0.0.1:1/none")


def away(settings: Settings, chosen: str) -> House:
    gone = replace(settings, database_url=NOWHERE, without_database=chosen)
    return build_house(gone, Workshop().roster())


def test_an_error_unless_it_was_chosen(settings: Settings, model: DemoModel, device: UUID) -> None:
    house = away(settings, "error")
    with pytest.raises(DatabaseUnavailable):
        answer(house, arrival(device))
    assert len(model.requests) == 0
    house.close()


def test_the_stateless_answer_says_what_it_is(settings: Settings, model: DemoModel, device: UUID) -> None:
    house = away(settings, "stateless")
    model.replies.add(Reply("I cannot see what we said before. It rains."))
    turn = answer(house, arrival(device, "What is the weather?"))
    assert (turn.status, turn.stateless, turn.session_id) == ("completed", True, None)
    assert turn.reply == "I cannot see what we said before. It rains."
    assert turn.usage["output_tokens"] > 0
    TurnShape.model_validate(turn_shape(turn))
    (request,) = model.requests
    assert "nothing will be remembered" in request.body["system"][0]["text"]
    assert "tools" not in request.body
    assert len(request.body["messages"]) == 1
    assert refusals(model) == []
    house.close()


@pytest.mark.parametrize(
    ("reply", "code"),
    [(Reply("No.", stop_reason="refusal"), "model_refused"), (Reply("Late", delay_s=3), "model_timeout")],
)
def test_a_model_that_fails_as_well_is_a_failed_turn(
    settings: Settings, model: DemoModel, device: UUID, reply: Reply, code: str
) -> None:
    house = away(replace(settings, turn_budget_s=2), "stateless")
    model.replies.add(reply)
    turn = answer(house, arrival(device))
    assert (turn.status, turn.error and turn.error["code"], turn.stateless) == ("failed", code, True)
    house.close()


def test_with_the_database_there_nothing_is_stateless(
    settings: Settings, model: DemoModel, device: UUID, database_url: str
) -> None:
    house = build_house(replace(settings, without_database="stateless"))
    turn = answer(house, arrival(device))
    assert (turn.status, turn.stateless) == ("completed", False)
    assert run(database_url, "SELECT count(*) FROM turns") == [(1,)]
    house.close()
