"""All four handlers, from the artifact under AWS's own runtime client, answer the events of `events/` as they are to.

A file holds what it is about, the function, the event as AWS sends it, and of the answer what must be in it. `$DEVICE` and `$TOKEN` are
a device's that has registered, `$NEW` is one that has not.
"""

import gzip
import http.client
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from dev.lambda_host import LambdaHost
from tests.databases import ROOT
from tests.lambda_host.deployment import Deployment

EVENTS = sorted(Path(__file__).with_name("events").glob("*.json"))


@pytest.fixture(scope="session")
def by_person(deployment: Deployment, task_root: Path, runtime: Path) -> Iterator[LambdaHost]:
    """The API where a gateway's authorizer names people."""
    api = deployment.service.host.fleet("api").function
    environment = {**api.environment, "ACCESS_MODE": "jwt"}
    function = replace(api, name="api-jwt", environment=environment)
    with LambdaHost(task_root, [function], python=runtime) as host:
        yield host


@pytest.mark.parametrize("path", EVENTS, ids=[path.stem for path in EVENTS])
def test_an_event_is_answered(deployment: Deployment, path: Path, request: pytest.FixtureRequest) -> None:
    device = deployment.device()
    text = path.read_text().replace("$DEVICE", device.id).replace("$TOKEN", device.token[-1])
    golden = json.loads(text.replace("$NEW", str(uuid4())))
    name = golden["function"]
    host = deployment.service.host if name != "api-jwt" else request.getfixturevalue("by_person")
    answer = host.invoke(name, golden["event"])
    assert (answer.function_error is not None) is ("errorType" in golden["answer"]), answer
    _holds(answer.json, golden["answer"])
    if name.startswith("api"):
        _is_of_the_gateways_shape(answer.json)


def test_every_function_is_among_them() -> None:
    named = {json.loads(path.read_text())["function"] for path in EVENTS}
    assert named == {"api", "api-jwt", "worker", "cleanup", "migrate"}


@pytest.mark.parametrize("accepts", ["gzip", "identity"])
def test_the_pages_and_what_they_load_come_through_the_gateway(deployment: Deployment, accepts: str) -> None:
    address = urlsplit(deployment.device().url)
    for path, file in (
        ("/", "chat.html"),
        ("/console", "console.html"),
        ("/web/talk/talk.js", "talk/talk.js"),
    ):
        connection = http.client.HTTPConnection(address.netloc, timeout=60)
        connection.request("GET", path, headers={"Accept-Encoding": accepts})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        assert answer.status == 200
        assert answer.headers.get("Content-Encoding") == ("gzip" if accepts == "gzip" else None)
        shown = gzip.decompress(content) if accepts == "gzip" else content
        assert shown == (ROOT / "functions" / "web" / file).read_bytes()


def test_nothing_was_written_where_the_artifact_is(deployment: Deployment, task_root: Path) -> None:
    """Lambda's task root cannot be written to; here only root could."""
    before = _files(task_root)
    host = deployment.service.host
    deployment.device().say("Hello", wait_s=0)
    for name, event in (("worker", {"Records": []}), ("cleanup", {}), ("migrate", {"command": "upgrade"})):
        assert host.invoke(name, event).function_error is None
    assert _files(task_root) == before


def _files(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*") if not path.is_dir()}


def _holds(found: Any, wanted: Any, at: str = "the answer") -> None:
    """All that is wanted is in what was found; a body is compared as JSON where JSON is wanted."""
    if isinstance(wanted, dict) and isinstance(found, str):
        found = json.loads(found)
    if isinstance(wanted, dict):
        assert isinstance(found, dict), f"{at} is {found!r}"
        for name, value in wanted.items():
            assert name in found, f"{at} has no {name}: {found}"
            _holds(found[name], value, f"{at}'s {name}")
    else:
        assert found == wanted, f"{at} is {found!r}"


def _is_of_the_gateways_shape(answer: Any) -> None:
    assert answer.keys() <= {"statusCode", "headers", "body", "cookies", "isBase64Encoded"}
    assert all(isinstance(value, str) for value in answer["headers"].values())
    assert answer["headers"]["x-request-id"]
