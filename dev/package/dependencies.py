"""The packages of requirements.txt, for the target: wheels as they are published, nothing resolved and nothing compiled here. Each is one
of those that the lock names by their digests, so what is published later under the same version changes nothing.

Each package's RECORD says which files it brings, and what is in them; nothing else is taken. So two that bring one path are
seen, although the second was written over the first.
"""

import base64
import csv
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from dev.package.contents import Contents, File
from dev.package.failure import CannotPackage
from dev.package.pruning import is_needed
from dev.package.target import PLATFORMS, PYTHON, Arch, interpreter

_TIMEOUT_S: Final = 600


@dataclass(frozen=True, slots=True)
class Dependencies:
    contents: Contents
    # The version of each.
    packages: dict[str, str]


def install(arch: Arch, requirements: Path, folder: Path) -> None:
    """Markers are evaluated as the target's Python would."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--requirements", str(requirements)]
    command += ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-compile-bytecode"]
    command += [
        "--python",
        str(interpreter()),
        "--python-version",
        PYTHON,
        "--python-platform",
        PLATFORMS[arch],
    ]
    try:
        subprocess.run(
            [*command, "--target", str(folder)],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", None) or str(error)
        raise CannotPackage(
            f"the packages of {requirements.name} could not be had for {arch}; uv says:\n{said.strip()}"
        ) from None


def collected(folder: Path) -> Dependencies:
    """All records first: of two that bring one path, only the second is still there to be read."""
    contents, packages = Contents(), {}
    claims: dict[str, tuple[str, str]] = {}
    for record in sorted(folder.glob("*.dist-info/RECORD")):
        name, _, version = record.parent.name.removesuffix(".dist-info").rpartition("-")
        packages[name] = version
        for path, digest in _recorded(record):
            claimed, owner = claims.setdefault(path, (digest, name))
            if claimed != digest:
                raise CannotPackage(
                    f"{path} is brought by {owner} and by {name}, with other content: the one that is written last would hide the "
                    "other. Do without one of the packages."
                )
    for path, (digest, owner) in claims.items():
        contents.add(File(path, _read(folder, path, digest, owner), owner))
    return Dependencies(contents, packages)


def _recorded(record: Path) -> Iterator[tuple[str, str]]:
    """Those that are needed. A path that leaves the folder is a program's, which nobody runs on Lambda."""
    with record.open(newline="") as lines:
        for path, digest, _ in csv.reader(lines):
            if not {"..", "/"} & set(PurePosixPath(path).parts) and is_needed(path):
                yield path, digest


def _read(folder: Path, path: str, digest: str, owner: str) -> bytes:
    data = (folder / path).read_bytes()
    kind, _, expected = digest.partition("=")
    found = base64.urlsafe_b64encode(hashlib.new(kind or "sha256", data).digest()).rstrip(b"=").decode()
    if expected and found != expected:
        raise CannotPackage(f"{path} of {owner} is not as its wheel recorded it: something wrote over it.")
    return data
