"""The chat page as it comes and as it looks: what it loads, wide and narrow, light and dark, by keyboard, and what axe-core says of it."""

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from dev.demo_model import DemoModel, Reply
from dev.postgres import EmbeddedPostgres
from tests.browser.chatting import calling, is_quiet, mine, replies, say, sideways, write
from tests.browser.conftest import OpenPage
from tests.browser.service import Service
from tests.databases import new_database
from tests.doors import AUDIENCE, ISSUER, USER_KEY, user_token
from tests.nursery import Nursery

MOST_BYTES = 100_000
NARROW = {"width": 390, "height": 844}
SCHEMES = ["light", "dark"]


pytestmark = pytest.mark.usefixtures("nothing_is_left")


def _everything(page: Page, service: Service) -> None:
    """A handoff, a tool, a list of what is to be done, and a question."""
    long = "Averyveryveryverylongwordthathasnoplacetobebrokenatbyanybodyandgoesonandonandon" * 2
    todos = [{"content": "find a time", "status": "completed"}, {"content": long, "status": "pending"}]
    service.model.replies.add(
        Reply(f"`{long}`\n\n- one\n- two {long}\n\n```\n{long} {long}\n```\nhttps://example.com/{long}"),
        calling("hand_over", to="scheduling", reason="an appointment"),
        calling("set_todos", todos=todos),
        calling("cancel_appointment", number=4711, more={"nested": [long]}),
    )
    say(page, f"Hello {long}")
    expect(replies(page)).to_have_count(1)
    say(page, "Cancel my appointment, please.")
    expect(page.locator("#asked .card")).to_be_visible()
    expect(page.locator("#todos li")).to_have_count(2)


def test_it_is_there_within_one_round_trip_and_so_many_bytes(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    say(page, "Hello")
    expect(replies(page)).to_have_count(1)
    loaded = page.evaluate(
        "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')].map(entry => ({"
        "path: new URL(entry.name).pathname, starts: entry.fetchStart, asked: entry.requestStart, ends: entry.responseEnd, "
        "wire: entry.encodedBodySize, plain: entry.decodedBodySize}))"
    )
    files = [one for one in loaded if not one["path"].startswith("/v1/")]
    print({kind: sum(one[kind] for one in files) for kind in ("wire", "plain")})
    assert sum(one["wire"] for one in files) <= MOST_BYTES
    parts = [one for one in files if one["path"] != "/" and not one["path"].endswith(".svg")]
    assert len(parts) >= 15
    first_end = min(one["ends"] for one in parts)
    late = [one["path"] for one in parts if one["starts"] > first_end]
    assert not late, "these were only asked for when another one was there"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_bars_people_from_it(
    page_of: OpenPage, service: Service, axe: Callable[[Page], list[str]], scheme: str
) -> None:
    page = page_of(service.url, color_scheme=scheme)
    assert axe(page) == []
    _everything(page, service)
    assert axe(page) == []
    page.get_by_role("button", name="Deny").click()
    is_quiet(page)
    expect(page.locator("#todos")).to_be_visible()
    page.locator(".tool summary").last.click()
    page.locator("#usage summary").click()
    assert axe(page) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_fits_a_narrow_phone(
    page_of: OpenPage, service: Service, axe: Callable[[Page], list[str]], scheme: str
) -> None:
    page = page_of(service.url, viewport=NARROW, has_touch=True, is_mobile=True, color_scheme=scheme)
    assert sideways(page) <= 0
    _everything(page, service)
    assert sideways(page) <= 0
    for button in page.get_by_role("button").all():
        if button.is_visible():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 44, button.text_content()
    drawer = page.locator("#rooms")
    expect(drawer).not_to_be_in_viewport()
    page.get_by_role("button", name="Conversations").tap()
    expect(drawer).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(drawer).not_to_be_in_viewport()
    page.get_by_role("button", name="Deny").tap()
    is_quiet(page)
    expect(page.locator("#todos")).to_be_visible()
    assert sideways(page) <= 0
    assert axe(page) == []


def test_a_whole_turn_by_the_keyboard_alone(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    service.model.replies.add(
        calling("hand_over", to="scheduling", reason="an appointment"),
        calling("cancel_appointment", number=4711),
        Reply("It could not be found."),
    )
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the message field")).to_be_focused()
    page.keyboard.press("Enter")
    expect(write(page)).to_be_focused()
    page.keyboard.type("Cancel my appointment, please.")
    page.keyboard.press("Enter")
    expect(mine(page)).to_have_count(1)
    expect(page.locator("#asked .card")).to_be_visible()
    expect(write(page)).to_be_focused()
    approve = page.get_by_role("button", name="Approve")
    for _ in range(15):
        page.keyboard.press("Shift+Tab")
        if approve.evaluate("node => node === document.activeElement"):
            break
    expect(approve).to_be_focused()
    page.keyboard.press("Enter")
    expect(replies(page).last).to_have_text("It could not be found.")
    is_quiet(page)
    expect(write(page)).to_be_focused()
    said = page.locator("#told").text_content() or ""
    assert re.search(
        r"Scheduling asks: cancel appointment\?.*You allowed it.*It could not be found\.", said, re.DOTALL
    )


def test_what_is_being_composed_is_not_sent(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    write(page).fill("nihongo")
    write(page).evaluate(
        "node => node.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true, cancelable: true}))"
    )
    expect(write(page)).to_have_value("nihongo")
    expect(mine(page)).to_have_count(0)


def test_without_scripts_it_says_what_to_do(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url, java_script_enabled=False)
    expect(page.locator("noscript pre")).to_contain_text("curl -s")


def test_where_people_have_tokens_it_asks_for_one(
    page_of: OpenPage, nursery: Nursery, postgres: EmbeddedPostgres, template: str
) -> None:
    keys = {"JWT_KEYS": json.dumps({"users": USER_KEY}), "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}
    with new_database(postgres, template) as url, DemoModel() as model:
        service = Service(nursery, url, model, {"ACCESS_MODE": "jwt", **keys})
        service.start()
        page = page_of(service.url)
        field = page.get_by_label("This service wants to know who you are")
        field.fill("nonsense")
        field.press("Enter")
        field = page.get_by_label("Your sign-in is not valid. Sign in again.")
        field.fill(user_token("ada"))
        field.press("Enter")
        expect(field).to_be_hidden()
        say(page, "Hello, my name is Ada.")
        expect(replies(page)).to_contain_text("Nice to meet you, Ada.")
        page.reload()
        expect(replies(page)).to_contain_text("Nice to meet you, Ada.")
        assert page.evaluate("JSON.stringify(localStorage)").count("eyJ") == 0
        service.kill()
