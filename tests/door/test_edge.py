"""The edge: what every answer carries, whatever becomes of the request; and who may call from a web page."""

import logging
import threading
from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from core.house import House, build_house
from core.settings import Settings
from functions.app import build_app
from functions.edge import READ, SHOWN

PAGE = "https://app.example.com"
_log = logging.getLogger("tests.edge")


def opened(settings: Settings, *origins: str) -> Iterator[TestClient]:
    house = build_house(replace(settings, cors_origins=origins or None))
    app = build_app(house, one_at_a_time=False)
    _add_defects(app)
    with TestClient(app, headers={"X-Device-ID": str(uuid4())}) as client:
        yield client
    house.close()


def _add_defects(app: Any) -> None:
    @app.get("/v1/defect")  # type: ignore[untyped-decorator]  # only `functions` may know FastAPI
    async def defect() -> None:
        raise ZeroDivisionError

    @app.get("/v1/logs")  # type: ignore[untyped-decorator]  # as above
    def logs() -> None:
        _log.warning("on its way")
        _log.warning("with %s", "parts")
        thread = threading.Thread(target=copy_context().run, args=(_log.warning, "beside it"))
        thread.start()
        thread.join()


@pytest.fixture
def page(settings: Settings) -> Iterator[TestClient]:
    yield from opened(settings, PAGE)


@pytest.fixture
def anywhere(settings: Settings) -> Iterator[TestClient]:
    yield from opened(settings, "*")


@pytest.fixture
def closed(settings: Settings) -> Iterator[TestClient]:
    yield from opened(settings)


ANSWERS = [
    ("GET", "/health", 200),
    ("GET", "/v1/session", 404),
    ("GET", "/nowhere", 404),
    ("PUT", "/health", 405),
    ("POST", "/v1/turns", 400),
    ("GET", "/v1/turns/x", 422),
    ("GET", "/v1/defect", 500),
]


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
def test_every_answer_has_an_id_of_ours_and_says_what_it_is(
    page: TestClient, method: str, path: str, status: int
) -> None:
    answer = page.request(method, path, headers={"X-Request-ID": "mine", "Origin": PAGE})
    assert answer.status_code == status
    assert answer.headers.get_list("x-request-id") not in ([], ["mine"])
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers.get("cache-control") == ("no-store" if path.startswith("/v1/") else None)
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert set(answer.headers["access-control-expose-headers"].split(", ")) == set(SHOWN)
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_page_of_an_origin_that_is_set_may_make_every_call(page: TestClient, method: str) -> None:
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": ", ".join(READ).lower(),
    }
    answer = page.options("/v1/turns", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert method in answer.headers["access-control-allow-methods"]
    assert answer.headers["x-request-id"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example.com", "https://app.example.com.evil.org", "http://app.example.com", "null"],
)
def test_a_page_of_another_origin_may_not(page: TestClient, origin: str) -> None:
    refused = page.options("/v1/turns", headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
    assert (refused.status_code, refused.json()["code"]) == (400, "origin_refused")
    assert refused.json()["request_id"] == refused.headers["x-request-id"]
    answer = page.get("/health", headers={"Origin": origin})
    assert not {"access-control-allow-origin"} & {*refused.headers, *answer.headers}


def test_any_page_may_where_that_is_set_and_none_where_nothing_is(
    anywhere: TestClient, closed: TestClient
) -> None:
    asked = {"Origin": "https://some.example.org", "Access-Control-Request-Method": "POST"}
    for path in ("/health", "/v1/defect"):
        answer = anywhere.get(path, headers=asked)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
        assert "access-control-allow-origin" not in closed.get(path, headers=asked).headers
    assert anywhere.options("/v1/turns", headers=asked).status_code == 204
    assert closed.options("/v1/turns", headers=asked).json()["code"] == "method_not_allowed"


def test_every_line_of_a_request_names_it_and_no_other_does(
    closed: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [closed.get("/v1/logs").headers["x-request-id"] for _ in range(2)]
    _log.warning("outside")
    lines = [
        (getattr(record, "request_id", None), record.getMessage())
        for record in caplog.records
        if record.name == "tests.edge"
    ]
    said = [(id_, text) for id_ in ids for text in ("on its way", "with parts", "beside it")]
    assert lines == [*said, (None, "outside")]


def test_a_defect_is_in_the_log_under_its_id(closed: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    answer = closed.get("/v1/defect")
    (line,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert line.getMessage() == "unexpected ZeroDivisionError"
    assert line.__dict__["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/health", {"X-Long": "x" * 40_000}, 431, "headers_too_large"),
        ("/health", {f"X-{n}": "x" for n in range(120)}, 431, "headers_too_large"),
        ("/" + "x" * 3_000, {}, 414, "address_too_long"),
        ("/health?" + "x" * 9_000, {}, 414, "address_too_long"),
    ],
)
def test_what_is_too_large_is_refused(
    closed: TestClient, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = closed.get(path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_method_that_a_path_does_not_take_is_answered_with_all_that_it_takes(closed: TestClient) -> None:
    answer = closed.post("/v1/session")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "DELETE, GET, PATCH, PUT"
    head = closed.head("/v1/session")
    assert (head.status_code, head.content) == (405, b"")


def test_what_a_page_may_read_is_what_is_sent(house: House) -> None:
    """A header that is sent and not in the list could not be read by a page."""
    sent: Any = build_app(house, one_at_a_time=False).openapi()
    told = {
        name.lower()
        for path in sent["paths"].values()
        for operation in path.values()
        for answer in operation["responses"].values()
        for name in answer.get("headers", {})
    }
    assert told <= {name.lower() for name in SHOWN} | {"allow", "cache-control"}
