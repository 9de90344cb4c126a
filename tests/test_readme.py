"""What the README shows runs when it is pasted."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from core.agents.clinic.billing import BILLING
from core.agents.clinic.manager import MANAGER
from core.agents.clinic.scheduling import SCHEDULING
from core.agents.roster import Roster
from core.house import build_house
from core.settings import Settings
from dev.demo_model import DemoModel
from tests.conversations import answer, arrival, refusals

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.fixture
def parking() -> Iterator[ModuleType]:
    """The file that the README has one write."""
    name, (code,) = "core.agents.parking", re.findall(r"```python\n(from core.*?)```", README, re.DOTALL)
    module = sys.modules[name] = ModuleType(name)
    exec(compile(code, "README.md", "exec"), module.__dict__)
    yield module
    del sys.modules[name]


def test_an_agent_with_one_tool_is_one_file_and_one_line(
    settings: Settings, model: DemoModel, device: UUID, parking: ModuleType
) -> None:
    assert "ROSTER = Roster.of(MANAGER, SCHEDULING, BILLING, PARKING)" in README
    house = build_house(settings, Roster.of(MANAGER, SCHEDULING, BILLING, parking.PARKING))
    turn = answer(house, arrival(device, "Is there parking tomorrow?"))
    house.close()
    assert (turn.status, turn.agent) == ("completed", "parking")
    assert "Space 7 is free, tomorrow." in (turn.reply or "")
    assert refusals(model) == []


def test_the_clinic_can_be_talked_through_as_it_says(client: TestClient) -> None:
    said = re.findall(r"curl -s \$U/turns -H \"\$D\" -d '(.*?)'", README)
    turns = [client.post("/v1/turns", content=body).json() for body in said]
    assert [(turn["agent"], turn["status"]) for turn in turns] == [
        ("scheduling", "completed"),
        ("scheduling", "completed"),
        ("billing", "waiting"),
    ]
    assert client.get("/v1/session").json()["active_agent"] == "billing"
    (asked,) = client.get("/v1/approvals").json()["items"]
    (decision,) = re.findall(r"\$U/approvals/ID -H \"\$D\" -d '(.*?)'", README)
    body = {**json.loads(decision), "input_digest": asked["input_digest"]}
    assert client.post(f"/v1/approvals/{asked['id']}", json=body).json()["status"] == "approved"
    paid = client.get(f"/v1/turns/{turns[-1]['id']}", params={"wait_s": 20}).json()
    assert "Invoice 1 over $120.00" in paid["reply"]
    assert "is paid" in paid["reply"]
    assert [note["action"] for note in client.get("/v1/session/audit").json()["items"]][:2] == [
        "lock_set"
    ] * 2


@pytest.mark.parametrize("configured", ["Postgres", "nothing"])
def test_state_of_ones_own_is_kept_as_it_says(configured: str, database_url: str) -> None:
    (code,) = re.findall(r"```python\n(from dataclasses.*?)```", README, re.DOTALL)
    environ = {"DATABASE_URL": database_url} if configured == "Postgres" else {}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "('apples', 'pears')\n"
    assert ("in this process's memory" in ran.stderr) == (configured == "nothing")
