"""The questions on the page of the log can be asked, and their answers are right, of lines that were really written."""

import re
from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from core.house import build_house
from core.settings import Settings
from dev.demo_model import DemoModel, Fault, Reply
from functions import invocations, metrics
from functions.app import build_app
from tests.agents import Workshop, call
from tests.bells import Deaf
from tests.conversations import arrival, dead
from tests.databases import ROOT
from tests.lines.insights import ask
from tests.lines.on_lambda import CONTEXT, Log

PAGE = (ROOT / "docs" / "logs.md").read_text()
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
QUESTIONS = re.findall(r"```insights\n(.*?)```", PAGE + RUNBOOK, re.DOTALL)

Line = dict[str, Any]


@pytest.fixture
def night(
    settings: Settings, shop: Workshop, model: DemoModel, log: Log, device: UUID, database_url: str
) -> list[Line]:
    """A few turns of every fate: answered, failed, handed over and gone on with, crashed; and a defect."""
    house = build_house(settings, shop.roster(), metrics.stint)
    with TestClient(build_app(house, one_at_a_time=True), headers={"X-Device-ID": str(device)}) as client:

        def say(**more: Any) -> Any:
            with invocations.invocation(CONTEXT):
                return client.post("/v1/turns", json={"message": "Hello", **more}).json()

        model.replies.add(Reply(call("peek")), Reply("There."))
        say()
        house.turns.asking.default_model = "claude-of-next-year"
        say()
        house.turns.asking.default_model = settings.anthropic_model
        model.faults.add(Fault.status(400))
        say()
        house.turns.wakeups = Deaf()
        handed_over = say(wait_s=0)
        with invocations.invocation(CONTEXT):
            house.turns.work(handed_over["session_id"])
        with invocations.invocation(CONTEXT):
            crashed = dead(house, database_url, arrival(device))
            house.turns.work(crashed.hold.session_id)
        house.turns.roster = None  # type: ignore[assignment]  # a defect
        say()
    house.close()
    assert {line["status"] for line in log.of("Turns")} == {
        "completed",
        "failed",
        "handed_over",
        "broken_off",
    }
    # As CloudWatch adds them.
    return [{"@timestamp": number, "@message": "", **line} for number, line in enumerate(log.all)]


def test_each_question_has_an_answer(night: list[Line]) -> None:
    assert len(QUESTIONS) >= 12
    some = next(line for line in night if line.get("status") == "handed_over")
    for question in QUESTIONS:
        asked = question
        for name in ("turn", "session", "request_id"):
            asked = asked.replace(f"<{name}>", some[name])
        assert ask(asked, night), f"no line answers:\n{question}"


def _asked(start: str, night: list[Line], **given: str) -> list[Line]:
    (question,) = [
        found
        for title, found in re.findall(r"\n([^\n]+):\n\n```insights\n(.*?)```", PAGE, re.DOTALL)
        if title.startswith(start)
    ]
    for name, value in given.items():
        question = question.replace(f"<{name}>", value)
    return ask(question, night)


def test_the_way_of_a_turn_is_told_from_its_first_function_to_its_last(night: list[Line]) -> None:
    turn = next(line["turn"] for line in night if line.get("status") == "handed_over")
    way = [line["status"] for line in _asked("What became of a turn", night, turn=turn) if "status" in line]
    assert way == ["handed_over", "completed"]


def test_what_it_costs_is_what_the_turns_cost(night: list[Line], database_url: str) -> None:
    (row,) = _asked("What it costs", night)
    cost = sum(line["CostUsd"] for line in night if "CostUsd" in line)
    assert row["dollars"] == pytest.approx(cost)
    assert row["dollars"] > 0


def test_the_slowest_claim_comes_first(night: list[Line]) -> None:
    claims = [line["ClaimTime"] for line in _asked("The slowest claims", night)]
    assert claims == sorted((line["ClaimTime"] for line in night if "ClaimTime" in line), reverse=True)


def test_why_turns_fail_is_told_by_code(night: list[Line]) -> None:
    assert _asked("Why turns fail", night) == [
        {"code": "model_rejected_request", "agent": "manager", "turns": 1}
    ]


def test_who_was_handed_over_and_who_died_is_found(night: list[Line]) -> None:
    assert len(_asked("Which turns were handed over", night)) == 1
    assert [line["attempt"] for line in _asked("Turns that functions died over", night)] == [1, 2]


def test_defects_are_counted_by_kind_and_place(night: list[Line]) -> None:
    (row,) = _asked("Defects", night)
    assert (row["errorType"], row["times"]) == ("AttributeError", 1)


def test_a_question_that_is_not_understood_is_no_answer() -> None:
    for wrong in ("parse @message", "filter nothing ~= 1", "fields wonders"):
        with pytest.raises((AssertionError, KeyError, SyntaxError)):
            ask(wrong, [{"a": 1}])
