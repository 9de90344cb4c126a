"""Where the platform sends no answer in pieces the same calls answer what there is, and ask the client to come back."""

import json
import os
import subprocess
import sys
import time
from typing import Any
from uuid import UUID, uuid4

from starlette.testclient import TestClient

from core.house import House, build_house
from core.settings import Settings
from dev.demo_model import DemoModel, Reply
from functions.app import build_app
from tests.agents import Workshop, call
from tests.databases import ROOT, run
from tests.streams.phone import Told

_TALK = """
import json, sys
import functions.api
def ask(event):
    answer = functions.api.handler(event, None)
    return {**answer, "headers": {k.lower(): v for k, v in answer["headers"].items()}}
message = json.load(sys.stdin)
first = ask(message)
ids = [line[4:] for line in first["body"].splitlines() if line.startswith("id: ")]
path = first["headers"]["location"] + "/events"
def events(last):
    http = {**message["requestContext"]["http"], "method": "GET", "path": path}
    headers = {**message["headers"], **({"last-event-id": last} if last else {})}
    context = {**message["requestContext"], "http": http}
    return ask({**message, "rawPath": path, "headers": headers, "requestContext": context, "body": None})
print(json.dumps([first, events(None), events(ids[1]), events(ids[-1])]))
"""


def _fields(body: str) -> list[tuple[str, Any]]:
    told = []
    for lines in body.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in lines.split("\n") if line)
        if "event" in fields:
            told.append((fields["event"], json.loads(fields["data"])))
    return told


def _hear(told: Told, body: str) -> str | None:
    for name, data in _fields(body):
        told.hear(name, data)
    ids = [line[4:] for line in body.splitlines() if line.startswith("id: ")]
    return ids[-1] if ids else None


def test_the_function_behind_a_gateway_answers_what_there_is(model: DemoModel, settings: Settings) -> None:
    assert settings.database_url is not None
    environ = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": settings.database_url.reveal(),
        "ACCESS_MODE": "open",
        "ANTHROPIC_API_KEY": "demo",
        "ANTHROPIC_BASE_URL": model.url,
    }
    headers = {"host": "api.example.com", "accept": "text/event-stream", "x-device-id": str(uuid4())}
    http = {"method": "POST", "path": "/v1/turns", "sourceIp": "192.0.2.1"}
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/v1/turns",
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {"http": http, "requestId": "gateway-1", "stage": "$default"},
        "body": json.dumps({"message": "Hello"}),
        "isBase64Encoded": False,
    }
    talk = subprocess.run(
        [sys.executable, "-c", _TALK],
        cwd=ROOT,
        env=environ,
        input=json.dumps(event),
        capture_output=True,
        text=True,
        check=False,
    )
    assert talk.returncode == 0, talk.stderr
    first, again, from_the_second, after_the_end = json.loads(
        talk.stdout.splitlines()[-1]
    )  # its metrics stand before it
    assert [a["statusCode"] for a in (first, again, from_the_second, after_the_end)] == [200, 200, 200, 204]
    assert first["headers"]["content-type"].startswith("text/event-stream")
    assert first["headers"]["cache-control"] == "no-store"
    assert not first["isBase64Encoded"]
    assert first["body"].startswith("retry: 1000\n\n")
    assert first["body"] == again["body"]
    names = [name for name, _ in _fields(first["body"])]
    assert names == ["turn_started", "agent_changed", "text_delta", "turn_ended"]
    assert [name for name, _ in _fields(from_the_second["body"])] == names[2:]


def test_a_turn_that_waits_for_a_person_is_told_in_several_answers(
    settings: Settings, model: DemoModel, shop: Workshop, device: UUID
) -> None:
    house = build_house(settings, shop.roster())
    app = build_app(house, one_at_a_time=True)
    headers = {"X-Device-ID": str(device), "Accept": "text/event-stream"}
    model.replies.add(
        Reply([{"type": "text", "text": "I will."}, *call("burn", "peek")]), Reply("It is burnt.")
    )
    with TestClient(app, headers=headers) as client:
        told = Told()
        answer = client.post("/v1/turns", json={"message": "burn it"})
        assert answer.status_code == 200
        last = _hear(told, answer.text)
        assert told.names[-1] == "turn_waiting"
        where = f"{answer.headers['Location']}/events"
        since = time.monotonic()
        empty = client.get(where, params={"last_event_id": last})
        assert 3 < time.monotonic() - since < 15, "it waits a little for more, and not as long as a gateway"
        assert empty.text == "retry: 1000\n\n"
        (asked,) = told.approvals
        decision = {"decision": "approve", "input_digest": asked["input_digest"]}
        assert client.post(f"/v1/approvals/{asked['id']}", json=decision).status_code == 200
        while told.turn is None:
            last = _hear(told, client.get(where, headers={"Last-Event-ID": str(last)}).text)
        assert told.turn["status"] == "completed"
        assert [told.texts[seq] for seq in sorted(told.texts)] == [{0: "I will."}, {0: "It is burnt."}]
        assert {tuple(names) for names in told.tools.values()} == {("tool_started", "tool_ended")}
        assert client.get(where, headers={"Last-Event-ID": str(last)}).status_code == 204
    house.close()


def test_what_is_too_much_for_one_answer_comes_in_several(
    client: TestClient, house: House, database_url: str
) -> None:
    """An answer that a gateway takes has 6 MB at the most."""
    app = build_app(house, one_at_a_time=True)
    turn = client.post("/v1/turns", json={"message": "Hello"}).json()
    big = json.dumps([{"type": "text", "text": "x" * 3_000_000}, {"type": "text", "text": "y" * 3_000_000}])
    run(database_url, "UPDATE messages SET content = %s WHERE role = 'assistant'", big)
    with TestClient(app, headers=dict(client.headers)) as buffered:
        told, last = Told(), None
        sizes: list[int] = []
        while len(sizes) < 3:
            headers: dict[str, str] = {} if last is None else {"Last-Event-ID": last}
            body = buffered.get(f"/v1/turns/{turn['id']}/events", headers=headers).text
            sizes.append(len(body))
            # The end alone tells the whole turn again.
            if "turn_ended" in body:
                break
            last = _hear(told, body)
    assert max(sizes[:2]) < 4_100_000
    assert "".join(told.texts[2].values()) == "x" * 3_000_000 + "y" * 3_000_000


def test_an_event_id_of_another_turn_is_refused(client: TestClient) -> None:
    one, other = (client.post("/v1/turns", json={"message": "Hello"}).json()["id"] for _ in range(2))
    body = client.get(f"/v1/turns/{one}/events").text
    last = next(line[4:] for line in body.splitlines() if line.startswith("id: "))
    for wrong in (last, "nonsense", "1-00000000-0-0---s-"):
        answer = client.get(f"/v1/turns/{other}/events", headers={"Last-Event-ID": wrong})
        assert (answer.status_code, answer.json()["code"]) == (400, "last_event_id_malformed")


def test_whoever_says_that_they_want_no_stream_gets_none(client: TestClient) -> None:
    kinds = {}
    for accept in (
        "text/event-stream",
        "application/json;q=0.5, Text/Event-Stream; q=0.8",
        "text/event-stream;q=0, application/json",
        "application/json, text/event-stream; q=0.0",
        "application/json",
    ):
        answer = client.post("/v1/turns", json={"message": "Hello"}, headers={"Accept": accept})
        kinds[accept] = answer.headers["content-type"].partition(";")[0]
    assert list(kinds.values()) == ["text/event-stream"] * 2 + ["application/json"] * 3
