"""The host with handlers of the tests' own; what needs the target's Python is left out where there is none, and said."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dev.lambda_host import Function, LambdaHost
from dev.lambda_host.runtime import runtime_python
from dev.package import NoTargetPython, arch_of_this_machine, unpacked
from dev.postgres import EmbeddedPostgres
from tests import left_out
from tests.databases import new_database
from tests.lambda_host.deployment import Deployment, deployed
from tests.template.stack import Stack, pack

Hosting = Callable[..., LambdaHost]


@pytest.fixture(scope="session")
def runtime() -> Path:
    if sys.platform != "linux":
        left_out.leave_out("what runs on Lambda is built for Linux")
    try:
        return runtime_python()
    except NoTargetPython as missing:
        left_out.leave_out(str(missing))


@pytest.fixture(scope="session")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("task")
    shutil.copy(Path(__file__).with_name("fakes.py"), root / "fakes.py")
    return root


@pytest.fixture
def hosting(runtime: Path, fakes: Path) -> Iterator[Hosting]:
    """`hosting("echo", timeout_s=3)` is a host of this one function of fakes.py."""
    with ExitStack() as running:

        def host(name: str, *, root: Path = fakes, idle_s: float = 300.0, **declared: Any) -> LambdaHost:
            function = Function(name=name, **{"handler": f"fakes.{name}", "timeout_s": 10.0, **declared})
            return running.enter_context(LambdaHost(root, [function], idle_s=idle_s, python=runtime))

        yield host


@pytest.fixture(scope="session")
def task_root(runtime: Path) -> Path:
    """The artifact for this machine's processor, of what is in the folder now."""
    arch = arch_of_this_machine()
    if arch is None:
        left_out.leave_out("there is an artifact for x86_64 and for arm64 alone")
    return unpacked(arch)


@pytest.fixture(scope="session")
def deployment(task_root: Path, runtime: Path, postgres: EmbeddedPostgres) -> Iterator[Deployment]:
    """One for all tests of a worker; the clean-up comes when a test invokes it."""
    with (
        new_database(postgres, "template0") as url,
        deployed(task_root, runtime, url, cleanup_every_s=86_400) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return pack(tmp_path_factory.mktemp("template"), "dev")
