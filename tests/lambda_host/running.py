"""`make lambda` as somebody runs it: a process of its own, until it has said where it is."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from types import TracebackType
from typing import Self

import psutil

from core.settings import variables
from dev.postgres.processes import until
from tests.databases import ROOT

_SETTINGS = {variable for variable, _ in variables()} | {"MAKELEVEL", "PORT"}


class Running:
    """What it says is read all the time: else it would wait for its reader."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        clean = {name: value for name, value in os.environ.items() if name not in _SETTINGS}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "dev.lambda_host", *arguments],
            cwd=ROOT,
            env={**clean, "PORT": str(self.port), **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def said(self) -> str:
        return "\n".join(self._lines)

    def wait_for(self, pattern: str, timeout_s: float = 100.0) -> re.Match[str]:
        found: list[re.Match[str]] = []

        def is_said() -> bool:
            found.extend(re.finditer(pattern, self.said, re.MULTILINE))
            return bool(found) or self.process.poll() is not None

        assert until(is_said, timeout_s), self.said
        assert found, self.said
        return found[0]

    def processes(self, handler: str) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if handler in child.cmdline()]

    def end(self, number: signal.Signals = signal.SIGTERM) -> str:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(30)
        self._reader.join(10)
        return self.said

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self._lines.append(line.rstrip("\n"))
