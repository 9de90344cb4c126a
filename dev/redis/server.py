"""A real redis-server of one's own: nothing is kept, and it ends with whoever started it."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from dev.children import mortal
from dev.redis.program import find_program
from dev.redis.resp import Refusal, Reply, Wire, Word

_START_TIMEOUT_S = 10.0
_POLL_S = 0.005
_TRIES = 3
_LONGEST_SOCKET_PATH = 100  # bytes; the kernel's limit is 108, and 104 on a Mac


class RedisFailed(Exception):
    """redis-server did not start; the message holds what it said."""


class EmbeddedRedis:
    """`options` are lines of redis.conf: `{"maxmemory": "2mb"}`.

    It listens on a Unix socket in a folder that is closed to others, and with `tcp` on a free port of 127.0.0.1 too,
    there behind a password, as every user of the machine can come by. Both stay the same after `kill()` and `start()`,
    with nothing of what was in it. Linux ends it with the thread that started it, however that goes.
    """

    def __init__(
        self,
        folder: Path | None = None,
        options: Mapping[str, str] | None = None,
        *,
        tcp: bool = False,
        program: Path | None = None,
    ) -> None:
        self._inside = folder
        self._options = dict(options or {})
        self._program = program
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._tcp = tcp
        self._has_run = False
        self.port = 0
        self.password = secrets.token_urlsafe(16) if tcp else ""

    # --- where it is

    @property
    def url(self) -> str:
        """For REDIS_URL: by TCP if that was asked for, else by the socket."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0" if self._tcp else self.socket_url

    @property
    def socket_url(self) -> str:
        login = f":{self.password}@" if self.password else ""
        return f"unix://{login}{self.socket_path}?db=0"

    @property
    def socket_path(self) -> Path:
        return self.folder / "redis.sock"

    @property
    def folder(self) -> Path:
        if self._folder is None:
            raise RuntimeError("this Redis is not started")
        return self._folder

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("this Redis is not started")
        return self._process.pid

    @property
    def version(self) -> str:
        """`7.0.15`."""
        said = self.ask("INFO", "server")
        lines = said.decode().splitlines() if isinstance(said, bytes) else []
        return next(line.partition(":")[2] for line in lines if line.startswith("redis_version:"))

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    # --- its life

    def start(self) -> Self:
        """Also again, after a `kill()`. RedisMissing or RedisFailed."""
        if self.is_running:
            return self
        program = self._program or find_program()
        self._folder = self._folder or _private_folder(self._inside)
        for _ in range(_TRIES):  # somebody else may be quicker to take the port that was free
            if self._tcp and not self._has_run:
                self.port = _free_port()
            if self._starts(program):
                self._has_run = True
                return self
        said = self.log
        self.stop()
        raise RedisFailed(f"redis-server did not start:\n{said}")

    def stop(self) -> None:
        """Ends it, and removes its folder; may be called twice."""
        self.kill()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def kill(self) -> None:
        """At once, paused or not. It has nothing to tidy up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """It takes connections and bytes, as the kernel does that for it, and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- past all that is tested

    def ask(self, *words: Word) -> Reply:
        """One command by a connection of its own; an error of Redis is a Refusal."""
        with self.wire() as wire:
            return wire.ask(*words)

    def wire(self, timeout_s: float | None = 10.0) -> Wire:
        return Wire(str(self.socket_path), self.password, timeout_s)

    def clear(self) -> None:
        """As it was when it had just been started: running, empty, without scripts, within its first bounds."""
        if self.is_running:
            self.resume()
        else:
            self.start()
        bounds = {"maxmemory": "0", "maxmemory-policy": "noeviction"} | self._options
        with self.wire() as wire:
            for name in ("maxmemory", "maxmemory-policy"):
                wire.ask("CONFIG", "SET", name, bounds[name])
            wire.ask("FLUSHALL")
            wire.ask("SCRIPT", "FLUSH")

    # --- starting

    def _starts(self, program: Path) -> bool:
        config = self.folder / "redis.conf"
        config.write_text("".join(f"{name} {value}\n" for name, value in self._settings().items()))
        with (self.folder / "log").open("wb") as output:
            self._process = subprocess.Popen(
                mortal([program, config]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for us, who then end it
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            )
        return self._comes_up()

    def _settings(self) -> dict[str, str]:
        """In a file, as everybody may read the command line of a process, and there is a password in it."""
        return {
            "bind": "127.0.0.1",
            "port": str(self.port),
            **({"requirepass": self.password} if self.password else {}),
            "unixsocket": _quoted(self.socket_path),
            "unixsocketperm": "700",
            "dir": _quoted(self.folder),
            "save": '""',
            "appendonly": "no",
            "daemonize": "no",
            "logfile": '""',
            "databases": "16",
            **self._options,
        }

    def _comes_up(self) -> bool:
        """By the socket, which it makes after it has taken the port."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self.is_running and time.monotonic() < deadline:
            try:
                return not isinstance(self.ask("PING"), Refusal)
            except OSError:
                time.sleep(_POLL_S)
        return False


def _private_folder(inside: Path | None) -> Path:
    """Closed to others, and in a place that leaves room for the name of a socket."""
    if inside is not None:
        inside.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="latchkey-redis-", dir=inside))
    if len(os.fsencode(folder / "redis.sock")) <= _LONGEST_SOCKET_PATH:
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="latchkey-redis-", dir="/tmp"))


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
