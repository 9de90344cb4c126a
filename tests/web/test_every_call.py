"""Each method of functions/web/latchkey.js against real servers, and each call of a user's that docs/openapi.json has."""

import json
import re
from typing import Any

import pytest

from dev.demo_model import DemoModel, Reply
from tests.agents import call
from tests.databases import ROOT
from tests.doors import AUDIENCE, ISSUER, USER_KEY, user_token
from tests.streams.conftest import Serve
from tests.web.conftest import RunNode

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
        f"{method.upper()} {path}": re.compile(f"{method.upper()} {re.sub(r'{[^}]+}', '[0-9a-f-]{36}', path)}")
        for path, methods in paths.items()
        if not path.startswith(_OTHERS)
        for method in methods
    }


@pytest.mark.parametrize("mode", ["bound", "open"])
def test_every_method_does_what_it_says(node: RunNode, serve: Serve, model: DemoModel, mode: str) -> None:
    (server,) = serve(1, "tests.web.server", ACCESS_MODE=mode, **KEYS)
    burn = [{"type": "text", "text": "I will."}, *call("burn")]
    todos = {"todos": [{"content": "sweep up", "status": "pending"}]}
    plan = [{"type": "tool_use", "name": "set_todos", "input": todos}]
    model.replies.add(Reply(burn), Reply("It is burnt."), Reply(burn), Reply("Then not."), Reply(burn))
    model.replies.add(Reply(plan), Reply("It is planned."))
    base = f"http://127.0.0.1:{server.port}"
    said: dict[str, Any] = json.loads(node("every_call.mjs", BASE=base, MODE=mode, USER_TOKEN=user_token()))
    assert said["left"] == [], "methods that nobody called"
    left = [name for name, looks in _calls().items() if not any(map(looks.fullmatch, said["asked"]))]
    assert left == [], "calls that the client cannot make"
