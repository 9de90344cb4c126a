"""What the artifact is built for: Lambda's Python, and where one of that version is on this machine."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

PYTHON = "3.13"


class NoTargetPython(Exception):
    """One sentence: what was looked for."""


def find_python() -> Path:
    for candidate in _candidates():
        if _is_it(candidate):
            return candidate
    raise NoTargetPython(
        f"no Python {PYTHON}, which is Lambda's: looked at LATCHKEY_TARGET_PYTHON, for python{PYTHON} on the path, and in ~/.pyenv"
    )


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
