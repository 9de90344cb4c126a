"""Images and documents over HTTP: in, out, and refused."""

import base64
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from core.settings import Settings
from core.store import messages
from dev.demo_model import DemoModel
from functions import answers
from functions.shapes import MessagesShape, ProblemShape, TurnBody
from tests.databases import run
from tests.images import document, image, jpeg, png

TEXT = {"type": "text", "text": "What is this?"}


def _send(client: TestClient, *blocks: dict[str, Any], **headers: str) -> Any:
    return client.post("/v1/turns", json={"message": list(blocks)}, headers=headers)


def test_an_image_goes_in_and_comes_out_as_it_was(client: TestClient, model: DemoModel) -> None:
    blocks = [image(jpeg(640, 480), "image/jpeg"), document("Dear Ada", title="Letter"), TEXT]
    TurnBody.model_validate({"message": blocks})
    assert _send(client, *blocks).status_code == 200
    page = client.get("/v1/session/messages").json()
    MessagesShape.model_validate(page)
    assert page["items"][0]["content"] == blocks == model.requests[-1].body["messages"][0]["content"]


def test_a_phones_photograph_gets_through_by_default(client: TestClient, model: DemoModel) -> None:
    photograph = image(png(4_000, 3_000, extra=bytes(3_700_000)))
    assert _send(client, photograph).json()["status"] == "completed"
    assert len(model.requests) == 1


def test_the_default_body_fits_into_what_lambda_takes(settings: Settings) -> None:
    """The event holds the body as a text in JSON, so each of its quotes is two characters, and the headers."""
    data = base64.b64encode(bytes(settings.max_body_bytes)).decode()[: settings.max_body_bytes - 2_000]
    body = json.dumps({"message": [image(b"")] * 9 + [{**TEXT, "text": data}]})
    assert len(body) <= settings.max_body_bytes
    assert len(json.dumps({"body": body})) + 20_000 < 6_291_556


@pytest.mark.parametrize(
    ("block", "status", "code", "field"),
    [
        (
            {"type": "image", "source": {"type": "url", "url": "https://x"}},
            422,
            "invalid_request",
            "message[1].source",
        ),
        (image(b"words"), 422, "invalid_request", "message[1].source.data"),
        (image(png(8_001, 1)), 413, "image_too_large", None),
        (document("x" * 131_072), 413, "message_too_large", None),
    ],
)
def test_what_is_refused_is_told_where_and_nothing_is_stored(
    client: TestClient, database_url: str, block: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    response = _send(client, TEXT, block)
    problem = response.json()
    ProblemShape.model_validate(problem)
    assert (response.status_code, problem["code"]) == (status, code)
    assert [error["field"] for error in problem.get("errors") or []] == ([field] if field else [])
    assert run(database_url, "SELECT count(*) FROM turns") == [(0,)]


def test_more_images_than_the_setting_says_are_refused(client: TestClient) -> None:
    assert _send(client, *[image()] * 10).status_code == 200
    assert _send(client, *[image()] * 11).json()["code"] == "invalid_request"


def test_a_page_is_never_more_than_an_answer_can_carry(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        assert _send(client, image(png(1, 1, extra=bytes([number]) * 3_000))).status_code == 200
    whole = client.get("/v1/session/messages").json()
    assert [item["seq"] for item in whole["items"]] == list(range(1, 7))
    monkeypatch.setattr(messages, "_MOST_BYTES", 5_000)
    forwards: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = client.get(f"/v1/session/messages?after={after}").json()
        assert 1 <= sum("image" in str(item) for item in page["items"]) <= 1
        forwards += page["items"]
        after = page["next"]
    assert forwards == whole["items"]
    backwards: list[Any] = []
    before: int | None = 10**9
    while before is not None:
        page = client.get(f"/v1/session/messages?before={before}").json()
        assert len(page["items"]) <= 3
        backwards = page["items"] + backwards
        before = page["next"]
    assert backwards == whole["items"]
    monkeypatch.setattr(messages, "_MOST_BYTES", 1)
    assert len(client.get("/v1/session/messages").json()["items"]) == 1


def test_a_message_that_was_merged_to_more_than_that_is_shown_without_its_images(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    _send(client, TEXT, image())
    monkeypatch.setattr(answers, "_MOST_OF_A_MESSAGE", 100)
    (first, _) = client.get("/v1/session/messages").json()["items"]
    assert [block["type"] for block in first["content"]] == ["text", "text"]
    assert first["content"][0] == TEXT
    assert "left out" in first["content"][1]["text"]


def test_openapi_tells_of_images_and_documents(client: TestClient) -> None:
    told = client.get("/openapi.json").json()
    assert {"TextBlock", "ImageBlock", "DocumentBlock"} <= set(told["components"]["schemas"])
