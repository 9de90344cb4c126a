"""functions/web/latchkey.js under a real node: its parts, and the whole against real servers through a network that cuts it off."""

import json
from typing import Any

import pytest

from dev.demo_model import DemoModel, Fault, Reply
from tests.databases import run
from tests.streams.conftest import Serve
from tests.web.conftest import RunNode, seed

KEYS = json.dumps({"first": "k" * 40})
WORDS = "Grüße aus 日本 🙂 and then some more words of an answer\n"


@pytest.mark.parametrize("file", ["events.test.mjs", "client.test.mjs"])
def test_its_parts(node: RunNode, file: str) -> None:
    said = node("--test", file)
    assert "# fail 0" in said or "ℹ fail 0" in said


def test_what_it_puts_together_is_what_is_stored(
    node: RunNode, serve: Serve, model: DemoModel, database_url: str
) -> None:
    """Two servers take turns behind a network that cuts streams and loses answers; fifty cuts and more."""
    servers = serve(2, ACCESS_MODE="bound", DEVICE_TOKEN_KEYS=KEYS)
    for number in range(6):
        model.replies.add(Reply(f"{number}: " + WORDS * 10))
        model.faults.add(Fault.drip(0.02, size=80))
    told: dict[str, Any] = json.loads(
        node("end_to_end.mjs", PORTS=" ".join(str(server.port) for server in servers), SEED=seed())
    )
    assert told["cuts"] >= 50
    assert [turn["status"] for turn in told["turns"]] == ["completed"] * 6
    stored = run(
        database_url,
        "SELECT (SELECT string_agg(b ->> 'text', '' ORDER BY n) FROM json_array_elements(content::json) WITH ORDINALITY AS e(b, n)) "
        "FROM messages WHERE role = 'assistant' ORDER BY seq",
    )
    assert told["texts"] == [text for (text,) in stored]
    assert told["texts"] == [turn["reply"] for turn in told["turns"]]
    assert run(database_url, "SELECT count(*), count(DISTINCT idempotency_key) FROM turns") == [(6, 6)]
    assert run(database_url, "SELECT count(*) FROM conversation_states") == [(1,)]
    assert told["listed"] == [role for _ in range(6) for role in ("user", "assistant")]


def test_it_is_served_by_the_service_itself(node: RunNode, serve: Serve) -> None:
    """As a page would load it: by its address, with all that it imports."""
    (server,) = serve(1)
    assert node("from_the_service.mjs", BASE=f"http://127.0.0.1:{server.port}") == "completed\n"
