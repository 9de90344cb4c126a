"""What a cold start costs, as Lambda pays it: from the zip, with its bytecode, under the Python that it ships for.

    make bench            or: python -m bench.cold --rounds 11

Instructions are counted by callgrind, so they are the same on a busy machine; all else is wall time, as medians of processes
that take turns. What falls short is said.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from bench.conversations import database
from bench.turn import Figure
from dev.demo_model import DemoModel
from dev.package import CannotPackage, arch_of_this_machine, artifact, interpreter, unpacked
from dev.package.build import MOST_BYTES
from dev.package.target import ARCHES

PROGRAM: Final = Path(__file__).parent / "in_the_zip.py"
HANDLERS: Final = ("api", "worker", "cleanup", "migrate")
# Each costs more than the handler and all that it needs.
NEVER_AT_INIT: Final = (
    "alembic",
    "anthropic",
    "boto3",
    "botocore",
    "httpx",
    "httpx2",
    "jwt",
    "redis",
    "upstash_redis",
)
_DEVICE: Final = "3f2b8c1e-5a4d-4c7b-9e1f-2a6d8b0c4e57"
_NO_VALGRIND: Final = "LEFT OUT: instructions at import. There is no valgrind on this machine, which counts them: apt-get install valgrind"


class Zip:
    """What is in the zip for this machine, run by the Python that it is made for."""

    def __init__(self) -> None:
        arch = arch_of_this_machine()
        if arch is None:
            raise CannotPackage(
                "The zip holds Linux's compiled modules, and this machine runs something else."
            )
        self._python = interpreter()
        self._root = unpacked(arch)

    def command(self, what: str, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
        return [
            str(self._python),
            "-I",
            "-S",
            *options,
            str(PROGRAM),
            str(self._root),
            what,
            *arguments,
        ]

    def run(
        self, command: list[str], *, given: str = "", **settings: str
    ) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": os.environ["PATH"], "ACCESS_MODE": "open", "PYTHONHASHSEED": "0", **settings}
        done = subprocess.run(
            command,
            cwd="/",
            env=environ,
            input=given,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        return done

    def told(self, what: str, *arguments: str, given: str = "", **settings: str) -> Any:
        # Metrics of the functions stand before it.
        told = self.run(self.command(what, *arguments), given=given, **settings).stdout
        return json.loads(told.splitlines()[-1])

    def instructions(self, what: str) -> int:
        valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
        said = self.run([*valgrind, *self.command(what)]).stderr
        return int(said.rpartition("Collected : ")[2].split()[0])

    def has(self, handler: str) -> bool:
        return (self._root / "functions" / f"{handler}.py").is_file()


def main() -> None:
    asked = _arguments()
    try:
        shipped = Zip()
        sizes = {arch: artifact(arch) for arch in ARCHES}
    except CannotPackage as problem:
        sys.exit(f"LEFT OUT: what a cold start costs. {problem}")
    print("\n| what | measured | ratio | to reach | |\n|---|---|---:|---:|---|")
    figures = [_size(arch, place) for arch, place in sizes.items()]
    if shutil.which("valgrind") is None:
        print(_NO_VALGRIND)
    else:
        figures += _imports(shipped)
    figures.append(_never_at_init(shipped))
    with database() as url, DemoModel() as model:
        figures.append(_first_turn(shipped, url, model.url, asked.rounds))
        figures.append(_warm(shipped, url, asked.requests))
    for figure in figures:
        print(figure.line(), flush=True)
    _boots(shipped, asked.rounds)
    _at_init(shipped)
    missed = [figure for figure in figures if not figure.is_reached]
    sys.exit(f"\n{len(missed)} figures fall short" if missed else 0)


def _size(arch: str, place: Path) -> Figure:
    size = place.stat().st_size
    return Figure(
        f"the zip for {arch}", f"{size / 1e6:.1f} of {MOST_BYTES / 1e6:.0f} MB", size / MOST_BYTES, 1.0
    )


def _imports(shipped: Zip) -> list[Figure]:
    """The bar is the handler's whole import, with the application built and all of its routes."""
    base, handler = (shipped.instructions(what) for what in ("base", "handler"))
    dialect = shipped.instructions("base_with_the_dialect")
    print(
        f"(for comparison: Python itself {shipped.instructions('nothing') / 1e6:.0f} M; those four with SQLAlchemy's dialect of "
        f"Postgres, which an engine loads, {dialect / 1e6:.0f} M)"
    )
    measured = f"{base / 1e6:.0f} M, {handler / 1e6:.0f} M"
    return [Figure("instructions of importing the API, to its four packages'", measured, handler / base, 1.1)]


