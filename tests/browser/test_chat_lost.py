"""The chat page where things are lost: the service is killed, the network goes away, the tab is closed, an answer is cut."""

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Route, expect

from dev.demo_model import DemoModel, Fault, Reply
from dev.postgres import EmbeddedPostgres
from tests.browser.chatting import device_of, is_quiet, mine, replies, say, session_of, turns_of
from tests.browser.conftest import OpenPage
from tests.browser.service import Service
from tests.conversations import until
from tests.databases import new_database, run
from tests.nursery import Nursery

STORY = "".join(f"Sentence number {n} of the story. " for n in range(60)).strip()


@pytest.fixture(scope="module")
def service(nursery: Nursery, postgres: EmbeddedPostgres, template: str) -> Iterator[Service]:
    """What one that was killed held is free again after five seconds."""
    with new_database(postgres, template) as url, DemoModel() as model:
        running = Service(nursery, url, model, {"LEASE_TTL_S": "5"})
        running.start()
        yield running
        running.kill()


pytestmark = pytest.mark.usefixtures("nothing_is_left")


def test_a_conversation_goes_on_over_a_service_that_is_killed_and_started_again(
    page_of: OpenPage, service: Service
) -> None:
    page = page_of(service.url)
    say(page, "Hello, my name is Ada.")
    expect(replies(page)).to_have_count(1)
    service.model.replies.add(Reply(STORY), Reply(STORY))
    service.model.faults.add(Fault.drip(0.03, size=60))
    say(page, "Tell me a story.")
    expect(replies(page).last).to_contain_text("Sentence number 3 of the story.")
    service.kill()
    expect(page.locator("#banner")).to_have_text("Connection lost. Trying again…")
    say(page, "What is my name?")
    expect(page.locator(".state").last).to_contain_text("Not sent yet: trying again.")
    service.start()
    expect(page.locator("#banner")).to_be_hidden(timeout=15_000)
    expect(replies(page).last).to_contain_text("Your name is Ada", timeout=30_000)
    is_quiet(page)
    expect(replies(page).nth(1)).to_have_text(STORY)
    expect(mine(page)).to_have_text(["Hello, my name is Ada.", "Tell me a story.", "What is my name?"])
    assert turns_of(service.database_url, page) == ["completed"] * 3


def test_a_reply_that_is_cut_in_the_middle_is_gone_on_with_and_not_repeated(
    page_of: OpenPage, service: Service
) -> None:
    """At any byte: also in the middle of an event, which counts for nothing then."""
    page = page_of(service.url)
    cuts: list[bytes] = []

    def cut(route: Route) -> None:
        answer = route.fetch()
        body = answer.body()
        if len(cuts) < 3:
            cuts.append(body)
            body = body[: len(body) * 3 // 5]
        route.fulfill(response=answer, body=body)

    page.route("**/v1/turns", cut)
    page.route("**/v1/turns/*/events", cut)
    service.model.replies.add(Reply(STORY))
    service.model.faults.add(Fault.drip(0.005, size=60))
    say(page, "Tell me a story.")
    expect(replies(page)).to_have_text(STORY, timeout=30_000)
    is_quiet(page)
    assert len(cuts) == 3
    said = page.locator("#told").text_content() or ""
    assert [said.count(f"Sentence number {n} of") for n in (0, 1, 30, 59)] == [1, 1, 1, 1]
    assert turns_of(service.database_url, page) == ["completed"]


def test_what_is_written_offline_is_sent_when_one_is_back(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    say(page, "Hello, my name is Bob.")
    expect(replies(page)).to_have_count(1)
    is_quiet(page)
    page.context.set_offline(True)
    expect(page.locator("#banner")).to_contain_text("You are offline.")
    say(page, "Thank you.")
    say(page, "What is my name?")
    expect(page.locator(".state")).to_contain_text(
        ["Not sent yet: trying again.", "Not sent yet: trying again."]
    )
    page.context.set_offline(False)
    expect(page.locator("#banner")).to_be_hidden()
    expect(replies(page).last).to_contain_text("Your name is Bob")
    is_quiet(page)
    assert turns_of(service.database_url, page) == ["completed"] * 3


def test_a_tab_that_is_closed_at_once_and_opened_again_says_it_once(
    page_of: OpenPage, service: Service
) -> None:
    """Its answer is lost, the page is left, and what was said is on its way again from the next one."""
    page = page_of(service.url)
    say(page, "Hello")
    expect(replies(page)).to_have_count(1)
    is_quiet(page)
    taken = threading.Event()

    def lose(route: Route) -> None:
        route.fetch()
        taken.set()
        route.abort()

    page.route("**/v1/turns", lose)
    say(page, "Do not say this twice.")
    expect(page.locator(".state")).to_contain_text("Not sent yet: trying again.")
    assert taken.is_set()
    page.unroute("**/v1/turns")
    page.reload()
    expect(mine(page)).to_have_text(["Hello", "Do not say this twice."])
    expect(replies(page)).to_have_count(2)
    is_quiet(page)
    assert turns_of(service.database_url, page) == ["completed"] * 2
    assert page.evaluate("localStorage.getItem('latchkey:outbox')") is None


def test_what_was_said_in_another_conversation_is_delivered_there(
    page_of: OpenPage, service: Service
) -> None:
    page = page_of(service.url)
    say(page, "Hello")
    expect(replies(page)).to_have_count(1)
    is_quiet(page)
    first = session_of(service.database_url, page)
    page.route("**/v1/turns", lambda route: route.abort())
    say(page, "Thank you.")
    expect(page.locator(".state")).to_contain_text("Not sent yet: trying again.")
    headers = {"X-Device-ID": device_of(page), "Content-Type": "application/json"}
    assert page.request.post(f"{service.url}/v1/sessions", headers=headers, data="{}").ok
    page.unroute("**/v1/turns")
    page.reload()
    # Taken, or answered by now.
    until(lambda: '"turn"' in (page.evaluate("localStorage.getItem('latchkey:outbox')") or '"turn"'))
    expect(mine(page)).to_have_count(0)
    assert session_of(service.database_url, page) != first
    said = run(
        service.database_url,
        "SELECT content FROM messages WHERE session_id = %s AND role = 'user' ORDER BY seq",
        first,
    )
    assert ["Thank you." in content for (content,) in said] == [False, True]


def test_a_tab_that_is_closed_while_it_is_answered_reads_on(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    service.model.replies.add(Reply("Hello to you."), Reply(STORY))
    service.model.faults.add(Fault.delay(0), Fault.drip(0.02, size=60))
    say(page, "Hello")
    expect(replies(page)).to_have_text("Hello to you.")
    say(page, "Tell me a story.")
    expect(replies(page).last).to_contain_text("Sentence number 2 of the story.")
    page.reload()
    expect(replies(page).last).to_contain_text("Sentence number 4 of the story.")
    expect(mine(page)).to_have_text(["Hello", "Tell me a story."])
    expect(replies(page).first).to_have_text("Hello to you.")
    expect(page.locator("#stop")).to_be_visible()
    other = page.context.new_page()
    other.goto(service.url)
    expect(replies(other).last).to_have_text(STORY, timeout=20_000)
    expect(replies(page).last).to_have_text(STORY, timeout=20_000)
    is_quiet(page)
    assert run(service.database_url, "SELECT count(*) FROM turns WHERE status = 'running'") == [(0,)]
