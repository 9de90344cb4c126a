"""`make screenshots`: what keeps it from its pictures is said, and nothing is left of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests import left_out
from tests.databases import ROOT

_LARGEST = 200_000


def test_without_a_chromium_it_says_how_to_get_one_and_starts_nothing(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "dev.screenshots", f"--to={tmp_path / 'images'}"],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert (
        ran.stderr
        == "latchkey  There is no Chromium on this machine; `apt-get install chromium` brings it.\n"
    )
    assert [one.name for one in tmp_path.iterdir()] == ["images"]


def test_it_takes_the_readmes_four_pictures(tmp_path: Path) -> None:
    if shutil.which("chromium") is None and shutil.which("google-chrome") is None:
        left_out.leave_out(
            "there is no Chromium on this machine, which takes the pictures; `apt-get install chromium` brings it"
        )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "dev.screenshots", f"--to={tmp_path}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    taken = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    assert taken.keys() == {one.name for one in (ROOT / "docs" / "images").glob("*.png")}
    assert all(picture.startswith(b"\x89PNG") and len(picture) < _LARGEST for picture in taken.values())
