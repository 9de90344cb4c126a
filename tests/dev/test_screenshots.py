"""`make screenshots`: what keeps it from its pictures is said, and nothing is left of it."""

import subprocess
import sys
from pathlib import Path

from tests.databases import ROOT


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
