"""The second server, as the demo starts and kills it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dev.children import mortal
from dev.demo.calls import is_alive

_ROOT = Path(__file__).parent.parent.parent
_PATIENCE_S = 60.0
_POLL_S = 0.1

# As short as a lease can be: what it held when it died is free again after so many seconds.
LEASE_S = 5
# How long a conversation that was begun on it lives that nobody uses. Longer than the pauses that people make in this story.
LIFE_S = 6


class NoSecond(Exception):
    """One sentence: why there is no second server."""


@dataclass(slots=True)
class Second:
    url: str
    _process: "subprocess.Popen[bytes]"
    _log: IO[bytes]

    def be_up(self) -> None:
        until = time.monotonic() + _PATIENCE_S
        while not is_alive(self.url):
            if self._process.poll() is not None or time.monotonic() > until:
                raise NoSecond(f"the second server did not come up: {self._last_words()}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """As an operating system does, or a power cut: it has no time for a last word."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


@contextlib.contextmanager
def second_server(database_url: str, access_mode: str) -> Iterator[Second]:
    """Started, and not yet up. However this ends, it ends with it."""
    environ = {
        **os.environ,
        "DATABASE_URL": database_url,
        "DATABASE_POOL_SIZE": "4",
        "ACCESS_MODE": access_mode,
        "LEASE_TTL_S": str(LEASE_S),
        "SESSION_TTL": str(LIFE_S),
    }
    with tempfile.TemporaryFile() as log, _listening() as listening:
        command = [sys.executable, "-m", "dev.demo.second", str(listening.fileno())]
        process = subprocess.Popen(
            mortal(command),
            cwd=_ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[listening.fileno()],
            # Ctrl-C in the terminal is for the demo, which then ends it.
            start_new_session=True,
        )
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        # Nobody but the second server may take a call: what arrives after its death must find nobody.
        listening.close()
        try:
            yield Second(url, process, log)
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _listening() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        yield listening
