"""A plain turn is two statements in two round trips, and holds no connection while the model answers."""

import threading
from uuid import uuid4

from starlette.testclient import TestClient

from core.house import build_house
from core.settings import Settings, read_settings
from dev.demo_model import DemoModel, Fault, Reply
from functions.app import build_app
from tests.agents import Workshop, call
from tests.databases import run
from tests.wire import WireCounter


def _settings(url: str, model: DemoModel) -> Settings:
    environ = {
        "DATABASE_URL": url,
        "ACCESS_MODE": "open",
        "ANTHROPIC_API_KEY": "demo",
        "ANTHROPIC_BASE_URL": model.url,
    }
    return read_settings(environ)


def test_a_plain_turn_is_two_statements_in_two_round_trips(database_url: str, model: DemoModel) -> None:
    with WireCounter(database_url) as wire:
        house = build_house(_settings(wire.url, model))
        with TestClient(
            build_app(house, one_at_a_time=True), headers={"X-Device-ID": str(uuid4())}
        ) as client:
            assert client.post("/v1/turns", json={"message": "Hello"}).status_code == 200
            for _ in range(3):
                wire.count.clear()
                assert client.post("/v1/turns", json={"message": "And again"}).json()["status"] == "completed"
                assert len(wire.count.statements) == 2, wire.count.statements
                assert wire.count.round_trips == 2
                assert wire.count.connections == 0, "a warm process keeps its connection"
        house.close()


def test_the_first_turn_of_a_new_device_is_no_dearer(database_url: str, model: DemoModel) -> None:
    with WireCounter(database_url) as wire:
        house = build_house(_settings(wire.url, model))
        app = build_app(house, one_at_a_time=True)
        with TestClient(app) as client:
            client.post("/v1/turns", json={"message": "Hello"}, headers={"X-Device-ID": str(uuid4())})
            wire.count.clear()
            client.post("/v1/turns", json={"message": "Hello"}, headers={"X-Device-ID": str(uuid4())})
            assert (len(wire.count.statements), wire.count.round_trips) == (2, 2)
        house.close()


def test_a_failed_turn_is_two_statements_too(database_url: str, model: DemoModel) -> None:
    with WireCounter(database_url) as wire:
        house = build_house(_settings(wire.url, model))
        with TestClient(
            build_app(house, one_at_a_time=True), headers={"X-Device-ID": str(uuid4())}
        ) as client:
            client.post("/v1/turns", json={"message": "Hello"})
            wire.count.clear()
            model.faults.add(Fault.status(402))
            assert client.post("/v1/turns", json={"message": "Hello"}).json()["status"] == "failed"
            assert (len(wire.count.statements), wire.count.round_trips) == (2, 2)
        house.close()


def test_no_connection_is_held_while_the_model_answers(database_url: str, model: DemoModel) -> None:
    """With a single connection, a second caller would otherwise wait for the model."""
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    house = build_house(_settings(database_url, model))
    with TestClient(build_app(house, one_at_a_time=False)) as client:
        asking = threading.Thread(
            target=client.post,
            args=("/v1/turns",),
            kwargs={"json": {"message": "Hello"}, "headers": {"X-Device-ID": str(uuid4())}},
        )
        asking.start()
        try:
            assert model.requests.wait_for(1)
            mine = (
                "FROM pg_stat_activity WHERE application_name = 'latchkey' AND datname = current_database()"
            )
            assert run(database_url, f"SELECT state {mine}") == [("idle",)]
            assert client.get("/ready").status_code == 200
        finally:
            gate.set()
            asking.join(10)
    house.close()


def test_a_turn_with_a_tool_round_is_four_statements_in_four_round_trips(
    database_url: str, model: DemoModel
) -> None:
    shop = Workshop()
    with WireCounter(database_url) as wire:
        house = build_house(_settings(wire.url, model), shop.roster())
        with TestClient(
            build_app(house, one_at_a_time=True), headers={"X-Device-ID": str(uuid4())}
        ) as client:
            client.post("/v1/turns", json={"message": "Hello"})
            for tools in (["peek"], ["pay"], ["post"], ["peek", "pay"]):
                wire.count.clear()
                model.replies.add(Reply(call(*tools)))
                turn = client.post("/v1/turns", json={"message": "And now"}).json()
                assert turn["status"] == "completed"
                assert len(turn["tool_calls"]) == len(tools)
                assert len(wire.count.statements) == 4, wire.count.statements
                assert wire.count.round_trips == 4
        house.close()
