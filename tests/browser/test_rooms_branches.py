"""Forks, merges, and what is taken back, on the chat page."""

import threading

import pytest
from playwright.sync_api import expect

from dev.demo_model import Fault, Reply
from tests.browser.conftest import OpenPage
from tests.browser.conversing import act, begin, choose, dialog, mine, rooms, say, shown, titles
from tests.browser.service import Service

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def test_a_fork_goes_on_from_a_message_and_leads_back(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    say(page, "My name is Ada.")
    say(page, "Tell me a joke.")
    act(mine(page).first, "Fork here")
    expect(shown(page)).to_contain_text("Fork of My name is Ada.")
    expect(mine(page)).to_have_count(1)
    expect(page.locator("#say")).to_be_focused()
    say(page, "What is my name?")
    expect(page.locator("#messages .theirs").last).to_contain_text("Your name is Ada")
    page.locator("#origin").get_by_role("button", name="My name is Ada.").click()
    expect(mine(page).last).to_contain_text("Tell me a joke.")
    expect(page.locator("#origin")).to_be_hidden()
    expect(rooms(page)).to_have_count(2)


def test_what_came_after_a_message_is_taken_back_and_back_again(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    say(page, "My name is Ada.")
    say(page, "I meant Grace.")
    act(mine(page).first, "Take back what came after")
    dialog(page).get_by_role("button", name="Take back").click()
    note = page.locator(".room-note")
    expect(note).to_contain_text("Taken back: 2 messages.")
    expect(mine(page).last).to_contain_text("taken back")
    note.get_by_role("button", name="Undo").click()
    expect(note).to_contain_text("Undone.")
    expect(mine(page).last).not_to_contain_text("taken back")


def test_a_merge_is_looked_at_first_and_anew_if_something_changed_meanwhile(
    page_of: OpenPage, service: Service
) -> None:
    page = page_of(service.url)
    say(page, "My name is Ada.")
    act(mine(page).first, "Fork here")
    expect(shown(page)).to_contain_text("Fork of")
    say(page, "Aside one")
    page.locator("#origin button").click()
    expect(page.locator("#origin")).to_be_hidden()
    choose(page, "Rename")
    dialog(page).get_by_label("Title").fill("Main")
    page.keyboard.press("Enter")
    expect(titles(page).filter(has_text="Main")).to_have_count(1)

    choose(page, "Merge")
    dialog(page).get_by_label("Which one").select_option(label="Fork of My name is Ada.")
    expect(dialog(page)).to_contain_text("2 messages in 1 turn would come")
    expect(dialog(page).get_by_role("row", name="title")).to_contain_text("Main")
    dialog(page).get_by_label("Details: keep what is").select_option("source")

    # Somebody says more in it meanwhile.
    page.evaluate(
        """async () => {
        const { Latchkey } = await import("/web/latchkey.js");
        const latchkey = new Latchkey({ baseUrl: location.origin });
        const { items } = await latchkey.sessions();
        const fork = items.find((one) => one.metadata.title?.startsWith("Fork"));
        await latchkey.send("Aside two", { sessionId: fork.id });
    }"""
    )
    dialog(page).get_by_role("button", name="Merge", exact=True).click()
    expect(dialog(page).get_by_role("status")).to_contain_text("has changed meanwhile")
    expect(dialog(page)).to_contain_text("4 messages in 2 turns would come")
    dialog(page).get_by_role("button", name="Merge", exact=True).click()
    expect(dialog(page)).to_have_count(0)
    expect(mine(page).last).to_contain_text("Aside two")
    expect(rooms(page)).to_have_count(1)
    expect(shown(page)).to_contain_text("Fork of")

    page.locator(".room-note").get_by_role("button", name="Undo").click()
    expect(rooms(page)).to_have_count(2)
    expect(shown(page)).to_contain_text("Main")
    choose(page, "Undo changes")
    expect(dialog(page)).to_contain_text("Nothing was taken back or merged")


def test_a_fork_takes_whole_turns_also_where_tools_ran_and_where_messages_joined(
    page_of: OpenPage, service: Service
) -> None:
    page = page_of(service.url)
    find = {
        "type": "tool_use",
        "name": "hand_over",
        "input": {"to": "scheduling", "reason": "An appointment."},
    }
    service.model.replies.add(Reply([find]), Reply("When?"), Reply("To one."), Reply("To both."))
    opens = threading.Event()
    say(page, "An appointment, please.")
    service.model.faults.add(Fault.gate(opens))
    page.get_by_label("While it answers").select_option("merge")
    for text in ("One", "Two", "Three"):
        page.locator("#say").fill(text)
        page.keyboard.press("Enter")
    expect(mine(page).last).to_contain_text("Joined")
    opens.set()
    expect(page.locator("#messages .theirs")).to_have_count(3)
    expect(page.locator("#messages")).to_have_attribute("aria-busy", "false")
    page.reload()
    source = page.locator("#rooms [aria-current]").get_attribute("data-room")
    for place, said in ((0, 1), (3, 4)):  # two that joined have what can be done with them once
        act(mine(page).nth(place), "Fork here")
        expect(shown(page)).to_contain_text("Fork of")
        expect(mine(page)).to_have_count(said)
        expect(page.locator("#messages .theirs")).to_have_count(1 if said == 1 else 3)
        page.locator(f"[data-room='{source}']").click()
        expect(mine(page)).to_have_count(4)


def test_while_it_answers_nothing_is_taken_back_and_one_is_told_at_once(
    page_of: OpenPage, service: Service
) -> None:
    page = page_of(service.url)
    say(page, "Hello")
    say(page, "Hello again")
    service.model.faults.add(Fault.gate(held := threading.Event()))
    page.locator("#say").fill("And now?")
    page.keyboard.press("Enter")
    expect(page.locator("#stop")).to_be_visible()
    act(mine(page).first, "Take back what came after")
    dialog(page).get_by_role("button", name="Take back").click()
    expect(dialog(page).get_by_role("status")).to_contain_text("answered")
    held.set()


def test_what_runs_and_what_was_written_stay_where_they_are(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    say(page, "Hello")
    begin(page)
    opens = threading.Event()
    service.model.replies.add(Reply("It took its time."))
    service.model.faults.add(Fault.gate(opens))
    page.locator("#say").fill("Think long.")
    page.keyboard.press("Enter")
    expect(page.locator("#stop")).to_be_visible()
    page.locator("#say").fill("Half a sen")
    titles(page).filter(has_text="Hello").click()
    expect(mine(page)).to_contain_text("Hello")
    expect(page.locator("#say")).to_have_value("")
    expect(page.locator("#stop")).to_be_hidden()
    opens.set()
    rooms(page).first.click()
    expect(page.locator("#messages .theirs")).to_contain_text("It took its time.")
    expect(page.locator("#messages .theirs")).to_have_count(1)
    expect(page.locator("#say")).to_have_value("Half a sen")
