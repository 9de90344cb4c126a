"""How the conversations' side looks and is reached: by keyboard alone, on a phone, in the dark, by who does not see it; and what it weighs."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.conversing import begin, choose, close, dialog, mine, rename, rooms, say, shown, titles
from tests.browser.service import Service
from tests.databases import ROOT

_MOST_AT_ONCE = 22_000
_WEB = ROOT / "functions" / "web"
_ASKING = ("Rename", "Share", "Merge", "Undo changes", "End", "Your devices", "Erase everything")


def _tab_to(page: Page, name: str) -> None:
    """By the Tab key, until what has the focus is called so."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if (
            page.evaluate("(document.activeElement.ariaLabel ?? document.activeElement.innerText).trim()")
            == name
        ):
            return
    pytest.fail(f"nothing called {name} is reached by Tab")


def test_all_is_done_by_keyboard_alone(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    page.locator("#say").focus()
    page.keyboard.type("My name is Ada.")
    page.keyboard.press("Enter")
    expect(page.locator("#messages .theirs")).to_have_count(1)
    expect(shown(page)).to_contain_text("My name is Ada.")

    _tab_to(page, "Menu")
    page.keyboard.press("Enter")
    _tab_to(page, "Rename")
    page.keyboard.press("Enter")
    expect(dialog(page).get_by_label("Title")).to_be_focused()
    page.keyboard.type("By keys")
    page.keyboard.press("Enter")
    expect(shown(page)).to_contain_text("By keys")
    expect(page.locator("#room-actions summary")).to_be_focused()

    page.keyboard.press("Enter")
    _tab_to(page, "Share")
    page.keyboard.press("Enter")
    expect(dialog(page).get_by_label("Whoever has the link")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog(page)).to_have_count(0)
    expect(page.locator("#room-actions summary")).to_be_focused()

    _tab_to(page, "New")
    page.keyboard.press("Enter")
    expect(page.locator("#say")).to_be_focused()
    expect(rooms(page)).to_have_count(2)
    rooms(page).last.focus()
    page.keyboard.press("Enter")
    expect(mine(page)).to_contain_text("My name is Ada.")


def _fill(page: Page, item: str) -> None:
    """What was chosen, with all that it can show."""
    expect(dialog(page)).to_be_visible()
    if item == "Share":
        dialog(page).get_by_role("button", name="Make a link").click()
        expect(dialog(page).get_by_role("button", name="Take back")).to_be_visible()
    if item == "Merge":
        dialog(page).get_by_label("Which one").select_option(index=1)
        expect(dialog(page).get_by_role("table")).to_be_visible()


def _walk(page: Page, look: Callable[[str], None]) -> None:
    """Past all that this side shows."""
    say(page, "My name is Ada, and this is rather long, longer than what a narrow list can show of it")
    rename(page, "My name, and whatever else there is to be said of that")
    begin(page)
    say(page, "Another")
    rename(page, "Another")
    look("page")
    page.locator("#room-actions summary").click()
    look("menu")
    page.keyboard.press("Escape")
    for item in _ASKING:
        choose(page, item)
        _fill(page, item)
        look(item)
        close(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_bars_people(
    page_of: OpenPage, service: Service, axe: Callable[[Page], list[str]], scheme: str, tmp_path: Path
) -> None:
    page = page_of(service.url, color_scheme=scheme, viewport={"width": 1100, "height": 800})
    found: list[str] = []

    def look(what: str) -> None:
        page.screenshot(path=tmp_path / f"{scheme}-{what}.png")
        found.extend(f"{what}: {line}" for line in axe(page))

    _walk(page, look)
    assert found == []


def test_on_a_phone_the_list_is_a_drawer_and_nothing_is_wider_than_the_screen(
    page_of: OpenPage, service: Service, axe: Callable[[Page], list[str]], tmp_path: Path
) -> None:
    page = page_of(service.url, viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True)
    say(page, "Hello")
    rename(page, "The first of two conversations")
    for text in ("open", "closed"):
        page.locator("#open-rooms").click()
        expect(page.locator("#rooms")).to_have_class(re.compile("open"))
        if text == "open":
            expect(page.get_by_role("button", name="New", exact=True)).to_be_focused()
            expect(titles(page)).to_have_text(["The first of two conversations"])
            page.screenshot(path=tmp_path / "phone-drawer.png")
            assert axe(page) == []
            page.keyboard.press("Escape")
        else:
            page.get_by_role("button", name="New", exact=True).click()
        expect(page.locator("#rooms")).not_to_have_class(re.compile("open"))
    expect(page.locator("#say")).to_be_focused()
    say(page, "The second")
    rename(page, "Second")
    for item in _ASKING:
        choose(page, item)
        _fill(page, item)
        page.screenshot(path=tmp_path / f"phone-{item}.png")
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 390, item
        assert dialog(page).evaluate("(one) => one.scrollWidth - one.clientWidth") <= 0, item
        low = dialog(page).evaluate(
            "(one) => [...one.querySelectorAll('button')].filter((it) => it.offsetHeight < 44).map((it) => it.outerHTML)"
        )
        assert low == [], item
        close(page)


def test_the_list_is_there_at_once_and_what_asks_something_when_it_is_wanted(
    page_of: OpenPage, service: Service
) -> None:
    page = page_of(service.url)
    say(page, "Hello")
    script = "performance.getEntriesByType('resource').map((one) => new URL(one.name).pathname)"
    loaded = {path for path in page.evaluate(script) if path.startswith(("/web/rooms/", "/web/rooms.css"))}
    assert loaded == {"/web/rooms.css", *(f"/web/rooms/{name}.js" for name in ("rooms", "list", "dialog"))}
    assert sum((ROOT / "functions" / path.lstrip("/")).stat().st_size for path in loaded) <= _MOST_AT_ONCE
    choose(page, "Rename")
    expect(dialog(page)).to_be_visible()
    assert "/web/rooms/naming.js" in page.evaluate(script)


def test_what_cannot_be_loaded_is_told_and_can_be_asked_for_again(
    page_of: OpenPage, service: Service
) -> None:
    page = page_of(service.url)
    say(page, "Hello")
    page.route("**/rooms/naming.js", lambda route: route.abort())
    choose(page, "Rename")
    expect(page.locator("#trouble")).to_contain_text("cannot be reached")
    page.unroute("**/rooms/naming.js")
    choose(page, "Rename")
    expect(dialog(page)).to_be_visible()