def _never_at_init(shipped: Zip) -> Figure:
    """Of each handler."""
    found = {
        name
        for handler in HANDLERS
        if shipped.has(handler)
        for module in _times(shipped, handler)
        if (name := module.partition(".")[0]) in NEVER_AT_INIT
    }
    return Figure("slow packages at init", ", ".join(sorted(found)) or "none", len(found), 0)


def _first_turn(shipped: Zip, url: str, model: str, rounds: int) -> Figure:
    """From the start of the process to its first answer, less a process that imports the same and does nothing."""
    settings = {"DATABASE_URL": url, "ANTHROPIC_BASE_URL": model, "ANTHROPIC_API_KEY": "demo"}
    whole, imports, inits, turns, seconds = [], [], [], [], []
    for _ in range(rounds):
        init, turn, second, modules = shipped.told("turn", _DEVICE, **settings)
        whole.append(init + turn)
        (alone,) = shipped.told("same_imports", given=json.dumps(modules), **settings)
        imports.append(alone)
        inits.append(init)
        turns.append(turn)
        seconds.append(second)
    ours = [one - other for one, other in zip(whole, imports, strict=True)]
    print(
        f"(the first turn: {_ms(whole)} from the process's start, of it {_ms(inits)} until the handler is there and {_ms(turns)} for the "
        f"turn, in which the model's client is loaded; the same imports alone {_ms(imports)}; the second turn {_ms(seconds)})"
    )
    more = statistics.median(ours)
    return Figure("first finished turn, beyond its imports", f"{more * 1e3:.0f} ms of 50", more / 0.05, 1.0)


def _warm(shipped: Zip, url: str, requests: int) -> Figure:
    """GET /v1/session: a device is identified, its conversation read and told. The time that the database took is left out."""
    (took,) = shipped.told("warm", _DEVICE, str(requests), DATABASE_URL=url)
    measured = f"{took['bare'] * 1e6:.0f} µs, {took['ours'] * 1e6:.0f} µs (and {took['database'] * 1e6:.0f} in Postgres)"
    return Figure("a warm look, to a bare route under Mangum", measured, took["ours"] / took["bare"], 2.0)


def _boots(shipped: Zip, rounds: int) -> None:
    print(
        f"\nfrom the process's start until a handler is there, medians of {rounds}\n\n| handler | ms |\n|---|---:|"
    )
    for handler in HANDLERS:
        if not shipped.has(handler):
            print(f"| {handler} | not there yet |")
            continue
        took = []
        for _ in range(rounds):
            begun = time.perf_counter()
            shipped.run(shipped.command("handler", handler))
            took.append(time.perf_counter() - begun)
        print(f"| {handler} | {statistics.median(took) * 1e3:.0f} |", flush=True)


def _at_init(shipped: Zip) -> None:
    """Each package's modules and their own time, without that of what they import in turn."""
    modules: dict[str, list[int]] = defaultdict(list)
    for name, own in _times(shipped, "api").items():
        top = name.partition(".")[0]
        modules["the standard library" if top in sys.stdlib_module_names else top].append(own)
    print("\nimported at init by the API\n\n| package | modules | their own ms |\n|---|---:|---:|")
    for name, times in sorted(modules.items(), key=lambda item: -sum(item[1])):
        print(f"| {name} | {len(times)} | {sum(times) / 1e3:.1f} |")


def _times(shipped: Zip, handler: str) -> dict[str, int]:
    """Microseconds of each module, as Python itself tells them."""
    said = shipped.run(shipped.command("handler", handler, options=("-X", "importtime"))).stderr
    rows = [line.removeprefix("import time:").split("|") for line in said.splitlines() if "| " in line]
    return {name.strip(): int(own) for own, _, name in rows if own.strip().isdecimal()}


def _ms(times: list[float]) -> str:
    return f"{statistics.median(times) * 1e3:.0f} ms"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.cold", description="What a cold start costs.")
    parser.add_argument("--rounds", type=int, default=7, help="processes of each kind (default 7)")
    parser.add_argument("--requests", type=int, default=1_000, help="warm requests (default 1000)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
