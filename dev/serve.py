"""`make run`: the whole service on this machine, from one process, with a line a step.

Postgres is the embedded one unless DATABASE_URL names another; so is Redis, behind Upstash's REST API, unless REDIS_URL or
UPSTASH_REDIS_REST_URL does, and where there is none the run goes on without. The model is the demo model unless
ANTHROPIC_API_KEY is set. Everything that is started here ends with it: on Ctrl-C, on SIGTERM, and when the `make` above it is killed. What a
`kill -9` leaves behind (a running Postgres) the next run takes over.
"""

import argparse
import contextlib
import ctypes
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from core.agents.refusal import WrongDeclaration
from core.settings import Settings, SettingsError, read_settings
from dev.running import Running, began, told_of

if TYPE_CHECKING:
    import uvicorn

    from core.agents.roster import Roster

ROOT = Path(__file__).parent.parent
# A fixed device, so that the line to paste goes on with the same conversation after a restart.
DEVICE = "3f2b8c1e-5a4d-4c7b-9e1f-2a6d8b0c4e57"
_PR_SET_PDEATHSIG = 1
_REDIS_MEMORY = "64mb"
# What the demo model is shown.
_NO_KEY = "demo"


class CannotRun(Exception):
    """One sentence: what is wrong, and what to do."""


def main() -> None:
    arguments = _arguments()
    _end_with_make()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.ExitStack() as running:
            serve(arguments.port, arguments.home, running)
    except KeyboardInterrupt:
        pass
    except (CannotRun, SettingsError, WrongDeclaration) as problem:
        sys.exit(f"latchkey  {problem}")
    _say("stopped")


def serve(port_given: str, home: Path, running: contextlib.ExitStack) -> None:
    with _step("settings") as tell:
        port = _port(port_given)
        environ = dict(os.environ)
        made = _let_in(environ)
        read_settings(environ)
        theirs = environ.get("DATABASE_URL")
        # A proxy that this machine uses for the internet must not be asked for an address on this machine.
        os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1"]))
        tell("read from the environment")
    listening = running.enter_context(_listen(port))
    with _step("postgres") as tell:
        tell(_database(environ, home, running))
    with _step("redis") as tell:
        tell(_redis(environ, running))
    with _step("schema") as tell:
        tell(_migrate(read_settings(environ)))
    with _step("model") as tell:
        tell(_model(environ, running))
    with _step("server") as tell:
        server = _server(read_settings(environ), running)
        tell(f"http://127.0.0.1:{port}")
    told = Running(
        url=f"http://127.0.0.1:{port}",
        database_url=None if theirs else environ["DATABASE_URL"],
        admin_token=made,
        is_demo=environ["ANTHROPIC_API_KEY"] == _NO_KEY,
        access_mode=environ["ACCESS_MODE"],
        pid=os.getpid(),
        since=began(os.getpid()) or 0.0,
    )
    running.enter_context(told_of(home, told))
    _serve_until_stopped(server, listening, port, environ["ACCESS_MODE"], made)


def _let_in(environ: dict[str, str]) -> str | None:
    """Nobody has to register here unless it is asked for; operators have a token, which is given back if it was made here."""
    environ["ACCESS_MODE"] = environ.get("ACCESS_MODE", "").strip() or "open"
    if environ.get("ADMIN_TOKEN", "").strip():
        return None
    environ["ADMIN_TOKEN"] = secrets.token_urlsafe(32)
    return environ["ADMIN_TOKEN"]


# ---- what the steps start


def _database(environ: dict[str, str], home: Path, running: contextlib.ExitStack) -> str:
    # Many requests at once share this process; on Lambda each process has one request and one connection.
    environ.setdefault("DATABASE_POOL_SIZE", "8")
    if environ.get("DATABASE_URL"):
        return "yours, from DATABASE_URL"
    from dev.postgres import EmbeddedPostgres, PostgresFailed

    postgres = EmbeddedPostgres(home / "postgres")
    try:
        postgres.start()
        running.callback(postgres.stop)
        postgres.ensure_database("latchkey")
    except PostgresFailed as failure:
        raise CannotRun(str(failure)) from failure
    environ["DATABASE_URL"] = postgres.url("latchkey")
    return f"embedded, data in {_short(postgres.data)}"


def _redis(environ: dict[str, str], running: contextlib.ExitStack) -> str:
    for name in ("REDIS_URL", "UPSTASH_REDIS_REST_URL"):
        if environ.get(name):
            return f"yours, from {name}"
    from dev.redis import EmbeddedRedis, RedisFailed, RedisFront, RedisMissing

    redis = EmbeddedRedis(options={"maxmemory": _REDIS_MEMORY, "maxmemory-policy": "allkeys-lru"})
    try:
        running.enter_context(redis)
    except RedisMissing as missing:
        # A cache may only help: all answers are the same without it.
        return f"none. {missing}"
    except RedisFailed as failure:
        return f"none. {' '.join(str(failure).split())}"
    front = running.enter_context(RedisFront(redis.wire, keep_requests=100))
    environ["UPSTASH_REDIS_REST_URL"] = front.url
    environ["UPSTASH_REDIS_REST_TOKEN"] = front.token
    return f"embedded {redis.version}, over REST at {front.url}"


