"""Where a conversation stands, as `GET /v1/session` tells it in `state`."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from core.agents.tool import Arguments, ToolContext
from core.house import build_house
from core.settings import Settings
from dev.demo_model import DemoModel, Fault, Reply
from functions.app import build_app
from tests.agents import Workshop, call
from tests.conversations import until


@pytest.fixture
def client(settings: Settings, shop: Workshop) -> Iterator[TestClient]:
    house = build_house(settings, shop.roster())
    with TestClient(build_app(house, one_at_a_time=False), headers={"X-Device-ID": str(uuid4())}) as client:
        yield client
    house.close()


def state(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/v1/session").json()["state"]
    return found


def send(client: TestClient) -> dict[str, Any]:
    turn: dict[str, Any] = client.post("/v1/turns", json={"message": "Hello"}).json()
    return turn


def test_what_is_going_on_is_told_while_it_goes_on(
    client: TestClient, model: DemoModel, shop: Workshop
) -> None:
    gate, tool_gate = threading.Event(), threading.Event()

    def stay(_: ToolContext, __: Arguments) -> str:
        assert tool_gate.wait(20)
        return "seen"

    send(client)
    assert state(client)["active_step"] == "idle"
    shop.does = {"peek": stay}
    model.replies.add(Reply(call("peek")))
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        turn = pool.submit(send, client)
        until(lambda: state(client)["active_step"] == "model")
        gate.set()
        until(lambda: state(client)["active_step"] == "tools")
        tool_gate.set()
        assert turn.result(20)["status"] == "completed"
    model.replies.add(Reply(call("burn")))
    assert send(client)["status"] == "waiting"
    assert state(client)["active_step"] == "waiting"


def test_the_tools_used_lately_and_what_it_has_come_to(client: TestClient, model: DemoModel) -> None:
    send(client)
    assert state(client)["recent_tools"] == []
    model.replies.add(Reply(call("peek")), Reply("done"), Reply(call("pay")), Reply(call("peek")))
    send(client)
    assert state(client)["recent_tools"] == ["peek"]
    send(client)
    assert state(client)["recent_tools"] == ["peek", "pay"]
    session = client.get("/v1/session").json()
    usage = session["usage"]
    assert session["state"]["sequence"] == client.get("/v1/session/messages").json()["items"][-1]["seq"]
    assert session["state"]["tokens_used"] == sum(
        usage[kind] for kind in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    )
    assert session["state"]["tokens_used"] > 0
