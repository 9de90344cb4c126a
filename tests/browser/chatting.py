"""What people do on the chat page, for its tests."""

from playwright.sync_api import Locator, Page, expect

from dev.demo_model import Reply
from tests.databases import run


def write(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Your message")


def say(page: Page, text: str) -> None:
    write(page).fill(text)
    write(page).press("Enter")


def mine(page: Page) -> Locator:
    return page.locator(".mine .bubble")


def replies(page: Page) -> Locator:
    return page.locator(".theirs .bubble")


def calling(name: str, **given: object) -> Reply:
    """The model's, in which it asks for a tool."""
    return Reply(
        [{"type": "text", "text": "One moment."}, {"type": "tool_use", "name": name, "input": given}]
    )


def is_quiet(page: Page) -> None:
    """All that was said is over."""
    expect(page.locator(".exchange .thinking:visible")).to_have_count(0)
    expect(page.locator("#stop")).to_be_hidden()
    expect(page.locator("#messages")).to_have_attribute("aria-busy", "false")


def device_of(page: Page) -> str:
    found: str = page.evaluate(
        "JSON.parse(localStorage.getItem(Object.keys(localStorage).find(key => key.startsWith('latchkey:http')))).id"
    )
    return found


def session_of(url: str, page: Page) -> str:
    """The conversation that its device is in."""
    ((session,),) = run(url, "SELECT session_id FROM connections WHERE device_id = %s", device_of(page))
    return str(session)


def turns_of(url: str, page: Page) -> list[str]:
    """The statuses of the turns of the conversation that its device is in, in order."""
    found = run(
        url,
        "SELECT t.status FROM turns t JOIN connections c ON c.session_id = t.session_id WHERE c.device_id = %s ORDER BY t.seq",
        device_of(page),
    )
    return [status for (status,) in found]


def sideways(page: Page) -> int:
    """By how much it could be scrolled to the side."""
    wide: int = page.evaluate(
        "Math.max(...['html', 'body', '#scroll', '#todos', '#composer'].map(name => { const node = document.querySelector(name); "
        "return node.scrollWidth - node.clientWidth; }))"
    )
    return wide
