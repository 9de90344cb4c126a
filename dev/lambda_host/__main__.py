"""`make lambda`: the whole service as it is deployed, on this machine, with a line a step.

The zip that ships is built, or its twin for this machine's processor, and its four functions run under AWS's own runtime client, each in
processes of its own. In front of them is a gateway, behind them a queue and a clock; AWS's services are moto. Postgres, Redis and the
model are those of `make run`. Settings come from the environment as there; as when deployed, devices have to register
(ACCESS_MODE is bound), and what is secret is in Secrets Manager. Everything that is started here ends with it.
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import sys
import threading
from dataclasses import asdict
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from core.settings import SettingsError, read_settings
from dev import serve
from dev.package import CannotPackage, unpacked
from dev.package.target import arch_of_this_machine

from .declared import CLEANUP_EVERY_S
from .function import INIT_TIMEOUT_S
from .logs import Line
from .runtime import HOME, RuntimeMissing, runtime_python
from .service import LambdaService, NotMigrated, told_apart
from .telling import readable


def main() -> None:
    arguments = _arguments()
    serve._end_with_make()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.ExitStack() as running:
            run(arguments, running)
            threading.Event().wait()
    except KeyboardInterrupt:
        pass
    except (serve.CannotRun, SettingsError, CannotPackage, RuntimeMissing, NotMigrated) as problem:
        sys.exit(f"latchkey  {problem}")
    serve._say("stopped")


def run(arguments: argparse.Namespace, running: contextlib.ExitStack) -> None:
    with serve._step("settings") as tell:
        port = serve._port(arguments.port)
        environ = dict(os.environ)
        admin_token = _let_in(environ)
        read_settings({**environ, **_made(environ)})
        os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1"]))
        plain, secret = told_apart(environ)
        tell(f"{len(plain)} in the environment, {len(secret)} in the secret")
    with serve._listen(port, "lambda"), serve._step("artifact") as tell:
        task_root = _artifact()
        tell(serve._short(task_root))
    with serve._step("runtime") as tell:
        python = runtime_python()
        tell("awslambdaric, in an environment of its own")
    pool_size = environ.get("DATABASE_POOL_SIZE")
    with serve._step("postgres") as tell:
        tell(serve._database(environ, arguments.home, running))
    # What `make run` needs for its threads; a function has one request at a time.
    environ["DATABASE_POOL_SIZE"] = pool_size or ""
    with serve._step("redis") as tell:
        tell(serve._redis(environ, running))
    with serve._step("model") as tell:
        tell(serve._model(environ, running))
    service = LambdaService(
        task_root,
        environ,
        port=port,
        cleanup_every_s=arguments.cleanup_every,
        idle_s=arguments.idle,
        init_timeout_s=arguments.init_timeout,
        tell=_print_all if arguments.verbose else _print,
        python=python,
    )
    with serve._step("aws") as tell:
        running.enter_context(service)
        if arguments.calls is not None:
            running.callback(_write_calls, service, arguments.calls)
        tell(f"moto, at {service.aws.url}: a queue, a bucket, a secret")
    with serve._step("schema") as tell:
        done = service.migrate()
        tell(f"at revision {done['to']}, by the migrate function")
    with serve._step("server") as tell:
        try:
            service.open()
        except OSError as error:
            raise serve.CannotRun(f"Port {port} cannot be used ({error.strerror})") from error
        tell(service.url)
    _invite(service.url, environ, admin_token)


def _artifact() -> Path:
    arch = arch_of_this_machine()
    if arch is None:
        raise serve.CannotRun(
            "What runs on Lambda is built for Linux on x86_64 or arm64, and this machine is neither: use `make run`."
        )
    return unpacked(arch)


def _let_in(environ: dict[str, str]) -> str | None:
    """What a deployment's secret holds, and its operator would have made. Operators' token is given back if it was made here."""
    if environ.get("ACCESS_MODE", "").strip() in ("", "bound") and not environ.get("DEVICE_TOKEN_KEYS"):
        environ["DEVICE_TOKEN_KEYS"] = json.dumps({"local": secrets.token_hex(32)})
    if environ.get("ADMIN_TOKEN", "").strip():
        return None
    environ["ADMIN_TOKEN"] = secrets.token_urlsafe(32)
    return environ["ADMIN_TOKEN"]


def _made(environ: dict[str, str]) -> dict[str, str]:
    """What the template sets, that nobody sets here: no name of a real queue may come in from outside."""
    return dict.fromkeys(("SECRETS_ID", "QUEUE_URL", "ARCHIVE_BUCKET", "STAGE") & environ.keys(), "")


def _invite(url: str, environ: dict[str, str], admin_token: str | None) -> None:
    device = str(uuid4())
    headers = [f"X-Device-ID: {device}"]
    mode = environ.get("ACCESS_MODE", "").strip() or "bound"
    if mode == "bound":
        headers.append(f"Authorization: Bearer {_registered(url, device)}")
    for_operators = f"For operators, until it stops: ADMIN_TOKEN {admin_token}\n" if admin_token else ""
    named = " ".join(f"-H '{header}'" for header in headers)
    print(
        f"""
