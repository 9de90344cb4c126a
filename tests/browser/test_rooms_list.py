"""Several conversations on the chat page: their list, a new one, another one, what they are called."""

from playwright.sync_api import APIResponse, Page, Route, expect

from tests.browser.conftest import OpenPage
from tests.browser.conversing import begin, choose, close, dialog, mine, rooms, say, shown, titles
from tests.browser.service import Service

_SCRIPT = "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script>"


def _client(page: Page, does: str) -> None:
    """What another window of the same person does."""
    page.evaluate(
        f"""async () => {{
        const {{ Latchkey }} = await import("/web/latchkey.js");
        const latchkey = new Latchkey({{ baseUrl: location.origin }});
        {does}
    }}"""
    )


def test_conversations_are_begun_and_switched_between(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    expect(page.locator("#rooms h2")).to_have_text("Conversations")
    expect(rooms(page)).to_have_count(0)
    say(page, "I broke a tooth.")
    expect(shown(page)).to_contain_text("I broke a tooth.")
    begin(page)
    say(page, "What does a crown cost?")
    expect(titles(page)).to_have_text(["What does a crown cost?", "I broke a tooth."])
    titles(page).last.click()
    expect(mine(page)).to_contain_text("I broke a tooth.")
    expect(shown(page)).to_contain_text("I broke a tooth.")
    page.reload()
    expect(mine(page)).to_contain_text("I broke a tooth.")
    expect(shown(page)).to_contain_text("I broke a tooth.")


def test_a_conversation_is_renamed_as_long_as_nobody_else_has(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    say(page, "Hello")
    choose(page, "Rename")
    title = dialog(page).get_by_label("Title")
    expect(title).to_be_focused()
    title.fill("Tooth")
    _client(page, 'await latchkey.patchMetadata({ title: "Crown" });')
    page.keyboard.press("Enter")
    expect(dialog(page).get_by_role("status")).to_contain_text("it is “Crown” now")
    page.keyboard.press("Enter")
    expect(dialog(page)).to_have_count(0)
    expect(shown(page)).to_contain_text("Tooth")
    expect(page.locator("#title")).to_have_text("Tooth")
    expect(page.locator("#room-actions summary")).to_be_focused()


def test_a_script_in_a_title_stays_text(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    say(page, _SCRIPT)
    expect(shown(page)).to_contain_text("<img src=x onerror=")
    choose(page, "Rename")
    dialog(page).get_by_label("Title").fill(_SCRIPT)
    page.keyboard.press("Enter")
    expect(titles(page)).to_have_text([_SCRIPT])
    begin(page)
    choose(page, "Merge")
    dialog(page).get_by_label("Which one").select_option(label=_SCRIPT)
    expect(dialog(page)).to_contain_text("2 messages in 1 turn")
    close(page)
    assert page.title() != "pwned"
    expect(page.locator("#rooms img, #rooms script, dialog img, h1 img")).to_have_count(0)


def test_a_long_list_comes_in_pages(page_of: OpenPage, service: Service) -> None:
    page = page_of(service.url)
    _client(
        page,
        "for (let i = 0; i < 23; i++) await latchkey.newSession({ metadata: { title: `Number ${i}` } });",
    )
    page.reload()
    expect(titles(page)).to_have_count(20)
    expect(titles(page).first).to_have_text("Number 22")
    page.get_by_role("button", name="Show more").click()
    expect(titles(page)).to_have_count(23)
    expect(rooms(page).nth(20)).to_be_focused()
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()


def test_a_list_that_comes_late_does_not_take_the_place_of_a_newer_one(
    page_of: OpenPage, service: Service
) -> None:
    page = page_of(service.url)
    say(page, "The first")
    expect(shown(page)).to_contain_text("The first")
    held: list[tuple[Route, APIResponse]] = []

    def hold(route: Route) -> None:
        """The first answer comes behind the second."""
        if held:
            route.continue_()
        else:
            held.append((route, route.fetch()))

    page.route("**/v1/sessions?*", hold)
    page.get_by_role("button", name="New", exact=True).click()
    expect(page.locator("#say")).to_be_focused()
    _client(page, 'await latchkey.newSession({ metadata: { title: "Elsewhere" } });')
    choose(page, "Merge")
    newer = ["Elsewhere", "New conversation", "The first"]
    expect(titles(page)).to_have_text(newer)
    route, late = held[0]
    with page.expect_event("requestfinished"):
        route.fulfill(response=late)
    page.evaluate("new Promise((painted) => requestAnimationFrame(() => setTimeout(painted)))")
    expect(titles(page)).to_have_text(newer)
