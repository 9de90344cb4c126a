"""`make run` as a process of its own, and what starts it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from tests.databases import ROOT

_SETTINGS = ("ADMIN_TOKEN", "ANTHROPIC_", "DATABASE_", "MAKE", "PORT", "REDIS_", "UPSTASH_")


def without_settings() -> dict[str, str]:
    """What is set where the tests run is none of theirs."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}


class Served:
    """`python -m dev.serve` until it has said where it is. `through` is what starts it, if not we ourselves."""

    def __init__(
        self,
        *arguments: str,
        program: Sequence[str] = ("-m", "dev.serve"),
        through: Sequence[str] = (),
        **environ: str,
    ) -> None:
        # Where it leaves word of itself; nobody's own .latchkey is to know of tests.
        self._home = tempfile.TemporaryDirectory(prefix="latchkey-served-")
        if not any(argument.startswith("--home") for argument in arguments):
            arguments = (*arguments, f"--home={self._home.name}")
        self.port = free_port()
        self.process = subprocess.Popen(
            [*through, sys.executable, "-W", "error", *program, *arguments],
            cwd=ROOT,
            env={**without_settings(), "PORT": str(self.port), **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = ""
        self._rest = ""
        self._has_begun = threading.Event()
        # All the time: it tells of each turn, and would wait for its reader.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._has_begun.wait(100)

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)

    def end(self, signum: signal.Signals) -> str:
        if self.process.poll() is None:
            self.process.send_signal(signum)
        self._reader.join(100)
        self.process.wait(20)
        self._home.cleanup()
        return self._rest

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                if self._has_begun.is_set():
                    self._rest += line
                else:
                    self.said += line
                if line.startswith("curl "):
                    self._has_begun.set()
        self._has_begun.set()

    def call(self, method: str, path: str, body: object = None, device: str | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"X-Device-ID": device or str(uuid4())}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        return answer.status, content


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
