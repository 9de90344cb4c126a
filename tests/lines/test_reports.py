"""Each stint with a turn is reported once: what became of it, and where its time, its tokens and its money went."""

import dataclasses
import logging
from collections.abc import Iterator
from time import perf_counter
from typing import Any
from uuid import UUID, uuid4

import pytest

from core import reports
from core.about import short
from core.errors import DatabaseUnavailable
from core.house import House, build_house
from core.ids import DeviceId
from core.reports import Report
from core.settings import Settings
from core.stopwatch import CLAIM, COMMITS, FINISH, MODEL, OWN, TOOLS, Stopwatch
from core.store import ends
from core.store.database import Database
from dev.demo_model import DemoModel, Fault, Reply
from functions import metrics
from tests.agents import Workshop, call
from tests.bells import Deaf
from tests.conversations import answer, arrival, dead, held, taken, waiting
from tests.lines.emf import broken_rules
from tests.lines.on_lambda import Log


@pytest.fixture
def told() -> list[Report]:
    return []


@pytest.fixture
def house(settings: Settings, shop: Workshop, told: list[Report]) -> Iterator[House]:
    built = build_house(settings, shop.roster(), told.append)
    yield built
    built.close()


def test_a_turn_that_was_answered(house: House, model: DemoModel, device: UUID, told: list[Report]) -> None:
    begun = perf_counter()
    turn = answer(house, arrival(device))
    took_s = perf_counter() - begun
    (report,) = told
    assert (report.became, report.code, report.agent) == ("completed", None, "manager")
    assert (report.turn, report.session, report.epoch) == (str(turn.id), short(turn.session_id), 1)  # type: ignore[arg-type]  # it is stored
    assert (report.asked, report.ran, report.commits, report.crashes, report.loaded) == (1, 0, 1, 0, 1)
    assert report.usage == turn.usage
    assert report.cost_usd == turn.usage["cost_micros"] / 1_000_000
    assert 0.5 * took_s < report.total_s <= took_s
    assert report.first_word_s is not None
    assert 0 < report.first_word_s <= report.spent_s[MODEL]


