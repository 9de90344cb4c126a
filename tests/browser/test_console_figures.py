"""The console's figures: who gets in, whether it is well, and numbers that are those of the database."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.browser import clinic_hours
from tests.browser.clinic_hours import SECRET, Device
from tests.browser.conftest import OpenPage
from tests.browser.service import OPERATOR, Service
from tests.databases import run

_MOST_BYTES = 62 * 1024
_WIDE = {"width": 1300, "height": 900}
_NARROW = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def made(service: Service) -> dict[str, Device]:
    return clinic_hours.hours(service)


@pytest.fixture
def console(service: Service, made: dict[str, Device], page_of: OpenPage) -> Callable[..., Page]:
    """The page, signed in, with every plot drawn."""

    def open_console(*, clock: bool = False, **options: Any) -> Page:
        """`clock`: the page's time can be moved on."""
        page = page_of("about:blank", **{"viewport": _WIDE, **options})
        if clock:
            page.clock.install()
        page.goto(f"{service.url}/console")
        _sign_in(page)
        _wait_for_figures(page)
        return page

    return open_console


def _sign_in(page: Page, token: str = OPERATOR) -> None:
    page.get_by_role("textbox", name="Token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def _wait_for_figures(page: Page) -> None:
    expect(page.locator("#verdict h2")).to_be_visible()
    expect(page.locator(".plot[data-state=asked]")).to_have_count(0)


def _told(page: Page, plot: str) -> dict[str, str]:
    """By name, what stands under a plot as its newest bucket's values, by its legend's sums."""
    items = page.locator(f"#plot-{plot} .legend li").all_inner_texts()
    return {text.rsplit(" ", 1)[0].strip(): text.rsplit(" ", 1)[1] for text in items}


def _tile(page: Page, name: str) -> str:
    return (
        page.locator(".tile", has=page.get_by_role("heading", name=name, exact=True))
        .locator(".value")
        .inner_text()
    )


def _one(service: Service, statement: str) -> Any:
    ((value,),) = run(service.database_url, statement)
    return value


# ---- who gets in


def test_a_wrong_token_is_said_plainly_and_the_right_one_lets_in(service: Service, page_of: OpenPage) -> None:
    page = page_of(f"{service.url}/console")
    for wrong in ("wrong", "schlüssel✗"):
        _sign_in(page, wrong)
        expect(page.get_by_role("alert")).to_contain_text("not an operator's")
        expect(page.locator("#watching")).to_be_hidden()
    _sign_in(page)
    _wait_for_figures(page)
    expect(page.locator("#sign-in")).to_be_hidden()
    assert OPERATOR not in page.url
    assert OPERATOR not in page.content()
    page.reload()
    _wait_for_figures(page)
    page.get_by_role("button", name="Sign out").click()
    page.reload()
    expect(page.get_by_role("textbox", name="Token")).to_be_visible()


def test_a_service_without_operators_says_how_to_have_some(service: Service, page_of: OpenPage) -> None:
    other = Service(service.nursery, service.database_url, service.model, more={"ADMIN_TOKEN": ""})
    other.start()
    try:
        page = page_of(f"{other.url}/console")
        _sign_in(page)
        expect(page.get_by_role("alert")).to_contain_text("set ADMIN_TOKEN")
    finally:
        other.kill()


# ---- is it well


def test_what_is_not_well_is_named_first_with_a_way_to_its_plot(console: Callable[..., Page]) -> None:
    page = console()
    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text("Worth a look")
    expect(verdict).to_contain_text("1 of ")
    expect(verdict).to_contain_text("of this hour and the last failed")
    expect(verdict).to_contain_text("1 function died")
    expect(verdict).to_contain_text("1 decision waits for a person")
    verdict.get_by_role("link", name="Errors").click()
    expect(page.locator("#plot-errors")).to_be_in_viewport()
    expect(page.locator("#watching")).to_be_visible()


@pytest.mark.parametrize(
    ("overview", "words", "level"),
    [
        ({}, "All is well", "good"),
        (
            {"turns": {"queued": 3, "running": 1, "waiting": 0, "oldest_queued_s": 90.0}},
            "Worth a look",
            "warn",
        ),
        ({"turns": {"queued": 3, "running": 1, "waiting": 0, "oldest_queued_s": 900.0}}, "Not well", "bad"),
        ({"cleanup": {"behind_s": 700.0}}, "Not well", "bad"),
        ({"approvals": {"calls": 2, "outcomes": 0}}, "All is well", "good"),
    ],
)
def test_one_word_says_whether_it_is_well(
    service: Service,
    made: dict[str, Device],
    page_of: OpenPage,
    overview: dict[str, Any],
    words: str,
    level: str,
) -> None:
    """By an overview that is as a test has it, and no failures or crashes."""
    calm = {
        "turns": {"queued": 0, "running": 0, "waiting": 0, "oldest_queued_s": None},
        "approvals": {"calls": 0, "outcomes": 0},
        "cleanup": {"behind_s": None},
    }
    page = page_of("about:blank")
    page.route(
        "**/v1/admin/overview",
        lambda route: route.fulfill(json=_calm(route.fetch().json()) | calm | overview),
    )
    page.route("**/v1/admin/series?**", lambda route: route.fulfill(json={"items": []}))
    page.goto(f"{service.url}/console")
    _sign_in(page)
    expect(page.locator("#verdict h2")).to_contain_text(words)
    assert page.locator("#verdict").get_attribute("data-level") == level


def _calm(overview: Any) -> Any:
    return {**overview, "today": {**overview["today"], "error_rate": None}}


def test_a_service_that_is_gone_is_said_and_its_last_numbers_stay(
    service: Service, console: Callable[..., Page]
) -> None:
    page = console(clock=True)
    before = _tile(page, "Turns today")
    page.route("**/v1/admin/**", lambda route: route.abort())
    page.clock.fast_forward("00:11")
    expect(page.locator("#verdict h2")).to_contain_text("Not known")
    expect(page.locator("#verdict")).to_contain_text("The service does not answer")
    assert _tile(page, "Turns today") == before
    page.unroute("**/v1/admin/**")
    page.clock.fast_forward("00:11")
    expect(page.locator("#verdict h2")).not_to_contain_text("Not known")


# ---- the numbers


def test_the_numbers_are_those_of_the_database(service: Service, console: Callable[..., Page]) -> None:
    page = console()
    by_status = dict(run(service.database_url, "SELECT status, count(*)::text FROM turns GROUP BY 1"))
    assert _told(page, "turns") == by_status
    assert _tile(page, "Turns today") == str(_one(service, "SELECT count(*) FROM turns"))
    failed = dict(
        run(
            service.database_url,
            "SELECT replace(error ->> 'code', '_', ' '), count(*)::text FROM turns WHERE status = 'failed' GROUP BY 1",
        )
    )
    assert _told(page, "errors") == failed
    assert _told(page, "sessions") == {
        "begun": str(_one(service, "SELECT count(*) FROM conversation_states"))
    }
    assert _told(page, "lock-ends") == {
        "still held": str(
            _one(service, "SELECT count(*) FROM conversation_states WHERE locked_at IS NOT NULL")
        )
    }
    assert _tile(page, "Locks held") == _told(page, "lock-ends")["still held"]
    assert _told(page, "agents") == dict(
        run(
            service.database_url,
            "SELECT agent, count(*)::text FROM audit_log WHERE action = 'lock_set' GROUP BY 1",
        )
    )
    assert _told(page, "recoveries") == {"crashes": str(_one(service, "SELECT sum(crashes) FROM turns"))}
    assert _tile(page, "Decisions open") == str(
        _one(service, "SELECT count(*) FROM approvals WHERE status = 'pending'")
    )
    micros = _one(service, "SELECT sum((usage ->> 'cost_micros')::bigint)::bigint FROM turns")
    assert _tile(page, "Cost today") == f"${micros / 1e6:.4f}"
    agents = (
        page.get_by_role("region", name="Active conversations by agent").locator("tbody tr").all_inner_texts()
    )
    locks = {text.split()[0]: text.split()[-3 if "–" not in text else -2] for text in agents}
    held = dict(
        run(
            service.database_url,
            "SELECT active_agent, count(*)::text FROM conversation_states WHERE locked_at IS NOT NULL GROUP BY 1",
        )
    )
    assert {agent: locks[agent] for agent in held} == held
    assert SECRET not in page.content()


def test_a_plots_table_has_the_same_numbers_as_its_legend(console: Callable[..., Page]) -> None:
    page = console()
    plot = page.locator("#plot-turns")
    plot.get_by_text("Numbers as a table").click()
    heads = plot.locator("thead th").all_inner_texts()[1:]
    rows = [row.locator("td").all_inner_texts() for row in plot.locator("tbody tr").all()]
    assert len(rows) == 24
    sums = {head: str(sum(int(row[index]) for row in rows)) for index, head in enumerate(heads)}
    assert sums == _told(page, "turns")


def test_arrow_keys_read_a_plot_out(console: Callable[..., Page]) -> None:
    page = console()
    slider = page.get_by_role("slider", name="Turns by state")
    slider.focus()
    newest = slider.get_attribute("aria-valuetext")
    assert newest is not None
    assert "completed " in newest
    assert "failed 1" in newest
    assert slider.get_attribute("aria-valuenow") == "23"
    page.keyboard.press("ArrowLeft")
    assert slider.get_attribute("aria-valuenow") == "22"
    page.keyboard.press("Home")
    assert slider.get_attribute("aria-valuenow") == "0"
    assert (slider.get_attribute("aria-valuetext") or "").endswith(": nothing")
    expect(page.locator("#plot-turns .readout")).to_contain_text("nothing")
    page.keyboard.press("End")
    assert slider.get_attribute("aria-valuetext") == newest


def test_a_mouse_over_a_plot_reads_it_out(console: Callable[..., Page]) -> None:
    page = console()
    place = page.locator("#plot-turns .place")
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 60, box["y"] + 80)
    expect(page.locator("#plot-turns .readout")).to_contain_text("nothing")
    page.mouse.move(box["x"] + box["width"] - 15, box["y"] + 80)
    expect(page.locator("#plot-turns .readout")).to_contain_text("completed")


