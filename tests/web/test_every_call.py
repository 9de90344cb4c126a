"""Each method of functions/web/latchkey.js against real servers, and each call of a user's that docs/openapi.json has."""

import json
import re
from typing import Any

import pytest

from dev.demo_model import DemoModel, Fault, Reply
from tests.agents import call
from tests.databases import ROOT, run
from tests.doors import AUDIENCE, ISSUER, USER_KEY, user_token
from tests.streams.conftest import Serve
from tests.web.conftest import RunNode, seed

KEYS = {
    "DEVICE_TOKEN_KEYS": json.dumps({"first": "k" * 40}),
    "JWT_KEYS": json.dumps({"users": USER_KEY}),
    "JWT_ISSUER": ISSUER,
    "JWT_AUDIENCE": AUDIENCE,
}
_OTHERS = ("/v1/admin/", "/health", "/ready")


def _calls() -> dict[str, re.Pattern[str]]:
    """A user's, each with what its requests look like."""
    paths = json.loads((ROOT / "docs" / "openapi.json").read_text())["paths"]
    return {
        f"{method.upper()} {path}": re.compile(
            f"{method.upper()} {re.sub(r'{[^}]+}', '[0-9a-f-]{36}', path)}"
        )
        for path, methods in paths.items()
        if not path.startswith(_OTHERS)
        for method in methods
    }


@pytest.mark.parametrize(("mode", "loses"), [("bound", 0), ("open", 0), ("bound", 6)])
def test_every_method_does_what_it_says(
    node: RunNode, serve: Serve, model: DemoModel, mode: str, loses: int
) -> None:
    """Also where one answer in six is lost after the server has done what was asked."""
    (server,) = serve(1, "tests.web.server", ACCESS_MODE=mode, **KEYS)
    burn: list[dict[str, object]] = [{"type": "text", "text": "I will."}, *call("burn")]
    todos = {"todos": [{"content": "sweep up", "status": "pending"}]}
    plan: list[dict[str, object]] = [{"type": "tool_use", "name": "set_todos", "input": todos}]
    model.replies.add(Reply(burn), Reply("It is burnt."), Reply(burn), Reply("Then not."), Reply(burn))
    model.replies.add(Reply(burn), Reply("At last."), Reply(plan), Reply("It is planned."))
    base = f"http://127.0.0.1:{server.port}"
    said: dict[str, Any] = json.loads(
        node("every_call.mjs", BASE=base, MODE=mode, USER_TOKEN=user_token(), LOSES=str(loses), SEED=seed())
    )
    assert said["lost"] >= (10 if loses else 0)
    assert said["left"] == [], "methods that nobody called"
    left = [name for name, looks in _calls().items() if not any(map(looks.fullmatch, said["asked"]))]
    assert left == [], "calls that the client cannot make"


def test_where_each_request_carries_a_persons_token(node: RunNode, serve: Serve) -> None:
    (server,) = serve(1, ACCESS_MODE="jwt", **KEYS)
    tokens = {"ADA": user_token("ada"), "BOB": user_token("bob")}
    assert node("a_persons_token.mjs", BASE=f"http://127.0.0.1:{server.port}", **tokens) == "done\n"


def test_a_long_export_is_put_together_and_begun_again_when_it_is_changed(
    node: RunNode, serve: Serve, database_url: str
) -> None:
    (server,) = serve(1)
    content = "json_build_array(json_build_object('type', 'text', 'text', repeat('Grüße 🙂 ', 500000)))::text"
    grow = f"UPDATE messages SET content = {content} WHERE role = 'assistant' RETURNING seq"
    base = f"http://127.0.0.1:{server.port}"
    kept = node("a_long_export.mjs", BASE=base, DOES="talk")
    assert run(database_url, grow) == [(2,)]
    said = json.loads(node("a_long_export.mjs", BASE=base, DOES="export", KEPT=kept))
    assert said["statuses"][:2] == [200, 412], "it was changed behind the first part"
    assert said["statuses"][2:] == [200] * 3
    assert said["bytes"] > 4_000_000
    assert said["digestIsRight"]
    assert said["metadata"] == {"changed": True}


def test_answers_in_one_piece_are_gone_on_with_by_coming_back(
    node: RunNode, serve: Serve, model: DemoModel
) -> None:
    """What is too much for one answer, a question to a person, and a turn that another process answers."""
    (buffering,) = serve(1, "tests.web.server", BUFFERS="1")
    (streaming,) = serve(1, "tests.web.server")
    blocks = [{"type": "text", "text": letter * 2500} for letter in "xy"]
    model.replies.add(
        Reply(blocks), Reply([{"type": "text", "text": "I will."}, *call("burn")]), Reply("It is burnt.")
    )
    model.replies.add(Reply("slowly " * 100))
    for fault in (None, None, None, Fault.drip(0.03, size=150)):
        model.faults.add(fault or Fault.delay(0))
    ports = {
        "BUFFERING": f"http://127.0.0.1:{buffering.port}",
        "STREAMING": f"http://127.0.0.1:{streaming.port}",
    }
    said = json.loads(node("in_one_piece.mjs", **ports))
    assert said["long"] == {"status": "completed", "isWhole": True, "answers": 3}, "two blocks, and the turn"
    assert said["asked"]["events"][-1] == "turn_waiting"
    assert said["decided"] == {"status": "completed", "text": "I will.\n\nIt is burnt.", "end": "turn_ended"}
    elsewhere = said["elsewhere"]
    assert (elsewhere["isWhole"], elsewhere["end"]) == (True, "turn_ended")
    assert elsewhere["answers"] >= 2, "it came back for more"
