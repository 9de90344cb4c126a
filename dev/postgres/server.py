"""EmbeddedPostgres: one user's hold on the server of one home."""

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import psycopg2
import psycopg2.errors
from psycopg2 import sql

from dev.postgres import programs
from dev.postgres.account import Account
from dev.postgres.data import INITDB_TIMEOUT_S, initialise
from dev.postgres.failure import PostgresFailed
from dev.postgres.locks import is_unreplaced, open_lock, take
from dev.postgres.log import ServerLog
from dev.postgres.processes import POLL_S, is_over, postmaster_named_in, until
from dev.postgres.programs import digest, make_open_folder, within_reach
from dev.postgres.sockets import PORT, is_private, make_socket_folder, socket_folder

if TYPE_CHECKING:
    import psutil

START_TIMEOUT_S = 30.0
FAST_STOP_TIMEOUT_S = 20.0
IMMEDIATE_STOP_TIMEOUT_S = 10.0  # a postmaster gives its children 5 s before it kills them
RETRY_S = 0.1
STILL_ATTACHED = "pre-existing shared memory block"  # backends of a killed postmaster, on their way out

DEFAULTS = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "io_method": "sync",  # the default keeps three more processes
    "wal_level": "minimal",
    "max_wal_senders": "0",  # wal_level=minimal demands it
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
    "jit": "off",
}

NOTE_NAME = "DATA-IS-ELSEWHERE.txt"
NOTE = """The account `{account}`, as which Postgres runs when root starts it, cannot reach this folder.
The data of this Postgres therefore lives in

    {data}

Deleting this note means starting afresh: the next start erases that folder and begins with an empty server.
"""


class _Detached(subprocess.Popen[bytes]):
    """A child that is meant to outlive this object: no ResourceWarning for it."""

    def __del__(self, *_: object) -> None:
        pass


