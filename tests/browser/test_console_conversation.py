"""One conversation in the console: all that happened in it, in order, in nobody's words; and what an operator does to it."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import clinic_hours
from tests.browser.clinic_hours import SECRET, as_operator
from tests.browser.conftest import OpenPage
from tests.browser.service import OPERATOR, Service
from tests.databases import run

_WIDE = {"width": 1300, "height": 900}
_NARROW = {"width": 390, "height": 844}
Look = Callable[..., Page]


@pytest.fixture
def look(service: Service, page_of: OpenPage) -> Look:
    """The page of this conversation, by a link that somebody passed on."""

    def open_page(session: str, **options: Any) -> Page:
        page = page_of(f"{service.url}/console#session={session}", **{"viewport": _WIDE, **options})
        page.get_by_role("textbox", name="Token").fill(OPERATOR)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("list", name="What happened")).to_be_visible()
        return page

    return open_page


def _steps(page: Page) -> list[str]:
    """All of the picture in the order in which it is read, but for headings."""
    return page.locator(".timeline .step .text").all_inner_texts()


def _act(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name=name, exact=True).click()


def _in_order(steps: list[str], *patterns: str) -> None:
    left = iter(steps)
    for pattern in patterns:
        assert any(re.search(pattern, step) for step in left), (pattern, steps)


# ---- the picture


def test_the_picture_has_all_that_happened_in_its_order(service: Service, look: Look) -> None:
    page = look(clinic_hours.decided(service).session)
    _in_order(
        _steps(page),
        "The conversation began",
        "Message 1: from a person",
        "Message 2: the model answered as manager; its answer is whole",
        "Turn completed",
        "Lock set: scheduling, until .* lock_set by user",
        "Metadata changed",
        "Message 3: from a person",
        "Message 4: the model answered as scheduling; it asked for tools",
        r"Tool cancel_appointment \(idempotent\): denied",
        r"A person \(owner\) was asked for a yes",
        "The question was denied",
        "Message 5: what the tools gave",
        "Message 6: the model answered as scheduling",
        "Turn completed",
    )
    expect(page.get_by_role("list", name="Turn 2, step by step")).to_be_visible()
    expect(page.locator(".turn .epoch").first).to_have_text("Lease epoch 1")
    expect(page.locator(".turn .epoch").last).to_contain_text("Lease epochs 2, then 3")
    expect(page.locator(".turn").first).to_contain_text("model ")
    expect(page.locator(".facts")).to_contain_text("scheduling")


def test_failures_crashes_and_what_waits_are_marked(service: Service, look: Look) -> None:
    page = look(clinic_hours.failed(service).session)
    expect(page.locator(".turn[data-status=failed]")).to_contain_text("model_rejected_request")
    page = look(clinic_hours.crashed(service).session)
    expect(page.locator(".turn .crash")).to_contain_text("recovered, another went on with it")
    page = look(clinic_hours.asked(service).session)
    expect(page.locator(".turn[data-status=waiting]")).to_contain_text("was asked for a yes, until")
    expect(page.locator("#conversation")).to_contain_text("Now: it waits for a person.")


def test_nobodys_words_are_on_the_page(service: Service, look: Look) -> None:
    device = clinic_hours.decided(service)
    assert SECRET in str(device.call("GET", "/v1/session/messages"))
    page = look(device.session)
    expect(page.locator("#conversation")).to_contain_text("nobody's words")
    assert SECRET not in page.content()
    assert SECRET not in str(as_operator(service, f"/sessions/{device.session}"))


def test_older_turns_come_on_request(service: Service, look: Look) -> None:
    device = clinic_hours.answered(service)
    for _ in range(29):
        device.say()
    page = look(device.session)
    assert page.locator(".turn h4").first.inner_text().startswith("Turn 6 ")
    page.get_by_role("button", name="Older turns").click()
    expect(page.locator(".turn")).to_have_count(30)
    assert [text.split()[1] for text in page.locator(".turn h4").all_inner_texts()] == [
        str(seq) for seq in range(1, 31)
    ]
    expect(page.get_by_role("button", name="Older turns")).to_have_count(0)
    assert _steps(page)[0].startswith("The conversation began")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [_WIDE, _NARROW], ids=["wide", "narrow"])
def test_nobody_is_barred_from_the_picture(
    service: Service, look: Look, axe: Callable[[Page], list[str]], scheme: str, viewport: dict[str, int]
) -> None:
    page = look(clinic_hours.decided(service).session, color_scheme=scheme, viewport=viewport)
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="End it").click()
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


# ---- what an operator does


def test_the_lock_is_cleared_and_the_audit_says_who_did_it(service: Service, look: Look) -> None:
    device = clinic_hours.locked(service)
    page = look(device.session)
    expect(page.locator(".facts")).to_contain_text("billing")
    _act(page, "Clear the lock")
    expect(page.locator("#came-of-it")).to_contain_text("The lock is cleared")
    _in_order(_steps(page), "Lock set: billing", "Lock cleared.*lock_cleared by operator")
    assert device.call("GET", "/v1/session")["active_agent"] is None
    _act(page, "Clear the lock")
    expect(page.locator("#came-of-it")).to_contain_text("Nobody held the lock")


def test_what_waits_is_cancelled_and_the_audit_says_who_did_it(service: Service, look: Look) -> None:
    device = clinic_hours.asked(service)
    page = look(device.session)
    _act(page, "Cancel its turns")
    expect(page.locator("#came-of-it")).to_contain_text("1 turn was cancelled")
    expect(page.locator(".turn[data-status=cancelled]")).to_have_count(1)
    _in_order(_steps(page), "was asked for a yes", "Stopped by an operator.*turn_cancelled by operator")
    assert device.call("GET", "/v1/approvals")["items"] == []
    _act(page, "Cancel its turns")
    expect(page.locator("#came-of-it")).to_contain_text("nothing to cancel")


def test_what_nobody_goes_on_with_is_woken_and_the_audit_says_who_did_it(
    service: Service, look: Look
) -> None:
    """The service's own clean-up may be quicker, which is no fault of anybody's: then it is stranded once more."""
    device = clinic_hours.answered(service)
    page = look(device.session)
    for _ in range(5):
        page.get_by_role("button", name="Recover", exact=True).click()
        clinic_hours.strand(device)
        page.get_by_role("dialog").get_by_role("button", name="Recover", exact=True).click()
        expect(page.locator("#came-of-it")).not_to_be_empty()
        if "woken" in page.locator("#came-of-it").inner_text():
            break
    expect(page.locator("#came-of-it")).to_contain_text("It was woken")
    _in_order(_steps(page), "Woken by an operator.*session_woken by operator")
    turn = run(
        service.database_url,
        "SELECT id::text FROM turns WHERE session_id = %s ORDER BY seq DESC LIMIT 1",
        device.session,
    )[0][0]
    assert device.call("GET", f"/v1/turns/{turn}?wait_s=20")["status"] == "completed"


def test_what_somebody_holds_is_let_alone(service: Service, look: Look) -> None:
    device = clinic_hours.answered(service)
    page = look(device.session)
    page.get_by_role("button", name="Recover", exact=True).click()
    clinic_hours.hold(device)
    clinic_hours.strand(device)
    page.get_by_role("dialog").get_by_role("button", name="Recover", exact=True).click()
    expect(page.locator("#came-of-it")).to_contain_text("A function is at work on it")
    expect(page.locator("#conversation")).to_contain_text("Now: a function is at work on it, under epoch")


def test_nothing_is_recovered_where_nothing_is_open(service: Service, look: Look) -> None:
    page = look(clinic_hours.answered(service).session)
    _act(page, "Recover")
    expect(page.locator("#came-of-it")).to_contain_text("nothing to recover")


def test_it_is_ended_only_by_who_types_the_beginning_of_its_id(service: Service, look: Look) -> None:
    device = clinic_hours.answered(service)
    session = device.session
    page = look(session)
    page.get_by_role("button", name="End it").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("first 4 characters").fill("zzzz")
    dialog.get_by_role("button", name="End it").click()
    expect(dialog.get_by_role("alert")).to_contain_text("not the first 4 characters")
    assert run(service.database_url, "SELECT count(*) FROM conversation_states WHERE id = %s", session) == [
        (1,)
    ]
    dialog.get_by_label("first 4 characters").fill(session[:4])
    dialog.get_by_role("button", name="End it").click()
    expect(page.locator("#came-of-it")).to_contain_text("The conversation is ended")
    assert run(service.database_url, "SELECT count(*) FROM conversation_states WHERE id = %s", session) == [
        (0,)
    ]
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("No conversation has this ID")


def test_who_changes_their_mind_changes_nothing(service: Service, look: Look) -> None:
    device = clinic_hours.locked(service)
    page = look(device.session)
    page.get_by_role("button", name="Clear the lock").click()
    page.get_by_role("button", name="Leave it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert device.call("GET", "/v1/session")["active_agent"] == "billing"


def test_what_is_refused_is_said_where_it_was_asked(service: Service, look: Look) -> None:
    device = clinic_hours.locked(service)
    page = look(device.session)
    page.get_by_role("button", name="Clear the lock").click()
    device.call("DELETE", "/v1/session")
    page.get_by_role("dialog").get_by_role("button", name="Clear the lock").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("It has ended meanwhile")
