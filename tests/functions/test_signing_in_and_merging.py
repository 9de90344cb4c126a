"""The story of a phone: it talks before anybody has signed in, and what was said becomes a part of the account's conversation."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from core.settings import Settings
from dev.demo_model import DemoModel
from tests.conversations import refusals, sent
from tests.doors import Door, new_device, opened, settings_of, user_token


@pytest.fixture
def door(settings: Settings, model: DemoModel) -> Iterator[Door]:
    with opened(settings_of(settings, "bound")) as door:
        yield door
    assert refusals(model) == []


class Phone:
    def __init__(self, door: Door) -> None:
        self.door, self.device = door, new_device()
        self.token: str = door.register(self.device)["token"]

    def call(self, method: str, path: str, **more: Any) -> Any:
        answer = self.door.call(method, path, self.device, self.token, **more)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def say(self, text: str) -> str:
        session: str = self.door.say(self.device, self.token, text)["session_id"]
        return session

    def sign_in(self) -> list[str]:
        answer = self.door.link(self.device, self.token, user_token())
        assert answer.status_code == 200, answer.text
        self.token = answer.json()["token"]
        return [str(UUID(id_)) for id_ in answer.json()["sessions"]]

    def merge(self, target: str, source: str) -> dict[str, Any]:
        path = f"/v1/sessions/{target}/merge"
        preview = self.call("POST", path, json={"from": source, "preview": True})
        merged: dict[str, Any] = self.call(
            "POST", path, json={"from": source}, headers={"If-Match": preview["etag"]}
        )
        return merged

    def undo(self, merged: dict[str, Any]) -> dict[str, Any]:
        session, revision = merged["session"]["id"], merged["revision"]["id"]
        undone: dict[str, Any] = self.call("POST", f"/v1/sessions/{session}/revisions/{revision}/undo")
        return undone


def said(model: DemoModel) -> list[str]:
    return [text for role, (*_, text) in sent(model) if role == "user"]


def test_an_anonymous_talk_becomes_a_part_of_the_accounts_and_is_given_back(
    door: Door, model: DemoModel
) -> None:
    desktop, phone = Phone(door), Phone(door)
    desktop.sign_in()
    home = desktop.say("I am Ada.")
    away = phone.say("Where are you?")
    path = f"/v1/sessions/{home}/merge"
    stranger = door.call("POST", path, phone.device, phone.token, json={"from": away, "preview": True})
    assert stranger.status_code == 404
    assert phone.sign_in() == [away]
    merged = phone.merge(home, away)
    assert merged["session"]["id"] == home
    assert phone.say("And now?") == home, "the phone went along"
    assert said(model) == ["I am Ada.", "Where are you?", "And now?"]
    messages = phone.call("GET", "/v1/session/messages")["items"]
    assert [item["origin"] for item in messages[2:4]] == [
        {"session_id": away, "seq": 1},
        {"session_id": away, "seq": 2},
    ]
    assert phone.undo(merged)["revision"]["left"] == []
    phone.say("Still there?")
    assert said(model) == ["I am Ada.", "And now?", "Still there?"]
    phone.call("PUT", "/v1/session", json={"session_id": away})
    assert phone.say("And I?") == away
    assert said(model) == ["Where are you?", "And I?"]


def test_whoever_signs_in_after_a_merge_can_take_it_back(door: Door, model: DemoModel) -> None:
    phone = Phone(door)
    first = phone.say("one")
    second = phone.call("POST", "/v1/sessions", json={})["id"]
    phone.call("PUT", "/v1/session", json={"session_id": second})
    phone.say("two")
    merged = phone.merge(first, second)
    phone.sign_in()
    phone.undo(merged)
    phone.call("PUT", "/v1/session", json={"session_id": second})
    assert phone.say("three") == second
    assert said(model) == ["two", "three"]
