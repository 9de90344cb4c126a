"""The chat page: a conversation by typing and clicking, in a real browser on a real service."""

import pytest
from playwright.sync_api import expect

from dev.demo_model import Fault, Reply
from tests.browser.chatting import calling, is_quiet, mine, replies, say, session_of, turns_of, write
from tests.browser.conftest import OpenPage
from tests.browser.service import Service
from tests.databases import run

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def _to_scheduling() -> Reply:
    return calling("hand_over", to="scheduling", reason="an appointment")


def test_a_message_is_answered_by_whoever_it_was_handed_over_to(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    say(page, "Hello, my name is Ada.")
    expect(replies(page)).to_contain_text("Nice to meet you, Ada.")
    say(page, "Which appointment is free tomorrow?")
    expect(page.locator(".handoff")).to_have_text("Front desk handed you over to Scheduling")
    expect(page.locator(".tool summary")).to_contain_text("Looked up free times")
    expect(page.locator("#with")).to_have_text("Scheduling")
    is_quiet(page)
    page.locator(".tool summary").click()
    expect(page.locator(".tool-body")).to_contain_text("tomorrow")
    said = page.locator("#told").text_content() or ""
    assert said.count("Nice to meet you, Ada.") == 1
    assert "Front desk handed you over to Scheduling." in said
    page.reload()
    expect(mine(page)).to_have_text(["Hello, my name is Ada.", "Which appointment is free tomorrow?"])
    expect(page.locator(".handoff")).to_have_text("Front desk handed you over to Scheduling")
    expect(page.locator("#title")).to_have_text("Hello, my name is Ada.")


def test_what_is_said_stays_text_and_links_are_safe(page_of: OpenPage, service: Service) -> None:
    script = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    service.model.replies.add(
        Reply(
            f"{script}\n\n[click](javascript:alert(3)) [docs](https://example.com/a) https://example.org/b.\n\n- `<b>`\n- two"
        )
    )
    page = page_of(service.url)
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    say(page, script)
    expect(mine(page)).to_have_text(script)
    expect(replies(page)).to_contain_text(script)
    is_quiet(page)
    links = page.locator(".bubble a")
    expect(links).to_have_count(2)
    for place, address in enumerate(("https://example.com/a", "https://example.org/b")):
        assert links.nth(place).get_attribute("href") == address
        assert links.nth(place).get_attribute("rel") == "noopener noreferrer"
        assert links.nth(place).get_attribute("target") == "_blank"
    expect(page.locator(".bubble li code")).to_have_text("<b>")
    assert page.locator(".bubble img, .bubble script").count() == 0


@pytest.mark.parametrize("decision", ["Approve", "Deny"])
def test_a_person_is_shown_the_arguments_and_decides(
    page_of: OpenPage, service: Service, decision: str
) -> None:
    page = page_of(service.url)
    reply = "It is as you wished."
    service.model.replies.add(_to_scheduling(), calling("cancel_appointment", number=4711), Reply(reply))
    say(page, "Cancel my appointment, please.")
    card = page.locator("#asked .card")
    expect(card.get_by_role("heading")).to_have_text("Scheduling asks: cancel appointment?")
    expect(card.locator("tr")).to_have_text(["Number4711"])
    expect(page.locator(".state")).to_have_text("Waiting for your decision")
    page.reload()
    expect(card.locator("tr")).to_have_text(["Number4711"])
    if decision == "Deny":
        card.get_by_role("textbox").fill("Not this week.")
    card.get_by_role("button", name=decision).click()
    expect(replies(page).last).to_have_text(reply)
    is_quiet(page)
    expect(card).to_have_count(0)
    expect(page.locator(".tool summary")).to_have_text(
        "Cancel appointment: not allowed" if decision == "Deny" else "Cancel appointment: did not work"
    )
    noted = run(service.database_url, "SELECT status, note FROM approvals ORDER BY created_at DESC LIMIT 1")
    assert noted == [("denied", "Not this week.") if decision == "Deny" else ("approved", None)]
    assert replies(page).filter(has_text=reply).count() == 1


def test_a_question_that_was_decided_elsewhere_is_gone_on_with(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    service.model.replies.add(
        _to_scheduling(), calling("cancel_appointment", number=12), Reply("Then I leave it.")
    )
    say(page, "Cancel my appointment, please.")
    expect(page.locator("#asked .card")).to_be_visible()
    other = page.context.new_page()
    other.goto(service.url)
    other.get_by_role("button", name="Deny").click()
    expect(replies(other).last).to_have_text("Then I leave it.")
    expect(replies(page).last).to_have_text("Then I leave it.")
    expect(page.locator("#asked .card")).to_have_count(0)


def test_what_nobody_knows_the_outcome_of_is_asked_and_the_answer_is_told(
    page_of: OpenPage, service: Service
) -> None:
    page = page_of(service.url)
    service.model.replies.add(_to_scheduling(), calling("cancel_appointment", number=13))
    say(page, "Cancel my appointment, please.")
    expect(page.locator("#asked .card")).to_be_visible()
    # As a function leaves it behind that died in the middle of a call.
    session = session_of(service.database_url, page)
    run(
        service.database_url,
        "UPDATE turns SET status = 'cancelled', ended_at = now() WHERE session_id = %s RETURNING id",
        session,
    )
    run(
        service.database_url,
        "UPDATE approvals SET kind = 'outcome' WHERE session_id = %s RETURNING id",
        session,
    )
    page.reload()
    card = page.locator("#asked .card")
    expect(card.get_by_role("heading")).to_have_text("Did this happen: cancel appointment?")
    expect(card.locator("tr")).to_have_text(["Number13"])
    card.get_by_role("button", name="It happened").click()
    # In the card, until what it is about is over.
    expect(page.locator("#told")).to_contain_text("You said that it happened")
    expect(page.locator(".note", has_text="it did take effect")).to_be_visible()


def test_what_is_to_be_done_is_listed(page_of: OpenPage, service: Service) -> None:
    todos = [{"content": "find a time", "status": "completed"}, {"content": "book <it>", "status": "pending"}]
    service.model.replies.add(_to_scheduling(), calling("set_todos", todos=todos), Reply("I have a plan."))
    page = page_of(service.url)
    expect(page.locator("#todos")).to_be_hidden()
    say(page, "I need an appointment.")
    expect(page.locator("#todos li")).to_have_text(["● find a time (done)", "○ book <it> (to do)"])
    expect(page.locator("#todos-count")).to_have_text("1 of 2 done")


def test_it_is_stopped_by_its_button_and_by_escape(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    for number, way in enumerate(("button", "Escape")):
        service.model.replies.add(Reply("a long story " * 300))
        service.model.faults.add(Fault.drip(0.05, size=60))
        say(page, f"Tell me a story, number {number}.")
        expect(replies(page).last).to_contain_text("a long story")
        if way == "button":
            page.locator("#stop").click()
        else:
            page.keyboard.press(way)
        expect(page.locator(".note", has_text="Stopped")).to_have_count(number + 1)
        is_quiet(page)
    assert turns_of(service.database_url, page) == ["cancelled", "cancelled"]
    say(page, "Thank you.")
    expect(replies(page).last).to_contain_text("You are welcome.")


def test_older_messages_come_when_one_scrolls_up_and_nothing_jumps(
    page_of: OpenPage, service: Service
) -> None:
    page = page_of(service.url)
    say(page, "Hello")
    expect(replies(page)).to_have_count(1)
    is_quiet(page)
    grow = (
        "INSERT INTO messages (session_id, seq, turn_id, role, agent, content, prefix_digest, created_at) "
        "SELECT m.session_id, m.seq + n * 2, m.turn_id, m.role, m.agent, "
        "json_build_array(json_build_object('type', 'text', 'text', m.role || ' ' || n))::text, m.prefix_digest, m.created_at "
        "FROM messages m JOIN conversation_states s ON s.id = m.session_id, generate_series(1, 60) n "
        "WHERE m.session_id = %s RETURNING seq"
    )
    assert len(run(service.database_url, grow, session_of(service.database_url, page))) == 120
    page.reload()
    expect(replies(page).last).to_have_text("assistant 60")
    expect(mine(page)).to_have_count(15)
    older = page.get_by_role("button", name="Older messages")
    older.focus()
    first = page.locator(".msg").first.text_content() or "none"
    page.keyboard.press("Enter")
    expect(mine(page)).to_have_count(30)
    assert first in (page.locator(".msg").nth(30).text_content() or "")
    page.mouse.move(700, 300)
    for count in (45, 60, 61):
        page.mouse.wheel(0, -20_000)
        expect(mine(page)).to_have_count(count)
    expect(older).to_be_hidden()
    expect(mine(page).first).to_have_text("Hello")
    page.get_by_role("button", name="To the newest").click()
    expect(replies(page).last).to_be_in_viewport()
    expect(write(page)).to_be_focused()


def test_tokens_and_cost_are_told_on_request(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    say(page, "Hello")
    expect(replies(page)).to_have_count(1)
    is_quiet(page)
    page.locator("#usage summary").click()
    expect(page.locator("#usage-told")).to_contain_text("This conversation")
    expect(page.locator("#usage-told")).to_contain_text("tokens read")
    page.keyboard.press("Escape")
    page.get_by_label("More about this message").last.click()
    page.get_by_role("button", name="Tokens and cost").click()
    expect(page.locator(".acts-list [role=status]")).to_contain_text("written: $")


def test_what_the_service_refuses_is_said_and_nothing_is_lost(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    say(page, "x" * 2_000_000)
    state = page.locator(".state")
    expect(state).to_contain_text("Not sent. This message is too long.")
    page.reload()
    expect(state).to_contain_text("Not sent. This message is too long.")
    page.get_by_role("button", name="Edit").click()
    expect(mine(page)).to_have_count(0)
    assert len(write(page).input_value()) == 2_000_000
    service.model.faults.add(*[Fault.status(400, message="no")] * 3)
    write(page).fill("Hello")
    write(page).press("Enter")
    expect(page.locator(".note.bad")).to_contain_text("This was not answered.")
    service.model.faults.clear()
    page.get_by_role("button", name="Ask again").click()
    expect(replies(page).last).to_contain_text("Hello")


def test_a_conversation_that_expired_begins_anew_and_keeps_what_was_typed(
    page_of: OpenPage, service: Service
) -> None:
    page = page_of(service.url)
    say(page, "Hello, my name is Ada.")
    expect(replies(page)).to_have_count(1)
    is_quiet(page)
    run(
        service.database_url,
        "UPDATE conversation_states SET last_active_at = now() - interval '2 days' WHERE id = %s RETURNING id",
        session_of(service.database_url, page),
    )
    say(page, "What is my name?")
    expect(page.locator("#trouble")).to_contain_text("Your next message begins a new one.")
    expect(write(page)).to_have_value("What is my name?")
    write(page).press("Enter")
    expect(replies(page)).to_contain_text("You have not told me your name in this conversation yet.")
    expect(page.locator("#trouble")).to_be_hidden()


def test_drafts_are_kept(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    say(page, "Hello")
    expect(replies(page)).to_have_count(1)
    is_quiet(page)
    write(page).fill("half a thou")
    page.reload()
    expect(mine(page)).to_have_count(1)
    expect(write(page)).to_have_value("half a thou")
    write(page).press("End")
    write(page).press("Shift+Enter")
    write(page).press_sequentially("ght")
    expect(write(page)).to_have_value("half a thou\nght")
    expect(mine(page)).to_have_count(1)
