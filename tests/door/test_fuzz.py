"""A short form of the fuzz (`make fuzz` is the long one)."""

import subprocess
import sys

import pytest

from tests.databases import ROOT


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.door.fuzz", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(300)
def test_a_few_hundred_requests_find_nothing() -> None:
    done = fuzz("--cases", "300", "--mode", "open", "--phases", "examples,coverage")
    assert done.returncode == 0, done.stdout + done.stderr
