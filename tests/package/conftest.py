"""The zips, made once for all tests; and the Python that they are made for."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dev.package import NoTargetPython, arch_of_this_machine, artifact, interpreter, unpacked
from tests import left_out

RunTarget = Callable[..., str]


@pytest.fixture(scope="session")
def target_python() -> Path:
    try:
        return interpreter()
    except NoTargetPython as missing:
        left_out.leave_out(str(missing))


@pytest.fixture(scope="session")
def shipped_zip(target_python: Path) -> Path:
    return artifact("arm64")


@pytest.fixture(scope="session")
def twin(target_python: Path) -> Path:
    return artifact("x86_64")


@pytest.fixture(scope="session")
def task_root(target_python: Path) -> Path:
    """What Lambda would have at /var/task, for this machine's processor."""
    arch = arch_of_this_machine()
    if arch is None:
        left_out.leave_out("the zip holds Linux's compiled modules, and this machine runs something else")
    return unpacked(arch)


@pytest.fixture(scope="session")
def run_target(target_python: Path, task_root: Path) -> RunTarget:
    """Runs a program with nothing on its path but the standard library and the zip; what it says."""

    def run(program: str, **environ: str) -> str:
        done = subprocess.run(
            [target_python, "-I", "-S", "-W", "error", "-c", _BEGINS.format(str(task_root)) + program],
            cwd="/",
            env=environ,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    return run


_BEGINS = "import sys; sys.path.insert(0, {0!r})\n"