@pytest.mark.parametrize(("name", "step", "buckets"), [("7 days", "hour", 168), ("30 days", "day", 30)])
def test_longer_ranges_count_the_same(
    console: Callable[..., Page], name: str, step: str, buckets: int
) -> None:
    page = console()
    before = _told(page, "turns")
    with page.expect_response(lambda answer: "figure=turns" in answer.url) as asked:
        page.get_by_label(name).check()
    items = asked.value.json()["items"]
    assert len(items) == buckets
    assert f"step={step}" in asked.value.url
    expect(page.get_by_role("slider", name="Turns by state")).to_have_attribute(
        "aria-valuemax", str(buckets - 1)
    )
    assert _told(page, "turns") == before
    if step == "day":
        expect(page.locator("#zone")).to_contain_text("UTC")
        assert {datetime.fromisoformat(item["at"]).hour for item in items} == {0}


def test_times_are_the_viewers_own(console: Callable[..., Page]) -> None:
    page = console(timezone_id="Australia/Adelaide")
    expect(page.locator("#zone")).to_contain_text("Australia/Adelaide")
    expect(page.locator("#plot-turns .readout b")).to_contain_text(":30 to")


def test_a_figure_that_is_not_in_this_release_is_said_to_be(
    service: Service, made: dict[str, Device], page_of: OpenPage
) -> None:
    page = page_of("about:blank")
    page.route(
        "**/v1/admin/series?figure=stages&**",
        lambda route: route.fulfill(status=422, json={"code": "invalid_request"}),
    )
    page.goto(f"{service.url}/console")
    _sign_in(page)
    _wait_for_figures(page)
    expect(page.locator("#plot-stages")).to_contain_text("Not in this release")
    assert page.locator("#plot-turns").get_attribute("data-state") == "shown"


