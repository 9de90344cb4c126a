"""Three quick messages on the chat page, under each policy: what becomes of them is seen while it happens, and afterwards."""

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from dev.demo_model import Fault, Reply
from tests.browser.chatting import is_quiet, mine, replies, say, turns_of
from tests.browser.conftest import OpenPage
from tests.browser.service import Service

FIRST, SECOND, THIRD = "I am the first.", "I am the second.", "I am the third."


pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.fixture
def held(service: Service) -> Iterator[threading.Event]:
    """The first answer waits for it."""
    opens = threading.Event()
    service.model.faults.add(Fault.gate(opens))
    yield opens
    opens.set()


def _three(page: Page, policy: str) -> None:
    page.get_by_label("While it answers").select_option(policy)
    say(page, FIRST)
    expect(page.locator("#stop")).to_be_visible()
    say(page, SECOND)
    say(page, THIRD)
    expect(mine(page)).to_have_count(3)


def _states(page: Page, *words: str) -> None:
    expect(page.locator(".exchange .state")).to_have_text(list(words))


def test_they_wait_in_line(page_of: OpenPage, service: Service, held: threading.Event) -> None:
    page = page_of(service.url)
    service.model.replies.add(Reply("To one."), Reply("To two."), Reply("To three."))
    _three(page, "queue")
    _states(page, "", "Waits in line", "Waits in line")
    page.reload()
    _states(page, "", "Waits in line", "Waits in line")
    assert page.get_by_label("While it answers").input_value() == "queue"
    held.set()
    expect(replies(page)).to_have_text(["To one.", "To two.", "To three."])
    is_quiet(page)
    expect(mine(page)).to_have_text([FIRST, SECOND, THIRD])


def test_they_join_the_one_that_waits(page_of: OpenPage, service: Service, held: threading.Event) -> None:
    page = page_of(service.url)
    service.model.replies.add(Reply("To one."), Reply("To both."))
    _three(page, "merge")
    _states(page, "", "Waits in line", "Joined with the message before")
    held.set()
    expect(replies(page)).to_have_text(["To one.", "To both."])
    is_quiet(page)
    expect(mine(page)).to_have_text([FIRST, SECOND, THIRD])


def test_the_last_takes_the_place_of_the_one_that_waits(
    page_of: OpenPage, service: Service, held: threading.Event
) -> None:
    page = page_of(service.url)
    service.model.replies.add(Reply("To one."), Reply("To three."))
    _three(page, "latest")
    _states(page, "", "Replaced by a later message", "Waits in line")
    held.set()
    expect(replies(page)).to_have_text(["To one.", "To three."])
    is_quiet(page)
    assert turns_of(service.database_url, page) == ["completed", "cancelled", "completed"]


@pytest.mark.parametrize("policy", ["interrupt", "rollback"])
def test_they_interrupt_what_runs(
    page_of: OpenPage, service: Service, held: threading.Event, policy: str
) -> None:
    page = page_of(service.url)
    service.model.replies.add(Reply("Never seen."), Reply("To those after."), Reply("To the last."))
    _three(page, policy)
    words = "Taken back" if policy == "rollback" else "Interrupted by your next message"
    expect(page.locator(".note", has_text=words).first).to_be_visible()
    is_quiet(page)
    expect(replies(page).last).to_contain_text("To the")
    held.set()
    statuses = turns_of(service.database_url, page)
    assert (statuses[0], statuses[-1]) == ("cancelled", "completed")
    left_out = page.locator(".mine.left-out .bubble", has_text=FIRST)
    expect(left_out).to_have_count(1 if policy == "rollback" else 0)
    assert replies(page).filter(has_text="Never seen.").count() == 0


def test_they_steer_what_runs(page_of: OpenPage, service: Service, held: threading.Event) -> None:
    page = page_of(service.url)
    service.model.replies.add(Reply("To one."), Reply("To all of them."))
    _three(page, "steer")
    _states(page, "", "Will be read before the next step", "Will be read before the next step")
    held.set()
    expect(replies(page).last).to_have_text("To all of them.")
    is_quiet(page)
    expect(mine(page)).to_have_text([FIRST, SECOND, THIRD])
    assert turns_of(service.database_url, page) == ["completed", "joined", "joined"]


def test_they_are_refused_and_can_be_sent_again(
    page_of: OpenPage, service: Service, held: threading.Event
) -> None:
    page = page_of(service.url)
    service.model.replies.add(Reply("To one."), Reply("To two."))
    _three(page, "reject")
    refused = "Not sent. Something is being answered just now. Try again in a moment. Send againEdit"
    _states(page, "", refused, refused)
    held.set()
    expect(replies(page)).to_have_text(["To one."])
    page.get_by_role("button", name="Send again").first.click()
    expect(replies(page)).to_have_text(["To one.", "To two."])
    page.get_by_role("button", name="Edit").click()
    expect(page.get_by_role("textbox", name="Your message")).to_have_value(THIRD)
    is_quiet(page)
    assert turns_of(service.database_url, page) == ["completed", "completed"]


def test_many_that_wait_leave_room_to_stop(
    page_of: OpenPage, service: Service, held: threading.Event
) -> None:
    """A browser has six connections to a service, and a stream holds one for as long as it is read."""
    page = page_of(service.url)
    for number in range(9):
        say(page, f"Message {number}")
    expect(page.locator(".state", has_text="Waits in line")).to_have_count(8)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".note", has_text="Stopped")).to_have_count(1)
    held.set()
    expect(replies(page)).to_have_count(8)
    is_quiet(page)
