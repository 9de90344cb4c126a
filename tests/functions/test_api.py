"""The API handler: what importing it costs, and that it speaks API Gateway's language."""

import json
import os
import subprocess
import sys
from typing import Any
from uuid import uuid4

import pytest

from core.settings import Settings
from tests.databases import ROOT

_HANDLE = """
import json, sys, warnings
warnings.simplefilter("error")
import functions.api
events = json.load(sys.stdin)
print(json.dumps([functions.api.handler(event, None) for event in events]))
"""


def _python(code: str, environ: dict[str, str], stdin: str = "") -> str:
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def _answers(environ: dict[str, str], events: list[Any]) -> list[Any]:
    """Above them are the metrics, which are lines of the log."""
    told: list[Any] = json.loads(_python(_HANDLE, environ, json.dumps(events)).splitlines()[-1])
    return told


def _event(method: str, path: str, body: str | None = None, device: str | None = None) -> dict[str, Any]:
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "host": "api.example.com",
            "content-type": "application/json",
            **({"x-device-id": device} if device else {}),
        },
        "requestContext": {
            "http": {"method": method, "path": path, "sourceIp": "192.0.2.1"},
            "requestId": f"gateway-{uuid4()}",
            "stage": "$default",
        },
        "body": body,
        "isBase64Encoded": False,
    }


SLOW = (
    "anthropic",
    "boto3",
    "alembic",
    "httpx",
    "httpx2",
    "jwt",
    "moto",
    "redis",
    "upstash_redis",
    "uvicorn",
)


# Deployed, devices are bound to their tokens.
KEYS = {"DEVICE_TOKEN_KEYS": '{"1": "only-for-this-test-and-long-enough"}'}


def test_importing_the_handler_imports_nothing_slow() -> None:
    loaded = _python("import sys, functions.api; print(' '.join(sys.modules))", KEYS).split()
    assert "fastapi" in loaded
    for slow in (*SLOW, "dev"):
        assert slow not in loaded, f"functions.api brings {slow} with it"


def test_the_slow_packages_are_there_to_be_imported() -> None:
    """Without them the test above could not fail."""
    _python(f"import {', '.join(SLOW)}", {})


def test_a_wrong_setting_stops_the_handler_with_a_sentence_for_each() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "import functions.api"],
        cwd=ROOT,
        env={"LEASE_TTL_S": "soon", "DATABASE_URL": "postgresql://u:hunter2@h:x/y"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "LEASE_TTL_S is 'soon'; accepted: a whole number from 5 to 900" in result.stderr
    assert "DATABASE_URL" in result.stderr
    assert "hunter2" not in result.stderr


def test_a_handler_that_could_tell_no_device_from_another_does_not_start() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "import functions.api"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "DEVICE_TOKEN_KEYS is not set" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("environ", "is_said"),
    [
        ({"ACCESS_MODE": "open"}, True),
        ({"ACCESS_MODE": "jwt"}, False),
        ({"DEVICE_TOKEN_KEYS": json.dumps({"one": "k" * 32})}, False),
    ],
)
def test_an_open_handler_says_so_in_its_log_and_no_other_does(environ: dict[str, str], is_said: bool) -> None:
    result = subprocess.run(
        [sys.executable, "-c", "import functions.api"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("whoever knows a device ID can speak for it" in result.stderr) is is_said


@pytest.fixture
def environ(settings: Settings) -> dict[str, str]:
    assert settings.database_url is not None
    return {
        "DATABASE_URL": settings.database_url.reveal(),
        "ACCESS_MODE": "open",
        "ANTHROPIC_API_KEY": "demo",
        "ANTHROPIC_BASE_URL": settings.anthropic_base_url,
    }


def test_a_conversation_through_the_handler(environ: dict[str, str]) -> None:
    device = str(uuid4())
    events = [
        _event("POST", "/v1/turns", json.dumps({"message": "My name is Ada."}), device),
        _event("POST", "/v1/turns", json.dumps({"message": "What is my name?"}), device),
        _event("GET", "/v1/session/messages", None, device),
        _event("GET", "/nowhere"),
    ]
    first, second, messages, nowhere = _answers(environ, events)
    assert first["statusCode"] == 200
    assert "Ada" in json.loads(second["body"])["reply"]
    assert len(json.loads(messages["body"])["items"]) == 4
    assert nowhere["statusCode"] == 404
    assert nowhere["isBase64Encoded"] is False, "a problem is text"
    assert json.loads(nowhere["body"])["request_id"] == events[3]["requestContext"]["requestId"]