# ---- how it is asked for


def test_the_page_is_small_and_nothing_is_asked_twice(
    service: Service, made: dict[str, Device], page_of: OpenPage
) -> None:
    page = page_of("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{service.url}/console")
    _sign_in(page)
    _wait_for_figures(page)
    sizes = page.evaluate(
        "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')].map(one => [one.name, one.decodedBodySize])"
    )
    assert sum(size for name, size in sizes if "/v1/" not in name) <= _MOST_BYTES
    figures = [url for url in asked if "/series?" in url]
    assert len(figures) == len(set(figures)) == 11
    # The token is tried by the first, and not known before.
    assert len([url for url in asked if url.endswith("/overview")]) == 2


def test_a_hidden_tab_stops_asking(console: Callable[..., Page]) -> None:
    page = console(clock=True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with page.expect_response("**/overview"):
        page.clock.fast_forward("00:11")
    _hide(page, True)
    asked.clear()
    for _ in range(6):
        page.clock.run_for("00:11")
    assert not asked
    with page.expect_response("**/overview"):
        _hide(page, False)


def _hide(page: Page, is_hidden: bool) -> None:
    page.evaluate(
        "is => { Object.defineProperty(document, 'hidden', { value: is, configurable: true }); document.dispatchEvent(new Event('visibilitychange')); }",
        is_hidden,
    )


# ---- for everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [_WIDE, _NARROW], ids=["wide", "narrow"])
def test_nobody_is_barred_from_it(
    console: Callable[..., Page], axe: Callable[[Page], list[str]], scheme: str, viewport: dict[str, int]
) -> None:
    page = console(color_scheme=scheme, viewport=viewport)
    page.locator("#plot-turns").get_by_text("Numbers as a table").click()
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_keys_alone_lead_through_it(service: Service, made: dict[str, Device], page_of: OpenPage) -> None:
    page = page_of(f"{service.url}/console")
    page.keyboard.type(OPERATOR)
    page.keyboard.press("Enter")
    _wait_for_figures(page)
    page.get_by_label("A conversation, by its ID").focus()
    page.keyboard.type(made["decided"].session)
    page.keyboard.press("Enter")
    expect(page.get_by_role("list", name="What happened")).to_be_visible()
    expect(page.locator("#conversation h2")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Clear the lock")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_window_may_have_any_width_meanwhile(console: Callable[..., Page]) -> None:
    """What cannot be drawn is not: a width below nothing is an error that the browser tells of."""
    page = console()
    for width in (40, 10, 100, 1300):
        page.set_viewport_size({"width": width, "height": 700})
        page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    assert page.locator("#plot-turns .chart").bounding_box() is not None


def test_no_two_states_of_turns_look_the_same(console: Callable[..., Page]) -> None:
    """There are more of them than colours."""
    page = console()
    looks = page.evaluate(_LOOKS)
    assert len(looks) == 8
    assert len(set(looks)) == 8


# What swatches of as many states are drawn with: colour and pattern.
_LOOKS = """async () => {
    const { swatch } = await import("/web/watch/chart.js");
    const { PLOTS } = await import("/web/watch/figures.js");
    const states = PLOTS.find((plot) => plot.id === "plot-turns").read([]);
    return states.map(({ tone }) => {
        const node = swatch(tone, "bars");
        document.body.append(node);
        const fill = getComputedStyle(node.querySelector(".fill")).fill;
        return fill + node.querySelector(".hatch").getAttribute("d");
    });
}"""


def test_an_address_that_means_nothing_asks_for_the_token_all_the_same(
    service: Service, page_of: OpenPage
) -> None:
    page = page_of(f"{service.url}/console#session=%")
    _sign_in(page)
    _wait_for_figures(page)


def test_whoever_comes_back_to_the_figures_or_signs_in_is_there_with_the_keys(
    console: Callable[..., Page], made: dict[str, Device]
) -> None:
    page = console()
    expect(page.locator("#main")).to_be_focused()
    page.goto(f"{page.url.split('#')[0]}#session={made['failed'].session}")
    page.get_by_role("link", name="All figures").press("Enter")
    expect(page.locator("#watching")).to_be_visible()
    expect(page.locator("#main")).to_be_focused()


# ---- search


def test_an_id_leads_to_its_conversation_and_a_wrong_one_is_explained(
    console: Callable[..., Page], made: dict[str, Device]
) -> None:
    page = console()
    field = page.get_by_label("A conversation, by its ID")
    field.fill(f"  {made['failed'].session.upper()} ")
    field.press("Enter")
    expect(page.locator("#conversation h2")).to_contain_text(made["failed"].session)
    assert page.url.endswith(f"#session={made['failed'].session}")
    field.fill(str(uuid4()))
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("No conversation has this ID")
    field.fill(made["locked"].session[:13])
    field.press("Enter")
    page.locator("#found").get_by_role("link", name=made["locked"].session).click()
    expect(page.locator("#conversation .facts")).to_contain_text("billing")
    field.fill("what?")
    field.press("Enter")
    expect(page.locator("#found")).to_contain_text("Type a conversation's ID")
    page.get_by_role("link", name="All figures").click()
    expect(page.locator("#watching")).to_be_visible()
