"""What the zip is made for: Lambda's Python, and the two processors.

Its bytecode is of use to that very version alone, so a Python of that version compiles it. It also runs the tests of the zip.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final, Literal

from dev.package.failure import CannotPackage

PYTHON: Final = "3.13"
NAMED_BY: Final = "LATCHKEY_TARGET_PYTHON"

# Where Lambda unpacks the zip: what a traceback shows.
TASK_ROOT: Final = "/var/task"

Arch = Literal["arm64", "x86_64"]
ARCHES: Final[tuple[Arch, ...]] = ("arm64", "x86_64")

# The newest wheels that Amazon Linux 2023 can load: its glibc is 2.34.
PLATFORMS: Final[dict[Arch, str]] = {
    "arm64": "aarch64-manylinux_2_34",
    "x86_64": "x86_64-manylinux_2_34",
}
GLIBC: Final = (2, 34)


class NoTargetPython(CannotPackage):
    """There is no Python of the version that the zip is made for."""


def interpreter() -> Path:
    """The one that is named, else the one on the path, else pyenv's."""
    named = os.environ.get(NAMED_BY, "").strip()
    for candidate in [named] if named else _candidates(os.environ):
        if (found := _executable(candidate)) is not None:
            return found
    looked = (
        repr(named) if named else f"python{PYTHON} on the PATH, and ~/.pyenv/versions/{PYTHON}*/bin/python"
    )
    raise NoTargetPython(
        f"There is no Python {PYTHON}, which Lambda runs and whose bytecode the zip holds: looked for {looked}. Install it "
        f"(pyenv install {PYTHON}, or uv python install {PYTHON}), or name one: {NAMED_BY}=/path/to/python{PYTHON}"
    )


def release() -> str:
    """The interpreter's own, such as 3.13.9: the next one may compile the same to other bytes."""
    return _release(interpreter())


def arch_of_this_machine() -> Arch | None:
    """The zip that this machine can run. None: neither."""
    if sys.platform != "linux":
        return None
    return {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine())  # type: ignore[return-value]  # the literals


def _candidates(environ: Mapping[str, str]) -> Iterator[str]:
    if (on_path := shutil.which(f"python{PYTHON}", path=environ.get("PATH"))) is not None:
        yield on_path
    pyenv = Path(environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from (str(path) for path in sorted(pyenv.glob(f"versions/{PYTHON}*/bin/python"), reverse=True))


@cache
def _release(python: Path) -> str:
    asked = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
    return subprocess.run(
        [python, "-I", "-S", "-c", asked], capture_output=True, text=True, timeout=30, check=True
    ).stdout.strip()


@cache
def _executable(program: str) -> Path | None:
    """The interpreter itself, if it runs and is of that version: pyenv's shims are there and do not run."""
    asked = "import sys; print('%d.%d' % sys.version_info[:2], sys.implementation.name, sys.executable)"
    try:
        said = subprocess.run(
            [program, "-I", "-S", "-c", asked], capture_output=True, text=True, timeout=30, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    version, implementation, path = said.split(" ", 2)
    return Path(path) if (version, implementation) == (PYTHON, "cpython") else None
