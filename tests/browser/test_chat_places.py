"""The chat page between conversations, and before it knows which one it is in: what is said is said once, and where it was meant."""

import re
from collections.abc import Callable
from threading import Thread
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page, Route, expect

from dev.demo_model import Fault, Reply
from tests.browser.chatting import is_quiet, mine, replies, say, turns_of, write
from tests.browser.conftest import OpenPage
from tests.browser.conversing import begin, close, link_for, shown, titles
from tests.browser.service import Service
from tests.conversations import until
from tests.databases import run

STORY = "".join(f"Sentence number {n} of the story. " for n in range(60)).strip()
_CURRENT = re.compile(r"/v1/session(/(messages|todos)|$|\?)")

Hold = Callable[..., Callable[[], None]]


pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.fixture
def hold() -> Hold:
    """Requests that wait until what it gives is called."""

    def held(page: Page, address: str | re.Pattern[str], method: str = "") -> Callable[[], None]:
        routes: list[Route] = []
        is_over = False

        def wait(route: Route) -> None:
            if is_over or method not in ("", route.request.method):
                route.continue_()
            else:
                routes.append(route)

        def let_go() -> None:
            nonlocal is_over
            is_over = True
            for route in routes:
                route.continue_()

        page.route(address, wait)
        return let_go

    return held


def _said_in(service: Service, page: Page, text: str) -> list[tuple[str, ...]]:
    """What was said first in the conversation that this was said in."""
    found: list[tuple[str, ...]] = run(
        service.database_url,
        "SELECT DISTINCT f.content FROM messages m JOIN messages f ON f.session_id = m.session_id AND f.seq = 1 "
        "WHERE m.content LIKE %s",
        f"%{text}%",
    )
    return found


def test_what_is_said_before_the_page_knows_where_it_is_stands_there_once(
    page_of: OpenPage, service: Service, hold: Hold
) -> None:
    """Its first questions may be answered after the message was taken: then it would read along with it a second time."""
    page = page_of("about:blank")
    let_go = hold(page, _CURRENT)
    # Whoever holds streams back gives nothing of an answer before all of it.
    page.route("**/v1/turns", lambda route: route.fulfill(response=route.fetch()))
    service.model.replies.add(Reply(STORY))
    service.model.faults.add(Fault.drip(0.02, size=60))
    page.goto(service.url)
    say(page, "Tell me a story.")
    expect(mine(page)).to_have_count(1)
    page.evaluate("new Promise(done => setTimeout(done, 300))")
    page.evaluate(_COUNTING)
    let_go()
    expect(replies(page).last).to_have_text(STORY, timeout=20_000)
    is_quiet(page)
    assert page.evaluate("window.most") == [1, 1]
    assert turns_of(service.database_url, page) == ["completed"]


# How many bubbles there were at once, at most: mine and theirs.
_COUNTING = """() => {
    window.most = [0, 0];
    const count = () => {
        const there = [".mine", ".theirs"].map((kind) => document.querySelectorAll(`#messages ${kind} .bubble`).length);
        window.most = window.most.map((before, place) => Math.max(before, there[place]));
        requestAnimationFrame(count);
    };
    count();
}"""


def test_what_was_taken_without_an_answer_is_read_along_with_once_after_a_reload(
    page_of: OpenPage, service: Service
) -> None:
    page = page_of(service.url)
    service.model.replies.add(Reply("Hello."), Reply(STORY))
    say(page, "Hello")
    expect(replies(page)).to_have_count(1)
    is_quiet(page)
    service.model.faults.add(Fault.drip(0.05, size=60))

    def lose(route: Route) -> None:
        request = Request(service.url + "/v1/turns", route.request.post_data_buffer, route.request.headers)
        Thread(target=lambda: urlopen(request).read()).start()
        route.abort()

    page.route("**/v1/turns", lambda route: route.abort())
    page.route("**/v1/turns", lose, times=1)
    say(page, "Tell me a story.")
    expect(page.locator(".state")).to_contain_text("Not sent yet: trying again.")
    until(lambda: turns_of(service.database_url, page) == ["completed", "running"])
    page.unroute("**/v1/turns")
    page.reload()
    expect(replies(page).last).to_contain_text("Sentence number 2 of the story.", timeout=15_000)
    expect(mine(page)).to_have_text(["Hello", "Tell me a story."], timeout=1_000)
    expect(replies(page)).to_have_count(2, timeout=1_000)
    expect(page.locator("#stop")).to_be_visible()
    expect(replies(page).last).to_have_text(STORY, timeout=30_000)
    is_quiet(page)
    expect(mine(page)).to_have_text(["Hello", "Tell me a story."])
    assert turns_of(service.database_url, page) == ["completed"] * 2


