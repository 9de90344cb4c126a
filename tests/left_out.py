"""What a test run could not do on this machine. Skipping is said aloud at the end, and CI skips nothing."""

import os
from typing import NoReturn

import pytest

NOTHING = "LATCHKEY_LEAVES_OUT_NOTHING"


def leave_out(reason: str) -> NoReturn:
    if os.environ.get(NOTHING) == "1":
        pytest.fail(f"{NOTHING} is set, and this was to be left out: {reason}", pytrace=False)
    pytest.skip(reason)


def reasons(reporter: pytest.TerminalReporter) -> list[str]:
    """One line each, with the number of tests that it kept from running."""
    skipped = [report.longrepr for report in reporter.stats.get("skipped", [])]
    said = [str(about[2] if isinstance(about, tuple) else about) for about in skipped]
    return [
        f"left out: {said.count(reason)} tests: {reason.removeprefix('Skipped: ')}"
        for reason in dict.fromkeys(said)
    ]
