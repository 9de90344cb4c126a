"""A real browser: Debian's Chromium, driven by Playwright, on a real service.

Whatever a page says to its console as an error, throws, or does against its Content-Security-Policy fails its test.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from dev.demo_model import DemoModel
from dev.postgres import EmbeddedPostgres
from tests import left_out
from tests.browser.service import Service
from tests.databases import ROOT, new_database
from tests.nursery import Nursery

_NO_CHROMIUM = "there is no Chromium on this machine, which the tests of the pages drive; `apt-get install chromium` brings it"
_NO_AXE = "there is no axe-core, which looks for what bars people from the pages; `npm ci --ignore-scripts` brings it"
_PATIENCE_MS = 10_000

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of a module and no longer: while it is there, this thread has an event loop."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        left_out.leave_out(_NO_CHROMIUM)
    with sync_playwright() as playwright:
        # Root has no sandbox; and a container's /dev/shm may be small.
        arguments = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        chromium = playwright.chromium.launch(executable_path=program, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def service(nursery: Nursery, postgres: EmbeddedPostgres, template: str) -> Iterator[Service]:
    """One for a module. A test that kills it starts it again; a device of its own is a test's world of its own."""
    with new_database(postgres, template) as url, DemoModel() as model:
        running = Service(nursery, url, model)
        running.start()
        yield running
        running.kill()


@pytest.fixture
def nothing_is_left(service: Service) -> Iterator[None]:
    """Of what a test scripted: the next one has the same model."""
    yield
    service.model.replies.clear()
    service.model.faults.clear()


@pytest.fixture
def page_of(browser: Browser) -> Iterator[OpenPage]:
    """Opens an address in a browser of somebody new: nothing is kept of others. What is given goes to Playwright's `new_context`:
    `viewport`, `color_scheme`, `has_touch`, ...
    """
    wrong: list[str] = []
    with ExitStack() as opened:

        def open_page(address: str, **options: object) -> Page:
            context = browser.new_context(**options)  # type: ignore[arg-type]
            opened.callback(context.close)
            context.set_default_timeout(_PATIENCE_MS)
            context.on("console", lambda message: wrong.extend(_complaints(message)))
            context.on("weberror", lambda error: wrong.append(str(error.error)))
            page = context.new_page()
            page.goto(address)
            return page

        yield open_page
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="session")
def axe() -> Callable[[Page], list[str]]:
    """What of a page bars people, seriously or worse: a line each."""
    source = ROOT / "node_modules" / "axe-core" / "axe.min.js"
    if not source.exists():
        left_out.leave_out(_NO_AXE)
    script = source.read_text()

    def look(page: Page) -> list[str]:
        page.evaluate(script)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['impact']}: {one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes']]}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]

    return look


def _complaints(message: ConsoleMessage) -> Iterator[str]:
    """A browser tells of each answer that is an error by itself: that is the network's, and no mistake of the page."""
    if message.type == "error" and not message.text.startswith("Failed to load resource"):
        yield f"{message.text} ({message.location.get('url')})"
