"""Makes the zips: build/latchkey-arm64.zip, which ships, and build/latchkey-x86_64.zip, its twin for tests on this machine.

python -m dev.package [--arch arm64|x86_64|both] [--out build]
"""

import argparse
import sys
from pathlib import Path

from dev.package.build import OUT, gathered, write, zip_of
from dev.package.bytecode import Bytecode, with_bytecode
from dev.package.dependencies import Dependencies
from dev.package.failure import CannotPackage
from dev.package.manifest import Manifest
from dev.package.ours import US, untracked
from dev.package.target import ARCHES, PYTHON, Arch, interpreter
from dev.steps import say, step

_MB = 1_000_000


def main() -> None:
    asked = _arguments()
    arches: tuple[Arch, ...] = ARCHES if asked.arch == "both" else (asked.arch,)
    try:
        package(arches, asked.out)
    except CannotPackage as problem:
        sys.exit(f"latchkey  {problem}")


def package(arches: tuple[Arch, ...], out: Path) -> None:
    with step("python") as tell:
        tell(f"{PYTHON}, {interpreter()}")
    for path in untracked():
        say(f"not shipped, for git does not track it: {path}")
    known: Bytecode = {}
    for arch in arches:
        with step(f"gather {arch}") as tell:
            found = gathered(arch)
            tell(_gathered(found))
        with step("compile") as tell:
            before = len(known)
            contents = with_bytecode(found.contents, known)
            tell(f"{len(known) - before} files; {before} are known")
        with step("zip") as tell:
            manifest = write(arch, found.packages, contents, out)
            tell(_written(manifest, zip_of(arch, out)))
        say(f"              sha256 {manifest.sha256}")
        for name, size in manifest.largest.items():
            say(f"              {size / _MB:6.2f} MB unpacked  {name}")


def _gathered(found: Dependencies) -> str:
    mine = sum(file.owner == US for file in found.contents.files)
    return f"{len(found.packages)} packages, {len(found.contents.files) - mine} files; {mine} of ours"


def _written(manifest: Manifest, place: Path) -> str:
    shown = place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place
    return (
        f"{shown}  {manifest.size / _MB:.1f} MB, {manifest.unpacked_size / _MB:.1f} unpacked, "
        f"{manifest.files} files"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dev.package", description="Makes the zip that Lambda runs."
    )
    parser.add_argument("--arch", choices=[*ARCHES, "both"], default="both", help="default: both")
    parser.add_argument(
        "--out", type=Path, default=OUT, help="the folder that they are put in (default: build)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
