"""Conversations that are shared: by a link, with who may read, and who may write too."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.conversing import choose, close, dialog, link_for, mine, rooms, say, shown
from tests.browser.service import Service
from tests.doors import AUDIENCE, ISSUER, USER_KEY, user_token
from tests.nursery import Nursery

_POST = """async () => {
    const kept = JSON.parse(localStorage.getItem(`latchkey:${location.origin}`));
    const session = (await (await fetch("/v1/sessions", { headers: { "X-Device-ID": kept.id } })).json()).items[0];
    const answer = await fetch("/v1/turns", {
        method: "POST",
        headers: { "X-Device-ID": kept.id, "Content-Type": "application/json", "Idempotency-Key": "by-hand" },
        body: JSON.stringify({ message: "By hand", session_id: session.id }),
    });
    return [answer.status, (await answer.json()).code];
}"""


def _owner(page_of: OpenPage, service: Service) -> Page:
    page = page_of(service.url)
    say(page, "My name is Ada.")
    return page


def test_a_viewer_reads_along_and_cannot_write(page_of: OpenPage, service: Service) -> None:
    owner = _owner(page_of, service)
    link = link_for(owner)
    close(owner)
    viewer = page_of(link)
    expect(viewer).to_have_url(f"{service.url}/")
    expect(mine(viewer)).to_contain_text("My name is Ada.")
    expect(shown(viewer)).to_contain_text("you read along")
    expect(viewer.locator("#composer")).to_be_hidden()
    expect(viewer.locator("#read-only")).to_have_text("You may read along. Its owner may write here.")
    mine(viewer).locator("details.acts summary").click()
    expect(mine(viewer).locator("details.acts button")).to_have_text(["Tokens and cost"])
    viewer.locator("#room-actions summary").click()
    expect(viewer.locator("#room-actions button")).to_have_text(
        ["Import", "Your devices", "Erase everything"]
    )
    assert viewer.evaluate(_POST) == [403, "role_too_small"]

    say(owner, "And I am here.")
    expect(mine(viewer).last).to_contain_text("And I am here.")


def test_an_editor_writes_and_is_told_when_they_are_put_out(page_of: OpenPage, service: Service) -> None:
    owner = _owner(page_of, service)
    link = link_for(owner, "editor")
    editor = page_of(service.url)
    editor.goto(link)  # only the fragment is another: nothing is loaded
    expect(mine(editor)).to_contain_text("My name is Ada.")
    assert "share" not in editor.url
    say(editor, "I am Grace.")
    close(owner)
    expect(mine(owner).last).to_contain_text("I am Grace.")

    choose(owner, "Share")
    guest = dialog(owner).get_by_label(re.compile("^Guest"))
    expect(guest).to_have_value("editor")
    guest.select_option("viewer")
    expect(editor.locator("#composer")).to_be_hidden()
    expect(editor.locator("#read-only")).to_contain_text("You may read along.")

    dialog(owner).get_by_role("button", name="Take back").click()
    expect(dialog(owner)).to_contain_text("Nobody comes in by that link any more.")
    dialog(owner).get_by_role("button", name=re.compile("^Remove")).click()
    expect(dialog(owner).get_by_label(re.compile("^Guest"))).to_have_count(0)
    expect(editor.locator("#trouble")).to_contain_text("This conversation")
    expect(editor.locator("#rooms li")).to_have_count(0)

    editor.goto(link)
    expect(editor.locator("#trouble")).to_contain_text("This link is not good any more")
    late = page_of(link)
    expect(late.locator("#trouble")).to_contain_text("This link is not good any more")
    assert "share" not in late.url


def test_a_link_is_copied_and_shown_once(page_of: OpenPage, service: Service) -> None:
    page = _owner(page_of, service)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    link = link_for(page)
    dialog(page).get_by_role("button", name="Copy").click()
    expect(dialog(page).get_by_role("status")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == link
    close(page)
    choose(page, "Share")
    expect(dialog(page).get_by_role("button", name="Take back")).to_have_count(1)
    expect(dialog(page).get_by_label("The link, shown this once")).to_have_count(0)


def test_a_change_of_members_by_somebody_else_is_shown_before_ones_own(
    page_of: OpenPage, service: Service
) -> None:
    owner = _owner(page_of, service)
    link = link_for(owner)
    page_of(link)
    close(owner)
    choose(owner, "Share")
    guest = dialog(owner).get_by_label(re.compile("^Guest"))
    expect(guest).to_have_value("viewer")
    owner.evaluate(
        """async () => {
        const { Latchkey } = await import("/web/latchkey.js");
        const latchkey = new Latchkey({ baseUrl: location.origin });
        const { id } = await latchkey.session();
        const { items } = await latchkey.members(id);
        await latchkey.setMember(id, items[1].user_id, "editor");
    }"""
    )
    dialog(owner).get_by_role("button", name=re.compile("^Remove")).click()
    expect(dialog(owner).get_by_role("status")).to_contain_text("Somebody changed that meanwhile")
    expect(guest).to_have_value("editor")


@pytest.mark.parametrize("mode", ["bound", "jwt"])
def test_a_link_lets_in_whoever_has_a_token_of_their_own(
    page_of: OpenPage, service: Service, nursery: Nursery, mode: str
) -> None:
    """In `jwt` mode the page asks who it is first, and does not forget the link over it."""
    more = {
        "ACCESS_MODE": mode,
        "DEVICE_TOKEN_KEYS": json.dumps({"first": "k" * 40}),
        "JWT_KEYS": json.dumps({"users": USER_KEY}),
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
    }
    guarded = Service(nursery, service.database_url, service.model, more)
    guarded.start()
    try:
        owner = _signed_in(page_of(guarded.url), "ada", mode)
        say(owner, "My name is Ada.")
        link = link_for(owner)
        viewer = _signed_in(page_of(link), "bob", mode)
        expect(mine(viewer)).to_contain_text("My name is Ada.")
        expect(viewer.locator("#composer")).to_be_hidden()
        expect(rooms(viewer)).to_have_count(1)
    finally:
        guarded.kill()


def _signed_in(page: Page, name: str, mode: str) -> Page:
    if mode == "jwt":
        page.locator("#person-token").fill(user_token(name))
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#person")).to_be_hidden()
    return page
