"""Nothing gets out of the API function but an answer: whatever is raised, wherever, is a problem that is counted."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from functions.routes.web import FILES
from tests.databases import ROOT

_ANSWER = """
import json, sys
spoilt, events = json.loads(sys.argv[1]), json.load(sys.stdin)
import asyncio
import functions.api as api
from functions import app
import functions.routes.health as health
told, sys.stdout = sys.stdout, sys.stderr

def raises(*_, **__):
    raise RuntimeError("what somebody wrote")

async def raises_later(scope, receive, send):
    raise RuntimeError("what somebody wrote")

async def begins_and_raises(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError("what somebody wrote")

async def is_endless(scope, receive, send):
    size = int(spoilt["bytes"])
    await send({"type": "http.response.start", "status": 200, "headers": [[b"content-type", b"application/json"]]})
    await send({"type": "http.response.body", "body": spoilt["of"].encode() * size})

if spoilt["what"] == "outside":
    api._adapter = raises
elif spoilt["what"] == "loop":
    api.handler(events[0], None)
    asyncio.run(asyncio.sleep(0))
elif spoilt["what"] != "nothing":
    api._adapter().app = {"within": raises_later, "begun": begins_and_raises, "large": is_endless}[spoilt["what"]]
for event in events:
    print(json.dumps(api.handler(event, None)), file=told, flush=True)
"""

KEYS = {"DEVICE_TOKEN_KEYS": '{"1": "only-for-this-test-and-long-enough"}'}
EVENT: dict[str, Any] = {
    "version": "2.0",
    "rawPath": "/health",
    "headers": {"host": "api.example.com"},
    "requestContext": {
        "http": {"method": "GET", "path": "/health", "sourceIp": "192.0.2.1"},
        "requestId": "gateway-1",
        "stage": "$default",
    },
}


def answer(what: str, *events: Any, **more: Any) -> tuple[list[dict[str, Any]], str]:
    """What the gateway is given, and what is in the log."""
    done = subprocess.run(
        [sys.executable, "-c", _ANSWER, json.dumps({"what": what, **more})],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **KEYS},
        input=json.dumps(events),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def metrics(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("what", ["outside", "within", "begun"])
def test_whatever_is_raised_is_answered_as_a_problem_and_counted(what: str) -> None:
    (first, second), log = answer(what, EVENT, EVENT)
    for given in (first, second):
        assert given["statusCode"] == 500
        assert given["headers"]["content-type"] == "application/problem+json"
        assert given["headers"]["x-request-id"] == "gateway-1"
        assert given["isBase64Encoded"] is False
        problem = json.loads(given["body"])
        assert (problem["code"], problem["request_id"]) == ("internal_error", "gateway-1")
        assert "what somebody wrote" not in given["body"]
    counted = [line for line in metrics(log) if "Defects" in line]
    assert len(counted) == 2
    assert len([line for line in metrics(log) if "ServerErrors" in line]) == 2
    assert "RuntimeError" in log
    assert "what somebody wrote" not in log


def test_an_event_that_is_none_is_answered() -> None:
    answers, _ = answer("outside", None, 7, [], {}, "text")
    assert [given["statusCode"] for given in answers] == [500] * 5
    assert all(json.loads(given["body"])["request_id"] for given in answers)


def test_somebodys_own_event_loop_does_not_end_ours() -> None:
    (given,), _ = answer("loop", EVENT)
    assert given["statusCode"] == 200


@pytest.mark.parametrize(
    ("of", "size", "status"),
    [
        ("x", 6_200_000, 200),
        ("x", 6_300_000, 500),
        ('"', 3_000_000, 200),
        # Lambda is given it as a string in JSON, which escapes each.
        ('"', 3_200_000, 500),
        ("é", 3_100_000, 200),
        ("é", 3_200_000, 500),
    ],
)
def test_an_answer_that_lambda_does_not_take_is_told_so(of: str, size: int, status: int) -> None:
    (given,), _ = answer("large", EVENT, of=of, bytes=size)
    assert given["statusCode"] == status
    if status == 500:
        assert json.loads(given["body"])["code"] == "answer_too_large"


def test_what_is_text_is_sent_as_text() -> None:
    """Base64 is a third more, and nobody can read it in a log."""
    path = f"/web/{next(iter(FILES))}"
    http = {"method": "GET", "path": path, "sourceIp": "192.0.2.1"}
    event = {**EVENT, "rawPath": path, "requestContext": {**EVENT["requestContext"], "http": http}}
    (given,), _ = answer("nothing", event)
    assert given["statusCode"] == 200
    assert given["isBase64Encoded"] is False
