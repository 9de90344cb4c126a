"""What is said of a zip beside it, for whoever deploys it: `build/latchkey-<arch>.json`."""

import hashlib
import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from dev.package.contents import Contents


@dataclass(frozen=True, slots=True)
class Manifest:
    arch: str
    # The release that compiled it: another one may give other bytes of the same source.
    python: str
    sha256: str
    size: int
    unpacked_size: int
    files: int
    # Of what it was made: the same inputs give the same zip.
    inputs: str
    commit: str
    # The library that compressed it: another one may give other bytes of the same content.
    zlib: str
    packages: dict[str, str]
    # What the ten largest take, unpacked.
    largest: dict[str, int]

    def write(self, place: Path) -> None:
        place.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, place: Path) -> Self | None:
        try:
            return cls(**json.loads(place.read_text()))
        except (OSError, ValueError, TypeError):
            return None


def digest_of(place: Path) -> str:
    with place.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compressor() -> str:
    return zlib.ZLIB_RUNTIME_VERSION


def largest(contents: Contents, count: int = 10) -> list[tuple[str, int]]:
    """The packages, by what they take unpacked."""
    sizes: dict[str, int] = {}
    for file in contents.files:
        sizes[file.owner] = sizes.get(file.owner, 0) + len(file.data)
    return sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:count]
