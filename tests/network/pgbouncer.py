"""A real pgbouncer in transaction pooling mode, as a serverless deployment has in front of its Postgres."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg2

from dev.postgres.account import Account
from dev.postgres.processes import until
from tests.network.protocol import Address

_START_TIMEOUT_S = 10.0
_TRIES = 3
# Where Debian puts it, which an ordinary user does not search.
_PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


class MissingProgram(Exception):
    """There is no pgbouncer on this machine; get it by `apt-get install pgbouncer` (Debian) or `brew install pgbouncer`."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class PgBouncerFailed(Exception):
    """pgbouncer did not start; the message holds what it said."""


class PgBouncer:
    """Pools at most `pool_size` connections to the server of `url`; `self.url` is where clients go instead.

    `options` are pgbouncer's own settings, before ours. Anybody may log in, also to the console at `self.console`.
    """

    def __init__(self, url: str, *, pool_size: int = 4, options: Mapping[str, str] | None = None) -> None:
        self._server = Address.of(url)
        self._settings = {"default_pool_size": str(pool_size), **(options or {})}
        self._account = Account.for_caller()
        self._ending = ExitStack()
        self.url = self.console = ""

    @staticmethod
    def program() -> Path | None:
        found = shutil.which("pgbouncer", path=_PLACES)
        return None if found is None else Path(found)

    def __enter__(self) -> Self:
        program = self.program()
        if program is None:
            raise MissingProgram
        with ExitStack() as undoing:
            folder = undoing.enter_context(self._folder())
            self._start(program, Path(folder), undoing)
            self._ending = undoing.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.close()

    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        """Closed to others, in the first place that its account can pass."""
        usual = Path(tempfile.gettempdir())
        parent = usual if self._account.can_reach(usual) else Path("/tmp")
        return tempfile.TemporaryDirectory(prefix="latchkey-pgbouncer-", dir=parent)

    def _start(self, program: Path, folder: Path, undoing: ExitStack) -> None:
        """Again with another port if somebody was quicker to take the one that was free."""
        log = folder / "log"
        for _ in range(_TRIES):
            port = _free_port()
            self.url = self._server.through(port)
            self.console = Address("postgres", "", 0, "pgbouncer").through(port)
            process = self._launch(program, self._write_config(folder, port), log)
            undoing.callback(_end, process)
            until(lambda: process.poll() is not None or self._answers(), _START_TIMEOUT_S)  # noqa: B023 - called here
            if process.poll() is None and self._answers():
                return
        raise PgBouncerFailed(f"pgbouncer did not start:\n{log.read_text()}")

    def _write_config(self, folder: Path, port: int) -> Path:
        config = folder / "pgbouncer.ini"
        sections = {"databases": {"*": self._database()}, "pgbouncer": self._pgbouncer(port)}
        lines = [
            line
            for name, settings in sections.items()
            for line in (f"[{name}]", *(f"{key} = {value}" for key, value in settings.items()))
        ]
        config.write_text("\n".join(lines) + "\n")
        for path in (folder, config):
            self._account.take_over(path)
        return config

    def _database(self) -> str:
        user, _, password = self._server.login.partition(":")
        server = {"host": self._server.host, "port": str(self._server.port), "user": user}
        if password:
            server["password"] = password
        return " ".join(f"{key}={value}" for key, value in server.items())

    def _pgbouncer(self, port: int) -> dict[str, str]:
        return {
            "ignore_startup_parameters": "extra_float_digits",
            **self._settings,
            "listen_addr": "127.0.0.1",
            "listen_port": str(port),
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "server_tls_sslmode": "disable",
        }

    def _launch(self, program: Path, config: Path, log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen([program, config], stdout=output, **self._account.spawn_arguments())

    def _answers(self) -> bool:
        try:
            psycopg2.connect(self.console, connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _end(process: subprocess.Popen[bytes]) -> None:
    """By force: which signal waits for clients differs between its releases, and it has nothing to tidy up."""
    process.kill()
    process.wait()
