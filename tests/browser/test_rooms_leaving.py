"""A conversation as a file; a conversation that ends; devices; and everything erased."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.chatting import device_of
from tests.browser.conftest import OpenPage
from tests.browser.conversing import begin, choose, dialog, mine, rooms, say, shown
from tests.browser.service import Service
from tests.databases import run


def test_a_conversation_leaves_as_a_file_and_comes_back(
    page_of: OpenPage, service: Service, tmp_path: Path
) -> None:
    page = page_of(service.url)
    say(page, "My name is Ada.")
    with page.expect_download() as downloading:
        choose(page, "Export")
    file = tmp_path / downloading.value.suggested_filename
    downloading.value.save_as(file)
    assert file.name == f"conversation-{datetime.now(UTC):%Y-%m-%d}.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [lines[0]["kind"], lines[-1]["kind"]] == ["session", "end"]

    before = shown(page).get_attribute("data-room")
    assert before is not None
    with page.expect_file_chooser() as choosing:
        choose(page, "Import")
    choosing.value.set_files(file)
    expect(rooms(page)).to_have_count(2)
    expect(shown(page)).not_to_have_attribute("data-room", before)
    expect(mine(page)).to_contain_text("My name is Ada.")

    file.write_text("no conversation")
    with page.expect_file_chooser() as choosing:
        choose(page, "Import")
    choosing.value.set_files(file)
    expect(page.locator("#trouble")).not_to_be_empty()
    expect(rooms(page)).to_have_count(2)


def test_a_conversation_ends_after_a_question_and_the_next_one_is_shown(
    page_of: OpenPage, service: Service
) -> None:
    page = page_of(service.url)
    say(page, "The first")
    begin(page)
    say(page, "The second")
    choose(page, "End")
    expect(dialog(page).get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog(page)).to_have_count(0)
    expect(rooms(page)).to_have_count(2)
    choose(page, "End")
    dialog(page).get_by_role("button", name="End it").click()
    expect(shown(page)).to_contain_text("The first")
    expect(mine(page)).to_contain_text("The first")
    choose(page, "End")
    dialog(page).get_by_role("button", name="End it").click()
    expect(rooms(page)).to_have_count(0)
    expect(page.locator("#messages li")).to_have_count(0)
    say(page, "The third")
    expect(shown(page)).to_contain_text("The third")


def test_everything_is_erased_by_who_types_the_word(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    say(page, "My name is Ada Erased.")
    device = page.evaluate("JSON.parse(localStorage.getItem(`latchkey:${location.origin}`)).id")
    choose(page, "Erase everything")
    expect(dialog(page).get_by_label("The word ERASE")).to_be_focused()
    dialog(page).get_by_role("button", name="Erase everything").click()
    expect(dialog(page).get_by_role("status")).to_contain_text("Type the word ERASE first.")
    dialog(page).get_by_label("The word ERASE").fill("ERASE")
    dialog(page).get_by_role("button", name="Erase everything").click()
    expect(dialog(page)).to_contain_text("All is gone. This is the receipt:")
    expect(dialog(page)).to_contain_text("messages 2")
    with page.expect_navigation():
        dialog(page).get_by_role("button", name="Close", exact=True).last.click()
    expect(rooms(page)).to_have_count(0)
    expect(page.locator("#messages li")).to_have_count(0)
    left = run(service.database_url, "SELECT count(*) FROM messages WHERE content LIKE '%Ada Erased%'")
    assert left == [(0,)]
    say(page, "Somebody new")
    assert page.evaluate("JSON.parse(localStorage.getItem(`latchkey:${location.origin}`)).id") != device


def test_a_device_is_signed_out_and_is_somebody_new_then(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    say(page, "Hello")
    choose(page, "Your devices")
    expect(dialog(page)).to_contain_text("This one")
    with page.expect_navigation():
        dialog(page).get_by_role("button", name="Sign out this one").click()
    expect(rooms(page)).to_have_count(0)
    say(page, "Somebody new")
    expect(rooms(page)).to_have_count(1)


def test_another_device_is_signed_out_and_is_told_so(page_of: OpenPage, service: Service) -> None:
    """Both are one person's: the database is told so, for nobody signs in where it is `open`."""
    page = page_of(service.url)
    say(page, "Hello")
    person = run(
        service.database_url, "SELECT user_id FROM connections WHERE device_id = %s", device_of(page)
    )[0][0]
    other = page_of(service.url)
    say(other, "Hello from elsewhere")
    run(
        service.database_url,
        "UPDATE connections SET user_id = %s, session_id = NULL WHERE device_id = %s RETURNING device_id",
        person,
        device_of(other),
    )
    choose(page, "Your devices")
    dialog(page).get_by_role("button", name=re.compile("^Sign out (?!this)")).click()
    expect(dialog(page).get_by_role("button", name=re.compile("^Sign out"))).to_have_count(1)
    other.reload()
    expect(other.locator("#trouble")).to_contain_text("signed out")
