"""A turn tells what its time went into, who worked on it, and where its history came from; also over several functions."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from core.house import House, build_house
from core.ids import DeviceId
from core.run import Run
from core.settings import Settings
from core.stopwatch import Stopwatch
from dev.demo_model import DemoModel, Reply
from tests.agents import Workshop, call
from tests.conversations import answer, arrival, asking, expire, held, waiting
from tests.databases import run


@pytest.fixture
def house(settings: Settings, shop: Workshop) -> Iterator[House]:
    built = build_house(settings, shop.roster())
    yield built
    built.close()


def runs(url: str) -> list[dict[str, Any]]:
    return [one for (one,) in run(url, "SELECT usage -> 'run' FROM turns ORDER BY created_at")]


def test_where_the_history_came_from(
    house: House, settings: Settings, shop: Workshop, database_url: str, device: UUID
) -> None:
    answer(house, arrival(device))
    answer(house, arrival(device))
    another = build_house(settings, shop.roster())
    answer(another, arrival(device))
    another.close()
    assert [one["history"] for one in runs(database_url)] == ["new", "kept", "rows"]
    assert [one["epochs"] for one in runs(database_url)] == [[1], [2], [3]]


def test_each_stage_has_its_time(house: House, model: DemoModel, database_url: str, device: UUID) -> None:
    answer(house, arrival(device))
    model.replies.add(Reply(call("peek")))
    turn = answer(house, arrival(device, "look"))
    plain, with_tool = runs(database_url)
    assert plain["tools"] == 0
    assert all(with_tool[stage] > 0 for stage in ("claim", "model", "tools", "finish"))
    took = (
        run(database_url, "SELECT extract(epoch FROM ended_at - created_at)::float FROM turns")[1][0] * 1000
    )
    assert with_tool["model"] + with_tool["tools"] < took + 1
    assert "run" not in turn.usage


def test_stints_add_up(house: House, model: DemoModel, database_url: str, device: UUID) -> None:
    """It waited for a person, and another function went on with it."""
    approval = waiting(house, model, device)
    (before,) = runs(database_url)
    assert (before["history"], before["epochs"]) == ("new", [1])
    house.turns.decide(DeviceId(device), approval.id, yes=True)
    house.turns.work(approval.session_id)
    (after,) = runs(database_url)
    assert (after["history"], after["epochs"]) == ("new", [1, 2])
    assert all(after[stage] > before[stage] for stage in ("claim", "model", "tools", "finish"))
    assert run(database_url, "SELECT status, crashes FROM turns") == [("completed", 0)]


def test_what_a_function_that_died_had_committed_stays(
    house: House, shop: Workshop, model: DemoModel, database_url: str, device: UUID
) -> None:
    holding = held(house, arrival(device))
    model.replies.add(Reply(call("peek")))
    asking(holding, house, shop.roster().manager)
    (before,) = runs(database_url)
    expire(database_url)
    house.turns.work(holding.hold.session_id)
    (after,) = runs(database_url)
    assert after["epochs"] == [1, 2]
    assert after["model"] > before["model"]
    assert run(database_url, "SELECT status, crashes FROM turns") == [("completed", 1)]


def test_one_that_is_handed_over_without_end_stays_small() -> None:
    before: dict[str, Any] = {}
    for epoch in range(1, 100):
        before = Run(before, epoch, "new", Stopwatch()).so_far()
    assert before["epochs"] == list(range(80, 100))
