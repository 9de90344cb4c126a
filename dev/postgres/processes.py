"""Processes: which one is a postmaster, and whether it is over."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

POLL_S = 0.005


def postmaster_named_in(path: Path, data: Path) -> "psutil.Process | None":
    """The process whose pid the file names, if that is, now, a postmaster on this folder: nothing recycled, no zombie."""
    import psutil  # comes with the wheel; if both are missing, the sentence about the wheel must still be reached

    try:
        process = psutil.Process(int(path.read_text().split()[0]))
        return process if process.cmdline()[1:3] == ["-D", str(data)] and not is_over(process) else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def is_over(process: "psutil.Process") -> bool:
    import psutil  # see above

    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