def _migrate(settings: Settings) -> str:
    from functions.migrate import NotMigrated, migrate

    try:
        done = migrate(settings)
    except NotMigrated as problem:
        raise CannotRun(f"The database cannot be used: {problem.detail}") from problem
    return f"at revision {done.after}"


def _model(environ: dict[str, str], running: contextlib.ExitStack) -> str:
    if environ.get("ANTHROPIC_API_KEY"):
        return f"Claude, at {read_settings(environ).anthropic_base_url}"
    from dev.demo_model import DemoModel

    model = running.enter_context(DemoModel())
    environ["ANTHROPIC_API_KEY"] = _NO_KEY
    environ["ANTHROPIC_BASE_URL"] = model.url
    return "the demo model; set ANTHROPIC_API_KEY for Claude"


def _server(
    settings: Settings,
    running: contextlib.ExitStack,
    roster: "Roster | None" = None,
    sweep_every_s: float = 5.0,
) -> "uvicorn.Server":
    import uvicorn

    from core.agents.roster import ROSTER
    from core.house import build_house
    from functions.app import build_app
    from functions.lines import show_as_text

    show_as_text()
    house = build_house(settings, roster or ROSTER)
    running.callback(house.close)
    # On Lambda a function of its own goes on with what a request leaves behind; here a few threads do.
    running.callback(house.start_workers(threads=4, sweep_every_s=sweep_every_s).stop)
    # Loads the model's client now, in the background, rather than during the first reply.
    house.turns.asking.model.warm()
    app = build_app(house, one_at_a_time=False)
    return uvicorn.Server(
        uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=5, backlog=1024)
    )


def _serve_until_stopped(
    server: "uvicorn.Server",
    listening: socket.socket,
    port: int,
    mode: str = "open",
    admin_token: str | None = None,
) -> None:
    """uvicorn ends a signalled process by raising the signal again; here it just stops serving, and we clean up."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment]  # a context manager without arguments
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    _invite(port, mode, admin_token)
    server.run(sockets=[listening])


# ---- the port


def _port(given: str) -> int:
    if not (given.isascii() and given.isdecimal() and 1 <= int(given[:6]) <= 65_535):
        raise CannotRun(f"PORT is {given!r}; accepted: a whole number from 1 to 65535.")
    return int(given)


@contextlib.contextmanager
def _listen(port: int, target: str = "run") -> Iterator[socket.socket]:
    """The port is taken before anything else is started. A server that is just stopping gets a moment to let go of it."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        patience = time.monotonic() + 2
        while True:
            try:
                listening.bind(("127.0.0.1", port))
                listening.listen(1024)
                break
            except OSError as error:
                if time.monotonic() > patience:
                    raise CannotRun(
                        f"Port {port} cannot be used ({error.strerror}); choose another: make {target} PORT={port + 1}"
                    ) from error
                time.sleep(0.1)
        yield listening


# ---- what is printed


@contextlib.contextmanager
def _step(name: str) -> Iterator[Callable[[str], None]]:
    begun = time.monotonic()
    told: list[str] = []
    yield told.append
    _say(f"{name:<10}{''.join(told):<60}{time.monotonic() - begun:5.2f} s")


_WHO_MAY_SPEAK = {
    "open": "Nobody has to sign in (ACCESS_MODE is open): keep the port to this machine.",
    "bound": "Devices register first, with POST /v1/devices, and send their token along (ACCESS_MODE is bound).",
    "jwt": "Calls carry a person's token (ACCESS_MODE is jwt).",
}


def _invite(port: int, mode: str, admin_token: str | None) -> None:
    for_operators = (
        "" if admin_token is None else f"For operators, until it stops: ADMIN_TOKEN {admin_token}\n"
    )
    print(
        f"""
Latchkey is at http://127.0.0.1:{port} - open it in a browser, and talk. Ctrl-C stops it. {_WHO_MAY_SPEAK[mode]}
Operators look at http://127.0.0.1:{port}/console
{for_operators}From another terminal:

curl -s http://127.0.0.1:{port}/v1/turns -H 'X-Device-ID: {DEVICE}' -d '{{"message": "Hello, my name is Ada."}}'
""",
        flush=True,
    )


def _say(line: str) -> None:
    print(f"latchkey  {line}", flush=True)


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


# ---- the process


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dev.serve", description="Runs Latchkey on this machine.")
    parser.add_argument("--port", default=os.environ.get("PORT") or "8000", help="default: $PORT, else 8000")
    parser.add_argument(
        "--home",
        type=Path,
        default=ROOT / ".latchkey",
        help="where the embedded Postgres keeps its data (default: .latchkey beside the code)",
    )
    return parser.parse_args()


def _end_with_make() -> None:
    """`kill -9` of make must not leave the server that it started behind. Linux only: elsewhere one stops it by hand."""
    if "MAKELEVEL" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    main()
