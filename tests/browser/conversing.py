"""What somebody does with conversations on the chat page, by clicking and typing, as the tests say it."""

import re

from playwright.sync_api import Locator, Page, expect


def say(page: Page, text: str) -> None:
    """And hears all of the answer."""
    answered = page.locator("#messages .theirs").count()
    page.locator("#say").fill(text)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("#messages .theirs")).not_to_have_count(answered)
    expect(page.locator("#messages")).to_have_attribute("aria-busy", "false")


def begin(page: Page) -> None:
    """Another conversation."""
    expect(shown(page)).to_have_count(1)
    before = rooms(page).count()
    page.get_by_role("button", name="New", exact=True).click()
    expect(rooms(page)).to_have_count(before + 1)
    expect(shown(page)).to_contain_text("New conversation")
    expect(page.locator("#messages li")).to_have_count(0)
    expect(page.locator("#say")).to_be_focused()


def choose(page: Page, item: str) -> None:
    """From the menu of the conversation that is shown."""
    page.locator("#room-actions summary").click()
    page.locator("#room-actions").get_by_role("button", name=item, exact=True).click()


def rename(page: Page, title: str) -> None:
    choose(page, "Rename")
    dialog(page).get_by_label("Title").fill(title)
    page.keyboard.press("Enter")
    expect(dialog(page)).to_have_count(0)
    expect(page.locator("#title")).to_have_text(title)


def act(message: Locator, action: str) -> None:
    """From what can be done from a message on."""
    message.locator("details.acts summary").click()
    message.get_by_role("button", name=action).click()


def rooms(page: Page) -> Locator:
    """The list's conversations."""
    return page.locator("#rooms li > button")


def titles(page: Page) -> Locator:
    return page.locator("#rooms li > button > span")


def shown(page: Page) -> Locator:
    """The one of the list that is shown."""
    return page.locator("#rooms li > button[aria-current=true]")


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog")


def mine(page: Page) -> Locator:
    return page.locator("#messages .mine")


def link_for(page: Page, role: str = "viewer") -> str:
    """Made by clicking; the dialog stays."""
    choose(page, "Share")
    dialog(page).get_by_label("Whoever has the link").select_option(role)
    dialog(page).get_by_role("button", name="Make a link").click()
    field = dialog(page).get_by_label("The link, shown this once")
    expect(field).to_have_value(re.compile("#share="))
    return field.input_value()


def close(page: Page) -> None:
    page.keyboard.press("Escape")
    expect(dialog(page)).to_have_count(0)
