"""Node, which runs the client's tests; and real servers, as the streams' tests start them."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import left_out
from tests.streams.conftest import serve as serve

HERE = Path(__file__).parent
_NO_NODE = "there is no node (18 or later) on this machine, which runs the tests of functions/web; `apt-get install nodejs` brings it"

RunNode = Callable[..., str]


@pytest.fixture(scope="session")
def node() -> RunNode:
    """Runs a file of this folder; what it says."""
    program = shutil.which("node")
    if program is None or not _is_new_enough(program):
        left_out.leave_out(_NO_NODE)

    def run(*arguments: str, **environ: str) -> str:
        done = subprocess.run(
            [program, *arguments],
            cwd=HERE,
            env=environ,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
        return done.stdout

    return run


def seed() -> str:
    chosen = os.environ.get("SEED") or str(int.from_bytes(os.urandom(2)))
    print(f"SEED={chosen}")
    return chosen


def _is_new_enough(program: str) -> bool:
    version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False)
    return version.stdout.startswith("v") and int(version.stdout[1:].split(".")[0]) >= 18
