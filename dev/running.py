"""A word on each service that runs on this machine, for commands that play with it: where it is, and how an operator gets in.

`make run` leaves it in `.latchkey/` as long as it runs, for its own account alone. What somebody brought themselves (their database's
address, their operators' token) is not written down: whoever starts the command has it in the environment, as the service had.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil

# It listens on this machine alone.
_HERE: Final = ("127.0.0.1", "localhost")
# A clock that is set moves what is known of when a process began.
_SAME_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    url: str
    # Ours if it is the embedded one; None: whoever runs it knows.
    database_url: str | None
    admin_token: str | None
    # Whether the model is the demo model.
    is_demo: bool
    access_mode: str
    pid: int
    # When that process began: after a reboot, or a long time, its number is another one's.
    since: float


@contextlib.contextmanager
def told_of(home: Path, running: Running) -> Iterator[None]:
    note = _note(home, running.url)
    home.mkdir(parents=True, exist_ok=True)
    # Never readable by others, not even while it is written.
    note.unlink(missing_ok=True)
    with os.fdopen(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(running), file)
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def service_at(home: Path, url: str) -> Running | None:
    """None: it is not known here, as what runs on another machine, or as another account."""
    return _read(_note(home, url)) if is_here(url) else None


def is_here(url: str) -> bool:
    return urlsplit(url).hostname in _HERE


def began(pid: int) -> float | None:
    """None: there is no such process."""
    try:
        since: float = psutil.Process(pid).create_time()
    except psutil.Error:
        return None
    return since


def services(home: Path) -> list[Running]:
    found = map(_read, sorted(home.glob("running-*.json")))
    return [one for one in found if one is not None]


def _note(home: Path, url: str) -> Path:
    return home / f"running-{urlsplit(url).port}.json"


def _read(note: Path) -> Running | None:
    try:
        running = Running(**json.loads(note.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    # A run that was killed left its word behind.
    since = began(running.pid)
    return running if since is not None and abs(since - running.since) < _SAME_S else None
