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


def tried(mode: str, file: Path, *, cases: int, seed: int) -> Found:
    begun = time.monotonic()
    told = json.loads(file.read_text())["paths"]
    last = [path for path in LAST if path in told]
    examples = max(3, cases // sum(map(len, told.values())) // 3)
    with postgres() as url, serving(url, mode) as standing, tempfile.TemporaryDirectory() as place:
        plan = Path(place) / "plan.toml"
        plan.write_text(_plan(standing))
        parts = [[word for path in last for word in ("--exclude-path", path)]]
        if last:
            parts.append([word for path in last for word in ("--include-path", path)])
        reports = [
            _run(file, standing, Path(place), ["--max-examples", str(examples), *part], seed)
            for part in parts
        ]
        requests, failures = (sum(numbers) for numbers in zip(*reports, strict=True))
        return Found(mode, requests, failures, time.monotonic() - begun)


def _run(file: Path, standing: Standing, place: Path, more: list[str], seed: int) -> tuple[int, int]:
    report = place / "report.json"
    report.unlink(missing_ok=True)
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(place / "plan.toml")),
            *("run", str(file), "--url", standing.url, "--seed", str(seed), "--workers", "2"),
            *("--report-json-path", str(report), *more),
        ],
        cwd=ROOT,
        env={**os.environ, "SCHEMATHESIS_HOOKS": _HOOKS},
        check=False,
    )
    told: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}
    print(json.dumps(told)[:600])
    return int(told.get("test_cases", {}).get("generated", 0)), int(ended.returncode != 0)


def _plan(standing: Standing) -> str:
    plan = _PLAN.read_text()
    if standing.token is None:
        devices = json.dumps(_DEVICES)
        return plan + (
            "\n# Nothing is asked for in this mode, so nothing is ignored.\n[checks.ignored_auth]\nenabled = false\n"
            f"[dictionaries.devices]\nvalues = {devices}\n"
            '[parameters]\n"header.X-Device-ID" = { dictionary = "devices", probability = 0.95 }\n'
        )
    return plan + (
        f'\n[auth.openapi.token]\nbearer = "{standing.token}"\n'
        f'[parameters]\n"header.X-Device-ID" = "{standing.device}"\n'
    )


if __name__ == "__main__":
    main()