Latchkey is at {url} as on Lambda - Ctrl-C stops it. Lines of its functions follow below.
{for_operators}Talk to it from another terminal:

curl -s {url}/v1/turns {named} -H 'Content-Type: application/json' -d '{{"message": "Hello, my name is Ada."}}'
""",
        flush=True,
    )


def _registered(url: str, device: str) -> str:
    """The token of a device that has just registered: the first request that goes the whole way."""
    address = urlsplit(url)
    asking = HTTPConnection(str(address.hostname), address.port, timeout=60)
    headers = {"X-Device-ID": device, "Content-Type": "application/json"}
    with contextlib.closing(asking):
        asking.request("POST", "/v1/devices", json.dumps({"secret": secrets.token_urlsafe(32)}), headers)
        answer = asking.getresponse()
        said = json.load(answer)
    if answer.status != 200:
        raise serve.CannotRun(
            f"No device can register: {answer.status} {said.get('detail') or said.get('message')}. The function's lines above say why."
        )
    token: str = said["token"]
    return token


def _write_calls(service: LambdaService, place: Path) -> None:
    asked = {
        name: [asdict(call) for call in sorted(calls)] for name, calls in service.calls_by_function().items()
    }
    place.write_text(json.dumps(asked, indent=2) + "\n")


def _print(line: Line) -> None:
    if (text := readable(line)) is not None:
        print(f"{datetime.now(UTC):%H:%M:%S}  {text}", flush=True)


def _print_all(line: Line) -> None:
    print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dev.lambda_host", description="Runs Latchkey on this machine as it runs on Lambda."
    )
    parser.add_argument("--port", default=os.environ.get("PORT") or "8000", help="default: $PORT, else 8000")
    parser.add_argument(
        "--home",
        type=Path,
        default=HOME,
        help="where the embedded Postgres keeps its data (default: .latchkey/lambda beside the code)",
    )
    parser.add_argument(
        "--cleanup-every",
        type=float,
        default=CLEANUP_EVERY_S,
        metavar="S",
        help="seconds from one clean-up to the next (default: 60, as deployed)",
    )
    parser.add_argument(
        "--idle",
        type=float,
        default=300.0,
        metavar="S",
        help="how long a process is kept that nobody uses (default: 300)",
    )
    parser.add_argument(
        "--init-timeout",
        type=float,
        default=INIT_TIMEOUT_S,
        metavar="S",
        help="how long a process may take to start (default: 10, as on Lambda)",
    )
    parser.add_argument(
        "--calls",
        type=Path,
        metavar="FILE",
        help="where to write, in the end, which function has asked AWS for what, as JSON",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="every line of the functions, as they write it"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