def test_each_part_of_the_time_goes_where_it_belongs(
    house: House,
    model: DemoModel,
    device: UUID,
    shop: Workshop,
    told: list[Report],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop.does["peek"] = lambda *_: str(_later(0.25))
    model.faults.add(Fault.delay(0.4))
    model.replies.add(Reply(call("peek", "pay")), Reply("There."))
    real = Database.row

    def slow(self: Database, statement: Any, parameters: Any) -> Any:
        if statement is ends._FINISH:
            _later(0.1)
        return real(self, statement, parameters)

    monkeypatch.setattr(Database, "row", slow)
    answer(house, arrival(device))
    (report,) = told
    assert (report.asked, report.ran, report.commits) == (2, 2, 3)
    assert report.spent_s[MODEL] >= 0.4
    # On a busy machine some of it is over before it is waited for.
    assert 0.1 <= report.spent_s[TOOLS] < 1
    assert 0.1 <= report.spent_s[FINISH] < 1
    assert 0 < report.spent_s[COMMITS] < 0.5
    assert report.spent_s[CLAIM] > 0
    assert report.overhead_s == pytest.approx(report.total_s - report.spent_s[MODEL] - report.spent_s[TOOLS])


def _later(wait_s: float) -> float:
    until = perf_counter() + wait_s
    while perf_counter() < until:
        pass
    return wait_s


def test_a_turn_that_failed_says_why(
    house: House, model: DemoModel, device: UUID, told: list[Report]
) -> None:
    model.faults.add(Fault.status(400))
    assert answer(house, arrival(device)).status == "failed"
    assert [(report.became, report.code) for report in told] == [("failed", "model_rejected_request")]


def test_a_turn_that_waits_for_a_person_and_is_gone_on_with(
    house: House, model: DemoModel, device: UUID, told: list[Report]
) -> None:
    asked = waiting(house, model, device)
    house.turns.decide(DeviceId(device), asked.id, yes=True)
    turn = house.turns.look(DeviceId(device), asked.turn_id, 20)
    assert [report.became for report in told] == ["waiting", "completed"]
    assert [report.turn for report in told] == [str(turn.id)] * 2
    assert turn.usage == _sum(told)


def test_a_turn_that_was_handed_over_is_told_by_each_that_had_it(
    house: House, model: DemoModel, device: UUID, told: list[Report]
) -> None:
    """Their tokens add up to the turn's, so nothing is counted twice."""
    # The model's client is slow to load, and this is about a turn that has little time.
    answer(house, arrival(uuid4()))
    told.clear()
    house.turns.wakeups = Deaf()
    model.replies.add(Reply(call("peek")))
    # A tool may take longer than is left.
    house.turns.limits = dataclasses.replace(house.turns.limits, turn_budget_s=8)
    turn = answer(house, arrival(device), 8)
    assert turn.status == "queued"
    house.turns.work(turn.session_id)  # type: ignore[arg-type]  # it is stored
    assert [report.became for report in told] == ["handed_over", "completed"]
    assert [(report.asked, report.ran) for report in told] == [(1, 0), (1, 1)]
    assert house.turns.look(DeviceId(device), turn.id, 0).usage == _sum(told)


def _sum(told: list[Report]) -> dict[str, int]:
    return {kind: sum(report.usage[kind] for report in told) for kind in told[0].usage}


def test_a_turn_that_somebody_stopped(house: House, device: UUID, told: list[Report]) -> None:
    holding = held(house, arrival(device))
    house.turns.cancel(DeviceId(device), holding.hold.turn_id)
    house.turns.story.go_through(holding, house.turns._inline(holding.lease.trusted_until))
    assert [(report.became, report.code) for report in told] == [("cancelled", "turn_cancelled")]


def test_a_turn_that_another_took_over(
    house: House, device: UUID, database_url: str, told: list[Report]
) -> None:
    holding = dead(house, database_url, arrival(device))
    assert taken(house, holding.hold.session_id)
    house.turns.story.go_through(holding, house.turns._inline(holding.lease.trusted_until))
    assert [(report.became, report.epoch) for report in told] == [("lost", 1)]


def test_a_turn_that_a_function_died_over_says_how_often(
    house: House, device: UUID, database_url: str, told: list[Report]
) -> None:
    holding = dead(house, database_url, arrival(device))
    house.turns.work(holding.hold.session_id)
    assert [(report.became, report.crashes) for report in told] == [("completed", 1)]


@pytest.mark.parametrize("error", [DatabaseUnavailable(), KeyError("a defect")])
def test_a_turn_that_an_error_broke_off(
    house: House, device: UUID, told: list[Report], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def breaks(*_: Any) -> None:
        raise error

    holding = held(house, arrival(device))
    monkeypatch.setattr(type(house.turns.asking), "prompt", breaks)
    with pytest.raises(type(error)):
        house.turns.story.go_through(holding, house.turns._inline(holding.lease.trusted_until))
    assert [report.became for report in told] == ["broken_off"]


def test_a_price_that_is_not_known_is_not_nothing(
    house: House, device: UUID, told: list[Report], log: Log
) -> None:
    house.turns.asking.default_model = "claude-of-next-year"
    answer(house, arrival(device))
    metrics.stint(told[0])
    assert told[0].cost_usd is None
    assert "CostUsd" not in log.metrics[-1]
    assert log.metrics[-1]["InputTokens"] > 0


def test_a_warm_process_reads_only_what_is_new(house: House, device: UUID, told: list[Report]) -> None:
    for _ in range(3):
        answer(house, arrival(device))
    assert [report.loaded for report in told] == [1, 1, 1]


# ---- as it is told


def test_a_report_is_one_line_of_metrics(
    house: House, model: DemoModel, device: UUID, told: list[Report], log: Log
) -> None:
    model.replies.add(Reply(call("peek")), Reply("There."))
    turn = answer(house, arrival(device))
    metrics.stint(told[0])
    (line,) = log.metrics
    assert broken_rules(line) == []
    assert (line["Turns"], line["status"], line["agent"], line["turn"]) == (
        1,
        "completed",
        "manager",
        str(turn.id),
    )
    assert (line["model_calls"], line["tool_calls"], line["commits"], line["attempt"]) == (2, 1, 3, 1)
    assert line["InputTokens"] == turn.usage["input_tokens"]
    parts = ("ClaimTime", "ModelTime", "ToolTime", "commit_ms", "finish_ms", "own_ms")
    assert line["TurnTime"] == pytest.approx(sum(line[part] for part in parts), abs=0.1)
    assert line["CommitTime"] == pytest.approx(line["commit_ms"] + line["finish_ms"])
    assert "HandedOver" not in line
    assert "TurnsFailed" not in line


@pytest.mark.parametrize(("became", "name"), [("handed_over", "HandedOver"), ("failed", "TurnsFailed")])
def test_what_alarms_look_for_is_counted(
    house: House, device: UUID, told: list[Report], log: Log, became: str, name: str
) -> None:
    answer(house, arrival(device))
    metrics.stint(dataclasses.replace(told[0], became=became, asked=0))
    (line,) = log.metrics
    assert line[name] == 1
    assert "InputTokens" not in line, "it asked no model"
    assert broken_rules(line) == []


def test_on_this_machine_it_is_a_line_for_people(
    settings: Settings, device: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    house = build_house(settings)
    with caplog.at_level(logging.INFO, "core.reports"):
        turn = answer(house, arrival(device))
    house.close()
    (said,) = [record.getMessage() for record in caplog.records if record.name == "core.reports"]
    assert said.startswith(f"turn {turn.id} completed by manager in ")
    assert "model " in said
    assert "$0.0" in said


def test_whoever_reads_no_lines_does_not_pay_for_them(
    house: House, device: UUID, told: list[Report], caplog: pytest.LogCaptureFixture
) -> None:
    answer(house, arrival(device))
    with caplog.at_level(logging.WARNING, "core.reports"):
        reports.log(told[0])
    assert caplog.records == []


# ---- the stopwatch


def test_within_a_purpose_another_one_takes_its_time() -> None:
    watch = Stopwatch()
    with watch.on(TOOLS, 2):
        _later(0.02)
        with watch.on(COMMITS):
            _later(0.05)
        _later(0.02)
    spent_s = watch.stop()
    assert 0.04 <= spent_s[TOOLS] < 0.06
    assert 0.05 <= spent_s[COMMITS] < 0.07
    assert spent_s[OWN] < 0.02
    assert (watch.times[TOOLS], watch.times[COMMITS]) == (2, 1)


def test_a_purpose_that_an_error_ended_is_over() -> None:
    watch = Stopwatch()
    with pytest.raises(KeyError), watch.on(MODEL):
        raise KeyError
    _later(0.02)
    assert watch.stop()[OWN] >= 0.02
