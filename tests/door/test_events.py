"""Raw events of API Gateway (HTTP API, payload 2.0) through the handler: whatever is in them, it answers, and never with a 500."""

import base64
import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.settings import Settings
from functions.events import readable
from tests.databases import ROOT

_SERVE = """
import json, os, sys, warnings
warnings.simplefilter("error")
# Metrics are lines of the log.
answers, sys.stdout = sys.stdout, open(os.devnull, "w")
import functions.api
for line in sys.stdin:
    answer = functions.api.handler(json.loads(line), None)
    print(json.dumps(answer), file=answers, flush=True)
"""


class Handler:
    """The handler in a process of its own, as Lambda has it: wired at import, one event after the other."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, event: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(event) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            raise AssertionError(self._process.stderr.read())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def handler(settings: Settings) -> Iterator[Handler]:
    assert settings.database_url is not None
    running = Handler(
        {
            "DATABASE_URL": settings.database_url.reveal(),
            "ACCESS_MODE": "open",
            "RATE_DEVICE_PER_MINUTE": "0",
            "RATE_ADDRESS_PER_MINUTE": "0",
            "ANTHROPIC_API_KEY": "demo",
            "ANTHROPIC_BASE_URL": settings.anthropic_base_url,
            "CORS_ORIGINS": "https://app.example.com",
        }
    )
    yield running
    running.close()


def event(method: str = "GET", path: str = "/health", **more: Any) -> dict[str, Any]:
    made = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "cookies": ["a=b"],
        "headers": {"host": "api.example.com", "x-device-id": str(UUID(int=7)), "x-forwarded-port": "443"},
        "requestContext": {
            "accountId": "1",
            "http": {"method": method, "path": path, "sourceIp": "192.0.2.1", "protocol": "HTTP/1.1"},
            "requestId": "JKJaXmPLvHcESHA=",
            "stage": "$default",
        },
        "isBase64Encoded": False,
    }
    return {**made, **more}


def is_answer(answer: dict[str, Any]) -> None:
    """Of the shape that API Gateway takes, and not a defect."""
    assert answer.keys() <= {"statusCode", "headers", "body", "cookies", "isBase64Encoded"}
    assert 200 <= answer["statusCode"] < 500, answer
    assert all(isinstance(value, str) for value in answer["headers"].values())
    assert answer["headers"]["x-request-id"]
    assert answer["isBase64Encoded"] is False, "what we say is text"
    if answer["statusCode"] >= 400 and answer["body"]:
        assert answer["headers"]["content-type"] == "application/problem+json"
        assert json.loads(answer["body"])["status"] == answer["statusCode"]


# ---- what has been seen of gateways, one by one

ODD: list[Any] = [
    {},
    [],
    None,
    "x",
    {"source": "aws.events"},
    event(headers=None),
    event(cookies=None),
    event(cookies="a=b"),
    event(headers={"Host": "[::1]:443"}),
    event(headers={"host": "a:b:c"}),
    event(headers={"host": "", "x-forwarded-port": "443,80"}),
    event(headers={"x-forwarded-port": ""}),
    event(headers={"x-forwarded-port": "99999999999"}),
    event(headers={"x-forwarded-proto": "gopher"}),
    event(headers={"X-Device-ID": ["a", "b"]}),
    event(headers={"x-device-id": None}),
    event(headers={"x": "\ud800", "y\n": "z", "": "z", "z": "a\r\nb: c", "ü": "ü"}),
    event(body=None),
    event(rawPath=None),
    event(rawPath=""),
    event(rawQueryString=None),
    event(rawQueryString="\ud800=%ff&a=ü"),
    event("POST", "/v1/turns", body="%%%", isBase64Encoded=True),
    event("POST", "/v1/turns", body="\ud800"),
    event("POST", "/v1/turns", body={"message": "x"}),
    event("POST", "/v1/turns", body=7, isBase64Encoded="yes"),
    event("PROPFIND"),
    event(""),
    event("get"),
    event("GET", "/%zz%00%ff"),
    event("GET", "/\ud800"),
    event("GET", "http://x/y"),
    event("GET", "//"),
    event("GET", "/v1/sessions/%2e%2e/messages"),
    event(requestContext=None),
    event(requestContext={}),
    event(requestContext={"http": None, "stage": 7, "requestId": {"a": 1}}),
    event(requestContext={"http": {"method": "GET", "path": "/health"}}),
    event(requestContext={"http": {"method": "GET", "path": "/health", "sourceIp": None}}),
    event(version="1.0"),
    event(resource="/x"),
]


def test_what_gateways_have_been_seen_to_send_is_answered(handler: Handler) -> None:
    for odd in ODD:
        is_answer(handler(odd))


def test_a_stage_with_a_name_is_no_part_of_the_path(handler: Handler) -> None:
    staged = event("GET", "/prod/health")
    staged["requestContext"]["stage"] = "prod"
    assert handler(staged)["statusCode"] == 200
    assert handler(event("GET", "/prod/health"))["statusCode"] == 404


def test_a_body_in_base64_is_read_and_a_broken_one_is_refused(handler: Handler) -> None:
    body = base64.b64encode(json.dumps({"message": "Hello"}).encode()).decode()
    said = handler(event("POST", "/v1/turns", body=body, isBase64Encoded=True))
    assert said["statusCode"] == 200
    broken = handler(event("POST", "/v1/turns", body=body[:-3] + "!", isBase64Encoded=True))
    assert (broken["statusCode"], json.loads(broken["body"])["code"]) == (400, "invalid_utf8")


def test_the_gateways_request_id_is_ours_if_it_can_be(handler: Handler) -> None:
    assert handler(event())["headers"]["x-request-id"] == "JKJaXmPLvHcESHA="
    for bad in ("a\nb", "", "x" * 200, "%s %d", None, 7):
        odd = event()
        odd["requestContext"]["requestId"] = bad
        assert handler(odd)["headers"]["x-request-id"] != bad


def test_what_the_gateways_authorizer_says_is_handed_on_and_a_clients_word_is_not() -> None:
    claims = {"jwt": {"claims": {"sub": "ada"}}}
    odd = event(headers={"requestContext": "x", "aws.event": "y"})
    odd["requestContext"]["authorizer"] = claims
    assert readable(odd)["requestContext"]["authorizer"] == claims
    assert "authorizer" not in readable(event())["requestContext"]


# ---- at random

_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=4,
)
_ODD_TEXT = st.text(st.characters(), max_size=30)
_PATHS = st.sampled_from(
    [
        "/health",
        "/v1/session",
        "/v1/sessions",
        f"/v1/sessions/{UUID(int=1)}",
        f"/v1/sessions/{UUID(int=1)}/links",
        f"/v1/turns/{UUID(int=1)}",
        "/v1/approvals",
        "/v1/session/lock",
        "/v1/session/messages",
    ]
)
_METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"])
_HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Host",
            "X-Device-ID",
            "x-forwarded-port",
            "X-Forwarded-Proto",
            "Content-Type",
            "content-length",
            "transfer-encoding",
            "Origin",
            "Access-Control-Request-Method",
            "If-Match",
            "Idempotency-Key",
            "X-Session-Version",
            "X-Share-Link",
            "Authorization",
            "Prefer",
            "Cookie",
        ]
    )
    | _ODD_TEXT,
    _ODD_TEXT | st.sampled_from(["443,80", "[::1]:80", str(UUID(int=7)), "*", '"x"']) | _ANY,
    max_size=6,
)
_BODIES = (
    st.none()
    | _ODD_TEXT
    | st.binary(max_size=30).map(lambda raw: base64.b64encode(raw).decode())
    | st.sampled_from(['{"metadata": {}}', '{"role": "viewer"}', '{"session_id": "x"}', "[]"])
    | _ANY
)
_WAYS = [
    (),
    ("version",),
    ("rawPath",),
    ("rawQueryString",),
    ("headers",),
    ("cookies",),
    ("body",),
    ("isBase64Encoded",),
    ("requestContext",),
    ("requestContext", "http"),
    ("requestContext", "http", "method"),
    ("requestContext", "http", "path"),
    ("requestContext", "http", "sourceIp"),
    ("requestContext", "requestId"),
    ("requestContext", "stage"),
]


@st.composite
def events(draw: st.DrawFn) -> Any:
    path = draw(_PATHS | _ODD_TEXT.map(lambda text: f"/{text}"))
    made = event(draw(_METHODS), path, headers=draw(_HEADERS), body=draw(_BODIES))
    made["isBase64Encoded"] = draw(st.booleans())
    made["rawQueryString"] = draw(
        _ODD_TEXT | st.sampled_from(["limit=1", "limit=x", "cursor=%00", "after=1&before=2"])
    )
    if draw(st.booleans()):
        made["headers"]["x-device-id"] = str(draw(st.sampled_from([UUID(int=7), UUID(int=8), UUID(int=0)])))
    for way in draw(st.lists(st.sampled_from(_WAYS[1:]), max_size=2)):
        made = _changed(made, way, draw(st.none() | _ANY.map(lambda value: [value])))
    return made


def _changed(made: dict[str, Any], way: tuple[str, ...], value: list[Any] | None) -> dict[str, Any]:
    """With something else at this place of it, or nothing."""
    changed = copy.deepcopy(made)
    place: Any = changed
    for name in way[:-1]:
        place = place.get(name)
        if not isinstance(place, dict):
            return changed
    if value is None:
        place.pop(way[-1], None)
    else:
        place[way[-1]] = value[0]
    return changed


def test_no_event_ends_in_a_defect(handler: Handler) -> None:
    @settings(
        max_examples=int(os.environ.get("LATCHKEY_EVENTS", "300")),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        print_blob=True,
    )
    @given(events())
    def answered(odd: Any) -> None:
        is_answer(handler(odd))

    answered()


def test_a_request_after_an_odd_one_is_answered_as_before(handler: Handler) -> None:
    device = {"host": "x", "x-device-id": str(uuid4())}
    for odd in (None, event(headers=None), event("POST", "/v1/turns", body="%%%", isBase64Encoded=True)):
        handler(odd)
    said = handler(event("POST", "/v1/turns", body=json.dumps({"message": "Hello"}), headers=device))
    assert said["statusCode"] == 200
