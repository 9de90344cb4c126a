"""Processes for tests that need not import anything: forked from one that has imported it all, has no threads and did nothing else.

Such a process is as much its own as one that was started anew, and is there in a tenth of the time. It is forked from no test,
which has threads, and it ends with the nursery, however that ends.
"""

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self

from tests.databases import ROOT

# What its processes use, and import only when they need it.
_LOADED = (
    "tests.streams.server",
    "tests.web.server",
    "anthropic.types.beta",
    "core.cache.native",
    "core.cache.upstash",
    "httpx",
    "jwt",
    "redis",
    "uvicorn.protocols.http.h11_impl",
)
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Child:
    pid: int
    # Names the process and no other, even when its number is another's by then.
    handle: int

    def is_over(self, within_s: float = 0) -> bool:
        ended = select.poll()
        ended.register(self.handle, select.POLLIN)
        return bool(ended.poll(within_s * 1000))

    def kill(self) -> None:
        if not self.is_over():
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)
        assert self.is_over(within_s=10)
        os.close(self.handle)


class Nursery:
    def __init__(self) -> None:
        self._line, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.nursery", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._said: BinaryIO = self._line.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._said.close()
        self._line.close()
        self._process.wait(20)

    def start(self, module: str, *arguments: str, **environ: str) -> Child:
        """Its `main()`, with nothing in its environment but this."""
        asked = {"module": module, "arguments": arguments, "environ": environ}
        self._line.sendall(json.dumps(asked).encode() + b"\n")
        pid = int(self._said.readline())
        return Child(pid, os.pidfd_open(pid))


def main() -> None:
    line = socket.socket(fileno=int(sys.argv[1]))
    for module in _LOADED:
        importlib.import_module(module)
    assert threading.active_count() == 1, "what has threads is not to be forked"
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    with line.makefile("rb") as asked:
        for one in asked:
            if (pid := os.fork()) == 0:
                _become(json.loads(one), line)
            line.sendall(b"%d\n" % pid)


def _become(asked: dict[str, object], line: socket.socket) -> None:
    """Never returns."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(line.fileno())
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        os.environ.clear()
        os.environ.update(asked["environ"])  # type: ignore[call-overload]
        sys.argv = [str(asked["module"]), *asked["arguments"]]  # type: ignore[misc]
        importlib.import_module(str(asked["module"])).main()
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
