"""What the artifact is built for: Lambda's Python, and where one of that version is on this machine."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

PYTHON = "3.13"
Arch = Literal["arm64", "x86_64"]


class NoTargetPython(Exception):
    """One sentence: what was looked for."""


def interpreter() -> Path:
    for candidate in _candidates():
        if _is_it(candidate):
            return candidate
    raise NoTargetPython(
        f"no Python {PYTHON}, which is Lambda's: looked at LATCHKEY_TARGET_PYTHON, for python{PYTHON} on the path, and in ~/.pyenv"
    )


def arch_of_this_machine() -> Arch | None:
    if sys.platform != "linux":
        return None
    return {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine())  # type: ignore[return-value]  # the literals


def _candidates() -> Iterator[Path]:
    if given := os.environ.get("LATCHKEY_TARGET_PYTHON"):
        yield Path(given)
    if found := shutil.which(f"python{PYTHON}"):
        yield Path(found)
    yield from sorted(Path.home().glob(f".pyenv/versions/{PYTHON}*/bin/python"))


def _is_it(python: Path) -> bool:
    """A shim of pyenv is there and does not run."""
    asked = [str(python), "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return False
    return said.returncode == 0 and said.stdout.strip() == PYTHON
