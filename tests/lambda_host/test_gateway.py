"""The gateway on loopback makes API Gateway's events, keeps its limits, and answers as it does."""

import base64
import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from dev.lambda_host.gateway import LARGEST_BODY, Gateway
from dev.lambda_host.gateway_events import Malformed, answer_of
from tests.lambda_host.conftest import Hosting

Fronting = Callable[..., "Front"]


class Front:
    def __init__(self, url: str) -> None:
        self.address = urlsplit(url).netloc

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self.address, timeout=30)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        answer.content = answer.read()  # type: ignore[attr-defined]
        connection.close()
        return answer

    def event(self, method: str, path: str, body: bytes | None = None, **headers: str) -> dict[str, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        told: dict[str, Any] = json.loads(self.ask(method, path, body, named).content)  # type: ignore[attr-defined]
        return told


@pytest.fixture
def fronting(hosting: Hosting) -> Iterator[Fronting]:
    with ExitStack() as running:

        def front(name: str, *, limit_s: float = 30.0, **declared: Any) -> Front:
            gateway = Gateway(hosting(name, **declared), name, limit_s=limit_s)
            return Front(running.enter_context(gateway).url)

        yield front


def _content(answer: http.client.HTTPResponse) -> bytes:
    content: bytes = answer.content  # type: ignore[attr-defined]
    return content


def test_a_request_becomes_an_event_of_the_second_version(fronting: Fronting) -> None:
    event = fronting("events").event(
        "POST",
        "/v1/a%20b/%C3%BC?q=1&q=%20two&empty=",
        b'{"a": 1}',
        Content_Type="application/json; charset=utf-8",
        Cookie="a=1; b=2",
        User_Agent="a phone",
        X_Mixed_CASE="Kept",
    )
    context = event.pop("requestContext")
    assert context["http"] == {
        "method": "POST",
        "path": "/v1/a b/ü",
        "protocol": "HTTP/1.1",
        "sourceIp": "127.0.0.1",
        "userAgent": "a phone",
    }
    assert (context["stage"], context["routeKey"]) == ("$default", "$default")
    assert context["requestId"]
    assert abs(context["timeEpoch"] / 1000 - time.time()) < 60
    assert event["version"] == "2.0"
    assert event["rawPath"] == "/v1/a b/ü"
    assert event["rawQueryString"] == "q=1&q=%20two&empty="
    assert event["queryStringParameters"] == {"q": "1, two", "empty": ""}
    assert event["cookies"] == ["a=1", "b=2"]
    assert event["headers"]["x-mixed-case"] == "Kept"
    assert event["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert event["headers"]["x-forwarded-proto"] == "https"
    assert "cookie" not in event["headers"]
    assert (event["body"], event["isBase64Encoded"]) == ('{"a": 1}', False)


def test_what_is_not_there_is_not_in_the_event(fronting: Fronting) -> None:
    event = fronting("events").event("GET", "/")
    assert not {"body", "cookies", "queryStringParameters"} & event.keys()
    assert event["rawQueryString"] == ""


@pytest.mark.parametrize(
    ("content_type", "is_text"),
    [
        ("application/json", True),
        ("application/problem+json; charset=utf-8", True),
        ("text/event-stream", True),
        ("application/x-www-form-urlencoded", False),
        ("image/png", False),
        ("", False),
    ],
)
def test_a_body_is_base64_unless_its_content_type_is_text(
    fronting: Fronting, content_type: str, is_text: bool
) -> None:
    event = fronting("events").event("PUT", "/", b"a=1", Content_Type=content_type)
    assert event["isBase64Encoded"] is not is_text
    assert event["body"] == ("a=1" if is_text else base64.b64encode(b"a=1").decode())


def test_an_answer_is_what_the_function_said(fronting: Fronting) -> None:
    front = fronting("http")
    plain = front.ask("GET", "/", headers={"X-Answer": "plain"})
    assert (plain.status, _content(plain), plain.headers["x-one"]) == (201, b"hello", "1")
    assert plain.headers["content-type"] == "text/plain"
    assert _content(front.ask("GET", "/", headers={"X-Answer": "binary"})) == b"\x00\xff\x10"
    cookies = front.ask("GET", "/", headers={"X-Answer": "cookies"})
    assert cookies.headers.get_all("set-cookie") == ["a=1", "b=2"]
    bare = front.ask("GET", "/", headers={"X-Answer": "bare"})
    assert (bare.status, json.loads(_content(bare))) == (200, {"said": "this"})
    head = front.ask("HEAD", "/", headers={"X-Answer": "plain"})
    assert (head.status, _content(head), head.headers["content-length"]) == (201, b"", "5")


@pytest.mark.parametrize("said", ["no status", "no base64"])
def test_what_is_no_answer_is_a_500(fronting: Fronting, said: str) -> None:
    answer = fronting("http").ask("GET", "/", headers={"X-Answer": said})
    assert (answer.status, json.loads(_content(answer))) == (500, {"message": "Internal Server Error"})


@pytest.mark.parametrize("given", [{"statusCode": 200, "headers": []}, {"statusCode": 200, "body": {}}])
def test_what_is_no_answer_is_seen(given: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        answer_of(given)


@pytest.mark.parametrize("name", ["fails", "exits"])
def test_a_function_that_fails_is_a_500_that_says_nothing(fronting: Fronting, name: str) -> None:
    answer = fronting(name).ask("GET", "/")
    assert (answer.status, json.loads(_content(answer))) == (500, {"message": "Internal Server Error"})


def test_a_function_that_is_too_slow_for_the_gateway_is_a_503(fronting: Fronting) -> None:
    answer = fronting("slow", limit_s=0.5).ask("GET", "/")
    assert (answer.status, json.loads(_content(answer))) == (503, {"message": "Service Unavailable"})


def test_a_function_that_is_throttled_is_a_503(fronting: Fronting) -> None:
    assert fronting("http", most_at_once=0).ask("GET", "/").status == 503


def test_more_than_the_gateway_or_the_function_may_take_is_a_413(fronting: Fronting) -> None:
    front = fronting("events")
    # Six megabytes fit through the gateway, and as an event they do not fit into the function.
    for size in (LARGEST_BODY + 1, 6_291_000):
        answer = front.ask("POST", "/", b"x" * size, {"Content-Type": "image/png"})
        assert (answer.status, json.loads(_content(answer))) == (413, {"message": "Request Entity Too Large"})