def test_what_is_said_while_another_conversation_is_read_is_said_in_that_one(
    page_of: OpenPage, service: Service, hold: Hold
) -> None:
    page = page_of(service.url)
    say(page, "I broke a tooth.")
    is_quiet(page)
    begin(page)
    say(page, "What does a crown cost?")
    is_quiet(page)
    let_go = hold(page, re.compile(r"/v1/sessions/[0-9a-f-]+(/messages\?before.*)?$"))
    titles(page).last.click()
    expect(mine(page)).to_have_count(0)
    say(page, "It hurts.")
    let_go()
    expect(mine(page)).to_have_text(["I broke a tooth.", "It hurts."])
    is_quiet(page)
    ((first,),) = _said_in(service, page, "It hurts.")
    assert "I broke a tooth." in first


def test_what_is_said_between_new_and_its_answer_is_said_in_the_new_one(
    page_of: OpenPage, service: Service, hold: Hold
) -> None:
    page = page_of(service.url)
    say(page, "I broke a tooth.")
    expect(replies(page)).to_have_count(1)
    is_quiet(page)
    write(page).fill("A draft of the first.")
    let_go = hold(page, "**/v1/sessions", "POST")
    page.get_by_role("button", name="New", exact=True).click()
    expect(write(page)).to_have_value("")
    say(page, "Something else between.")
    expect(mine(page)).to_have_count(1)
    let_go()
    expect(mine(page)).to_have_text(["Something else between."])
    is_quiet(page)
    ((first,),) = _said_in(service, page, "Something else between.")
    assert "Something else between." in first
    titles(page).last.click()
    expect(mine(page)).to_have_text(["I broke a tooth."])
    expect(write(page)).to_have_value("A draft of the first.")


def test_where_new_is_refused_what_was_typed_stays_and_is_not_sent(
    page_of: OpenPage, service: Service
) -> None:
    page = page_of(service.url)
    say(page, "I broke a tooth.")
    expect(replies(page)).to_have_count(1)
    is_quiet(page)
    refusals: list[Route] = []
    page.route(
        "**/v1/sessions",
        lambda route: refusals.append(route) if route.request.method == "POST" else route.continue_(),
    )
    page.get_by_role("button", name="New", exact=True).click()
    say(page, "Something else refused.")
    expect(page.locator("#told")).to_contain_text("It is sent when the conversation is there.")
    for route in refusals:
        route.fulfill(status=403, json={"code": "role_too_small", "status": 403})
    expect(page.locator("#trouble")).to_be_visible()
    expect(write(page)).to_have_value("Something else refused.")
    expect(mine(page)).to_have_text(["I broke a tooth."])
    assert _said_in(service, page, "Something else refused.") == []


def test_whoever_is_in_the_menu_by_keys_stays_there_while_others_are_looked_for(
    page_of: OpenPage, service: Service
) -> None:
    page = page_of(service.url)
    say(page, "I broke a tooth.")
    expect(replies(page)).to_have_count(1)
    is_quiet(page)
    link_for(page)  # others may speak here from now on, and are looked for
    close(page)
    page.locator("#room-actions summary").click()
    item = page.locator("#room-actions").get_by_role("button", name="Export")
    item.focus()
    for _ in range(2):  # the first was read by when the second came
        with page.expect_response("**/v1/sessions/*/todos"):
            pass
    expect(item).to_be_focused()
    expect(shown(page)).to_contain_text("I broke a tooth.")


def test_a_link_that_hides_where_it_leads_tells_it(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    service.model.replies.add(
        Reply("Pay at https://clinic.example@evil.example/pay or at https://clinic.example/pay now.")
    )
    say(page, "Where do I pay?")
    expect(replies(page).locator("a")).to_have_text(
        ["https://clinic.example@evil.example/pay (evil.example)", "https://clinic.example/pay"]
    )
