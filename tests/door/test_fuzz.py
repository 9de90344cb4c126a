"""A short form of the fuzz (`make fuzz` is the long one), and that it would find something."""

import subprocess
import sys
from pathlib import Path

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


@pytest.mark.timeout(300)
def test_a_call_that_is_told_wrongly_is_found(tmp_path: Path) -> None:
    """One that cannot find anything is worse than none."""
    wrong = tmp_path / "openapi.json"
    wrong.write_text(
        (ROOT / "docs" / "openapi.json").read_text().replace('"last_active_at": {', '"used_at": {')
    )
    done = fuzz("--cases", "50", "--mode", "open", "--phases", "examples", "--file", str(wrong))
    assert done.returncode == 1
    assert "used_at" in done.stdout
