"""GET /v1/admin: the figures go out to operators alone, as they are told in OpenAPI, and without a word of what was said."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from core.house import House, build_house
from core.settings import Secret, Settings
from core.store.daily import YOUNG_S
from dev.demo_model import DemoModel, Fault, Reply
from functions.app import build_app
from functions.shapes_admin import OverviewShape, SeriesShape
from functions.shapes_seen import SeenSessionShape
from tests.agents import Workshop, call
from tests.databases import run

TOKEN = "operators-" + "x" * 32
SHOWN = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    built = build_house(replace(settings, admin_token=Secret(TOKEN)), Workshop().roster())
    yield built
    built.close()


def say(client: TestClient, text: str = "My name is Ada.") -> dict[str, Any]:
    answered: dict[str, Any] = client.post("/v1/turns", json={"message": text}).json()
    return answered


def overview(client: TestClient) -> dict[str, Any]:
    told = client.get("/v1/admin/overview", headers=SHOWN)
    assert told.status_code == 200, told.text
    OverviewShape.model_validate_json(told.text)
    shown: dict[str, Any] = told.json()
    return shown


def read(client: TestClient, **query: object) -> Any:
    return client.get(
        "/v1/admin/series", headers=SHOWN, params={k.rstrip("_"): str(v) for k, v in query.items()}
    )


def test_the_overview_tells_how_it_stands(client: TestClient, model: DemoModel, database_url: str) -> None:
    done = say(client)
    model.replies.add(Reply(call("burn")))
    other = {"X-Device-ID": str(uuid4())}
    assert client.post("/v1/turns", json={"message": "burn it"}, headers=other).json()["status"] == "waiting"
    client.put("/v1/session/lock", json={"agent": "manager"})
    told = overview(client)
    assert {one["agent"]: (one["active"], one["busy"], one["locked"]) for one in told["sessions"]} == {
        None: (1, 0, 0),
        "manager": (1, 0, 1),
    }
    assert (told["kept"], told["more_locks"]) == (2, False)
    assert (told["locks_held"], told["approvals"]) == (1, {"calls": 1, "outcomes": 0})
    assert told["turns"] == {"queued": 0, "running": 0, "waiting": 1, "oldest_queued_s": None}
    today = told["today"]
    assert today["turns"] == {"completed": 1, "waiting": 1}
    assert (today["errors"], today["error_rate"], today["latency"]["count"]) == ({}, 0, 1)
    assert today["sessions"] == {"begun": 2}
    assert (today["recoveries"], today["history"]) == (0, {"new": 2})
    assert {stage: one["count"] for stage, one in today["stages"].items()} == {
        "claim": 1,
        "model": 1,
        "tools": 0,
        "finish": 1,
    }
    ((cost, tokens),) = run(
        database_url,
        "SELECT sum((usage ->> 'cost_micros')::bigint), sum((usage ->> 'input_tokens')::bigint) FROM turns",
    )
    assert today["cost_usd"] == float(cost) / 1_000_000 > 0
    assert today["tokens"]["input"] == tokens
    assert done["usage"]["cost_usd"] <= today["cost_usd"]
    client.delete("/v1/session")
    after = overview(client)["today"]
    assert after["sessions"] == {"begun": 2, "ended": 1}
    assert {**after, "sessions": None} == {**today, "sessions": None}


def test_a_failure_is_counted_by_its_code(client: TestClient, model: DemoModel) -> None:
    model.faults.add(Fault.status(400))
    failed = say(client)
    assert failed["status"] == "failed"
    today = overview(client)["today"]
    assert (today["errors"], today["error_rate"]) == ({failed["error"]["code"]: 1}, 1)


@pytest.mark.parametrize("figure", ["turns", "latency", "stages", "history", "locks"])
@pytest.mark.parametrize(("step", "count"), [("hour", 24), ("day", 30)])
def test_a_series_has_an_item_for_each_step(client: TestClient, figure: str, step: str, count: int) -> None:
    say(client)
    client.put("/v1/session/lock", json={"agent": "manager"})
    told = read(client, figure=figure, step=step)
    assert told.status_code == 200
    SeriesShape.model_validate_json(told.text)
    series = told.json()
    assert len(series["items"]) == count
    assert series["items"][0]["at"] == series["since"] < series["items"][-1]["at"] < series["until"]
    assert series["items"][0] != {**series["items"][-1], "at": series["since"]}


def test_a_range_is_widened_to_whole_steps(client: TestClient) -> None:
    told = read(client, figure="turns", from_="2026-03-01T10:59:59+02:00", to="2026-03-01T09:00:01Z").json()
    assert (told["since"], told["until"]) == ("2026-03-01T08:00:00.000Z", "2026-03-01T10:00:00.000Z")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"figure": "people"}, "figure"),
        ({}, "figure"),
        ({"figure": "turns", "step": "minute"}, "step"),
        ({"figure": "turns", "from_": "yesterday"}, "from"),
        ({"figure": "turns", "from_": "2026-03-01T00:00:00"}, "from"),
        ({"figure": "turns", "to": "2026-03-01T00:00:00"}, "to"),
        ({"figure": "turns", "from_": "2026-03-02T00:00:00Z", "to": "2026-03-02T00:00:00Z"}, "from"),
        ({"figure": "turns", "from_": "0001-01-01T00:00:00+14:00", "to": "0001-01-02T00:00:00Z"}, "from"),
        ({"figure": "turns", "to": "0001-01-01T00:00:00Z"}, "from"),
        ({"figure": "turns", "to": "9999-12-31T23:59:59Z"}, "from"),
        ({"figure": "turns", "from_": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:01Z"}, "from"),
        (
            {"figure": "turns", "from_": "2025-01-01T00:00:00Z", "to": "2026-02-06T00:00:00Z", "step": "day"},
            "from",
        ),
    ],
)
def test_what_is_no_range_is_refused(client: TestClient, query: dict[str, Any], field: str) -> None:
    problem = read(client, **query)
    assert problem.status_code == 422
    assert [error["field"] for error in problem.json()["errors"]] == [field]


def test_a_conversation_is_shown_without_what_was_said_in_it(client: TestClient, model: DemoModel) -> None:
    turn = say(client, "My name is Zanzibar.")
    client.put("/v1/session/lock", json={"agent": "manager", "reason": "Zanzibar asked"})
    told = client.get(f"/v1/admin/sessions/{turn['session_id']}", headers=SHOWN)
    assert told.status_code == 200
    SeenSessionShape.model_validate_json(told.text)
    assert "Zanzibar" not in told.text
    seen = told.json()
    assert (seen["id"], seen["active_agent"], seen["is_alive"]) == (turn["session_id"], "manager", True)
    assert [(t["id"], t["status"], t["ended_at"]) for t in seen["turns"]] == [
        (turn["id"], "completed", turn["ended_at"])
    ]
    assert [note["action"] for note in seen["audit"]] == ["lock_set"]


def test_a_conversation_that_is_not_there_is_not_found(client: TestClient) -> None:
    problem = client.get(f"/v1/admin/sessions/{uuid4()}", headers=SHOWN)
    assert (problem.status_code, problem.json()["code"]) == (404, "session_not_found")


def test_who_is_active_is_not_counted_yet(client: TestClient) -> None:
    assert overview(client)["active_s"] <= YOUNG_S


PATHS = ("overview", "series?figure=turns", f"sessions/{UUID(int=7)}")


@pytest.mark.parametrize("path", PATHS)
def test_nobody_else_is_let_in(client: TestClient, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer " + "y" * 42}, {"Authorization": f"Basic {TOKEN}"}):
        assert client.get(f"/v1/admin/{path}", headers=headers).status_code in (401, 403)


@pytest.mark.parametrize("path", PATHS)
def test_without_a_token_there_is_no_such_path(settings: Settings, path: str) -> None:
    house = build_house(settings)
    with TestClient(build_app(house, one_at_a_time=False)) as client:
        answered = client.get(f"/v1/admin/{path}", headers=SHOWN)
        assert (answered.status_code, answered.json()["code"]) == (404, "not_found")
    house.close()


def test_what_is_asked_of_the_past_is_read_of_the_past(client: TestClient) -> None:
    say(client)
    before = datetime.now(UTC) - timedelta(days=2)
    told = read(client, figure="turns", from_=before.isoformat(), to=(before + timedelta(days=1)).isoformat())
    assert all(item["values"] == {} for item in told.json()["items"])
