"""`make screenshots`: the README's pictures, taken by a real Chromium of a service of its own on which the demo has played.

Nothing that runs here is touched: the service has a folder, a Postgres and a port of its own, and all of it is gone afterwards.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from dev.children import mortal
from dev.demo.calls import is_alive
from dev.demo.people import AddressBook, Kept, arrive
from dev.running import Running, service_at
from dev.steps import say, step

_ROOT = Path(__file__).parent.parent
_START_S = 60.0
_STOP_S = 20.0
_POLL_S = 0.1
_PATIENCE_MS = 15_000
# What a page on GitHub should not be slower for.
_MOST_BYTES = 200_000

_DESK: ViewportSize = {"width": 1280, "height": 920}
# With the first of what is drawn over time.
_TALL: ViewportSize = {"width": 1280, "height": 1240}
_PHONE: ViewportSize = {"width": 390, "height": 844}


class NotTaken(Exception):
    """One sentence: which picture could not be taken, and why."""


@dataclass(frozen=True, slots=True)
class Studio:
    browser: Browser
    service: Running
    people: dict[str, Kept]
    to: Path

    def chat(self) -> None:
        """Ada's, at the end of the day: a card asks for her yes."""
        with self._page(_DESK, kept=self.people["Ada"]) as page:
            page.goto(self.service.url)
            self._wait_for_talk(page)
            expect(page.get_by_role("button", name="Approve")).to_be_visible()
            self._take(page, "chat")

    def chat_on_a_phone(self) -> None:
        """Hugo's, in the dark: nobody knew whether his reminder was sent, until he said so."""
        with self._page(_PHONE, kept=self.people["Hugo"], is_dark=True) as page:
            page.goto(self.service.url)
            self._wait_for_talk(page)
            self._take(page, "chat-dark-phone")

    def console(self) -> None:
        with self._page(_TALL) as page:
            self._sign_in(page)
            expect(page.locator("#verdict")).not_to_be_empty()
            expect(page.locator("#all-plots svg").first).to_be_visible()
            # Figures come one by one; the page is as it stays when none is on its way.
            page.wait_for_load_state("networkidle")
            self._take(page, "console")

    def one_conversation(self) -> None:
        """Grace's: a server died in the middle of it, and another one went on."""
        session_id = arrive(self.people["Grace"], self.service.url).session["id"]
        with self._page(_DESK) as page:
            self._sign_in(page)
            page.goto(f"{self.service.url}/console#session={session_id}")
            shown = page.locator("#conversation")
            expect(shown).to_be_visible()
            expect(shown.locator("li").first).to_be_visible()
            page.wait_for_load_state("networkidle")
            self._take(page, "console-session")

    @contextlib.contextmanager
    def _page(
        self, viewport: ViewportSize, *, kept: Kept | None = None, is_dark: bool = False
    ) -> Iterator[Page]:
        """As somebody's device has it: with what the page keeps there of itself (functions/web/device.js)."""
        context = self.browser.new_context(
            viewport=viewport,
            color_scheme="dark" if is_dark else "light",
            locale="en-GB",
            reduced_motion="reduce",
        )
        context.set_default_timeout(_PATIENCE_MS)
        if kept is not None:
            device = {"id": kept.device, "secret": kept.secret, "token": None, "version": None}
            key, value = json.dumps(f"latchkey:{self.service.url}"), json.dumps(json.dumps(device))
            context.add_init_script(f"localStorage.setItem({key}, {value})")
        with context:
            yield context.new_page()

    def _wait_for_talk(self, page: Page) -> None:
        expect(page.locator("#messages > li").first).to_be_visible()
        page.wait_for_load_state("networkidle")

    def _sign_in(self, page: Page) -> None:
        page.goto(f"{self.service.url}/console")
        page.locator("#token").fill(self.service.admin_token or "")
        page.locator("#sign-in button").click()
        expect(page.locator("#sign-in")).to_be_hidden()

    def _take(self, page: Page, name: str) -> None:
        picture = self.to / f"{name}.png"
        page.screenshot(path=picture, animations="disabled", caret="hide")
        size = picture.stat().st_size
        if size > _MOST_BYTES:
            raise NotTaken(f"{picture} has {size} bytes, and may have {_MOST_BYTES}.")


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    to = _arguments().to
    to.mkdir(parents=True, exist_ok=True)
    try:
        with _chromium() as browser, _clinic() as (service, book):
            studio = Studio(browser, service, {kept.name: kept for kept in book}, to)
            for name, take in (
                ("chat", studio.chat),
                ("chat, phone", studio.chat_on_a_phone),
                ("console", studio.console),
                ("conversation", studio.one_conversation),
            ):
                with step(name) as tell:
                    take()
                    tell(f"in {to}")
    except (NotTaken, PlaywrightError, AssertionError) as problem:
        sys.exit(f"latchkey  {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
    say("all are taken")


@contextlib.contextmanager
def _chromium() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise NotTaken("There is no Chromium on this machine; `apt-get install chromium` brings it.")
    # Root has no sandbox; and a container's /dev/shm may be small.
    arguments = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@contextlib.contextmanager
def _clinic() -> Iterator[tuple[Running, AddressBook]]:
    """A service on which the demo has played, and who has played."""
    with tempfile.TemporaryDirectory(prefix="latchkey-screenshots-") as folder:
        home = Path(folder)
        # Root's Postgres runs as somebody else, who has to reach its data.
        home.chmod(0o711)
        with _serving(home) as service:
            book = AddressBook.of(home, service.url)
            with step("demo") as tell:
                _run("dev.demo", "--quick", f"--home={home}", f"--url={service.url}")
                tell(f"played by {len(list(book))} people")
            yield service, book


@contextlib.contextmanager
def _serving(home: Path) -> Iterator[Running]:
    url = f"http://127.0.0.1:{_free_port()}"
    command = [sys.executable, "-m", "dev.serve", f"--home={home}", f"--port={url.rpartition(':')[2]}"]
    process = subprocess.Popen(
        mortal(command),
        cwd=_ROOT,
        env=_environ(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Ctrl-C in the terminal is for us, who then stop it in order, and its Postgres with it.
        start_new_session=True,
    )
    try:
        with step("service") as tell:
            tell(url)
            running = _until_up(home, url, process)
        yield running
    finally:
        process.terminate()
        process.wait(_STOP_S)


def _until_up(home: Path, url: str, process: "subprocess.Popen[bytes]") -> Running:
    until = time.monotonic() + _START_S
    while (running := service_at(home, url)) is None or not is_alive(url):
        if process.poll() is not None or time.monotonic() > until:
            raise NotTaken("The service did not come up; `make run` says why.")
        time.sleep(_POLL_S)
    return running


def _run(module: str, *arguments: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=_ROOT,
        env=_environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise NotTaken(f"The demo did not come to its end: {ran.stderr.strip()}")
    if "left out" in ran.stdout:
        raise NotTaken("The demo left out its crash, of which there is to be a picture.")


def _environ() -> dict[str, str]:
    """Without any setting: the pictures are of what a newcomer sees."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dev.screenshots", description="Takes the README's pictures."
    )
    parser.add_argument(
        "--to", type=Path, default=_ROOT / "docs" / "images", help="where to (default: docs/images)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