class EmbeddedPostgres:
    """One user's hold on the server of one home. `data` and `url()` are certain once `start()` has returned."""

    def __init__(self, home: Path, *, options: Mapping[str, str] | None = None, keep: bool = True) -> None:
        """`options` are Postgres settings, for whoever starts the server. Without `keep` the last one out erases the data."""
        self.home = home.absolute().resolve()
        self.data = self.home / "data"
        self.log = self.home / "postgres.log"
        self._output = ServerLog(self.log)
        self._options = dict(options or {})
        self._keep = keep
        self._account = Account.for_caller()
        self.sockets = socket_folder(self._account, self._digest())
        self._users: int | None = None
        self._child: _Detached | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Brings the server up, or adopts the one that runs; returns once it answers. Starting twice does no harm."""
        install = programs.wheel()
        with self._plainly("start"):
            self.home.mkdir(parents=True, exist_ok=True)
            with self._mutex():
                if self._users is None:
                    self._users = open_lock(self.home / "users.lock")
                    fcntl.flock(self._users, fcntl.LOCK_SH)
                try:
                    self._bring_up(install)
                except BaseException:
                    with suppress(PostgresFailed):
                        self._leave()
                    raise

    def stop(self) -> None:
        """Lets go of the server; the last one out stops it. Stopping twice does no harm."""
        if self._users is None:
            return
        with self._plainly("stop"):
            self.home.mkdir(parents=True, exist_ok=True)  # it may have been erased meanwhile
            with self._mutex():
                self._leave()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{quote(database, safe='')}?host={quote(str(self.sockets), safe='')}&port={PORT}"

    def ensure_database(self, name: str) -> None:
        with closing(psycopg2.connect(self.url())) as connection:
            connection.autocommit = True
            # Two at once: the loser of the race sees either error.
            with (
                suppress(psycopg2.errors.DuplicateDatabase, psycopg2.errors.UniqueViolation),
                connection.cursor() as cursor,
            ):
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    # --- up

    def _bring_up(self, install: Path) -> None:
        self._choose_data()
        if self._postmaster() is None:
            self._end_server_of_an_erased_home()
            self._output.start_page()
            initialise(
                self.data,
                within_reach(self._account, install),
                self._account,
                self._output,
                sync=self._options.get("fsync") != "off",
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        child: _Detached | None = None
        while not self._answers():
            if time.monotonic() > deadline:
                raise self._output.failure(f"Postgres did not answer within {START_TIMEOUT_S:.0f} s")
            if child is not None and child.poll() is not None:
                if STILL_ATTACHED not in self._output.tail():
                    raise self._output.failure("Postgres ended while it was starting")
                time.sleep(RETRY_S)
                child = None
            if child is None and self._postmaster() is None:
                child = self._child = self._launch(within_reach(self._account, install))
            time.sleep(POLL_S)

    def _answers(self) -> bool:
        if self._postmaster() is None:
            return False
        self._follow_sockets()
        try:
            psycopg2.connect(self.url(), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _follow_sockets(self) -> None:
        """Whoever started the server may have had another TMPDIR. Only the name that we gave is followed, never any path."""
        with suppress(OSError, IndexError):
            named = Path((self.data / "postmaster.pid").read_text().splitlines()[4])
            if named.name == self.sockets.name:
                self.sockets = named

    def _launch(self, install: Path) -> _Detached:
        # Stale, as no server runs; its pid may be recycled, and Postgres would then refuse to start. It notices backends
        # of a killed postmaster without it: the name of their shared memory follows from the folder.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        make_socket_folder(self.sockets, self._account)
        arguments = [word for item in self._settings().items() for word in ("-c", "=".join(item))]
        self._output.start_page()
        with self.log.open("ab") as log:
            return _Detached(
                [install / "bin" / "postgres", "-D", self.data, *arguments],
                stdout=log,
                **self._account.spawn_arguments(),
            )

    def _settings(self) -> dict[str, str]:
        folder = str(self.sockets).replace('"', '""')
        fixed = {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": f'"{folder}"',
            "unix_socket_permissions": "0700",
        }
        return DEFAULTS | self._options | fixed

    def _end_server_of_an_erased_home(self) -> None:
        if (server := postmaster_named_in(self.sockets / f".s.PGSQL.{PORT}.lock", self.data)) is not None:
            self._end(server)

    # --- down

    def _leave(self) -> None:
        """Under the mutex: lets go, and stops the server if nobody else holds it."""
        users = self._users
        if users is None:
            return
        self._users = None
        try:
            # A lock file that was replaced belongs to an erased home: the server of the new one is not ours to stop.
            if is_unreplaced(self.home / "users.lock", users) and take(users):
                self._shut_down()
        finally:
            # Said aloud, since a child that was forked just now may hold a copy of the descriptor.
            fcntl.flock(users, fcntl.LOCK_UN)
            os.close(users)

    def _shut_down(self) -> None:
        if (server := self._postmaster()) is not None:
            self._end(server)
        self._end_server_of_an_erased_home()
        if is_private(self.sockets, self._account):
            shutil.rmtree(self.sockets, ignore_errors=True)
        if not self._keep:
            self._erase()

    def _end(self, server: "psutil.Process") -> None:
        steps = ((signal.SIGINT, FAST_STOP_TIMEOUT_S), (signal.SIGQUIT, IMMEDIATE_STOP_TIMEOUT_S))
        for number, timeout_s in steps:
            if not is_over(server):
                server.send_signal(number)  # psutil makes sure that the pid was not recycled
            if until(lambda: is_over(server), timeout_s):
                break
        else:
            raise self._output.failure(f"Postgres (process {server.pid}) does not stop")
        if self._child is not None:
            self._child.poll()  # reaps it

    def _erase(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        if self.data.parent != self.home:
            shutil.rmtree(self.data.parent, ignore_errors=True)
            (self.home / NOTE_NAME).unlink(missing_ok=True)

    # --- places

    def _choose_data(self) -> None:
        """In the home, or where `nobody` can reach it; a note in the home then says where, and vouches for it."""
        note = self.home / NOTE_NAME
        inside, outside = self.home / "data", programs.ROOTS_PLACE / self._digest() / "data"
        if not note.exists() and self._account.can_reach(self.home):
            self.data = inside
            return
        if inside.exists():
            raise PostgresFailed(
                f"{inside} holds data, but the account `{self._account.name}` cannot reach it any more; "
                f"open the folders above it again, or move it to {outside}."
            )
        self.data = outside
        if not note.exists():
            self._forget_former_home()
            note.write_text(NOTE.format(account=self._account.name, data=outside))
        for folder in (programs.ROOTS_PLACE, outside.parent):
            make_open_folder(folder)

    def _forget_former_home(self) -> None:
        """A home that was deleted took its note along; its data must not turn up again in the new one."""
        if (server := self._postmaster()) is not None:
            self._end(server)
        shutil.rmtree(self.data.parent, ignore_errors=True)

    def _digest(self) -> str:
        return digest(f"{self.home} {self._account.uid}")

    # --- the running server, locks, words

    def _postmaster(self) -> "psutil.Process | None":
        """The server that runs on this data, if one does."""
        return postmaster_named_in(self.data / "postmaster.pid", self.data)

    @contextmanager
    def _mutex(self) -> Iterator[None]:
        lock = open_lock(self.home / "start.lock")
        try:
            if not until(lambda: take(lock), START_TIMEOUT_S + INITDB_TIMEOUT_S):
                raise PostgresFailed(
                    f"Another process has been starting or stopping Postgres in {self.home} for too long."
                )
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)

    @contextmanager
    def _plainly(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PostgresFailed(f"Postgres in {self.home} could not {verb}: {error}.") from error
