"""The fuzz: every call of docs/openapi.json, by schemathesis with all its checks, against a real server in each mode.

    python -m tests.door.fuzz [--cases 5000] [--seed N] [--mode open] [--file docs/openapi.json]

Prints the seed, how many requests were made and how they ended; ends with 1 if anything was found, or if there were fewer.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.databases import ROOT
from tests.door.standing import Standing, postgres, serving

FILE = ROOT / "docs" / "openapi.json"
_PLAN = Path(__file__).with_name("schemathesis.toml")
_HOOKS = "tests.door.hooks"
MODES = ("open", "bound")
# Where nobody has to show anything, there are a few devices, so that they meet what they have made.
_DEVICES = [str(UUID(int=number << 64 | 1)) for number in (1, 2, 3)]
# What takes a device away from whoever tries: tried when all else has been.
LAST = ("/v1/devices/{device_id}", "/v1/user")


@dataclass(frozen=True, slots=True)
class Found:
    mode: str
    requests: int
    failures: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.door.fuzz", description="Tries every call.")
    parser.add_argument("--cases", type=int, default=5_000, help="at least so many requests (default: 5000)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="to try the same again")
    parser.add_argument("--mode", choices=MODES, action="append", help="default: both")
    parser.add_argument("--file", type=Path, default=FILE, help="what OpenAPI tells of the calls")
    parser.add_argument(
        "--phases", default="", help="of schemathesis, such as examples,coverage (default: all)"
    )
    given = parser.parse_args()
    modes = given.mode or list(MODES)
    print(f"seed {given.seed}", flush=True)
    found = [tried(mode, given.file, cases=given.cases // len(modes), seed=given.seed) for mode in modes]
    for one in found:
        print(f"{one.mode:<6} {one.requests:>6} requests  {one.failures} failures  {one.seconds:.0f} s")
    total = sum(one.requests for one in found)
    print(f"total  {total:>6} requests, seed {given.seed}")
    if any(one.failures for one in found) or total < given.cases:
        sys.exit(1)


def tried(mode: str, file: Path, phases: str = "", *, cases: int, seed: int) -> Found:
    begun = time.monotonic()
    told = json.loads(file.read_text())["paths"]
    last = [path for path in LAST if path in told]
    # The edges of each parameter alone come to some 50 a call; these come on top, in each of two phases, and with what they lead to.
    examples = max(3, cases // sum(map(len, told.values())) // 12)
    with postgres() as url, serving(url, mode) as standing, tempfile.TemporaryDirectory() as place:
        (Path(place) / "plan.toml").write_text(_plan(standing))
        told_here = _as_told_in(mode, file, Path(place))
        only = ["--phases", phases] if phases else []
        parts = [[*only, *(word for path in last for word in ("--exclude-path", path))]]
        if last:
            # After these nothing can be gone on with.
            alone = only or ["--phases", "examples,coverage,fuzzing"]
            parts.append([*alone, *(word for path in last for word in ("--include-path", path))])
        reports = [
            _run(told_here, standing, Path(place), ["--max-examples", str(examples), *part], seed)
            for part in parts
        ]
        requests, failures = (sum(numbers) for numbers in zip(*reports, strict=True))
        return Found(mode, requests, failures, time.monotonic() - begun)


def _run(file: Path, standing: Standing, place: Path, more: list[str], seed: int) -> tuple[int, int]:
    """What schemathesis says of it is shown where it found something."""
    begun = time.monotonic()
    report = place / "report.json"
    report.unlink(missing_ok=True)
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(place / "plan.toml")),
            *("run", str(file.resolve()), "--url", standing.url, "--seed", str(seed), "--workers", "2"),
            *("--report-json-path", str(report), *more),
        ],
        # It leaves a folder of its own where it runs.
        cwd=place,
        env={**os.environ, "SCHEMATHESIS_HOOKS": _HOOKS, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ended.returncode:
        print(ended.stdout, flush=True)
    told: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}
    requests = int(told.get("test_cases", {}).get("generated", 0))
    print(f"{time.monotonic() - begun:6.0f} s  {requests} requests: {' '.join(more)}", flush=True)
    return requests, int(ended.returncode != 0)


def _plan(standing: Standing) -> str:
    plan = f'{_PLAN.read_text()}\n[auth.openapi.operator]\nbearer = "{standing.operator}"\n'
    if standing.token is None:
        return plan + (
            f"[dictionaries.devices]\nvalues = {json.dumps(_DEVICES)}\n"
            '[parameters]\n"header.X-Device-ID" = { dictionary = "devices", probability = 0.95 }\n'
        )
    return plan + (
        f'[auth.openapi.token]\nbearer = "{standing.token}"\n'
        f'[parameters]\n"header.X-Device-ID" = "{standing.device}"\n'
    )


def _as_told_in(mode: str, file: Path, place: Path) -> Path:
    """Where nobody has to show a token, none is asked for."""
    told = json.loads(file.read_text())
    if mode == "open":
        for methods in told["paths"].values():
            for operation in methods.values():
                operation["security"] = [
                    way for way in operation.get("security", []) if way.keys() == {"operator"}
                ]
    there = place / "openapi.json"
    there.write_text(json.dumps(told))
    return there


if __name__ == "__main__":
    main()
