"""What the zip holds: each path once, and who brought it.

Two that bring the same path with other content cannot both be right: whichever is written last would win, on another machine
perhaps the other one.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from dev.package.failure import CannotPackage


@dataclass(frozen=True, slots=True)
class File:
    path: str
    data: bytes = field(repr=False)
    owner: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


class Contents:
    def __init__(self) -> None:
        self._files: dict[str, File] = {}

    def add(self, file: File) -> None:
        there = self._files.setdefault(file.path, file)
        if there.data != file.data:
            raise CannotPackage(
                f"{file.path} is brought by {there.owner} and by {file.owner}, with other content: one would hide the other. "
                "Rename ours, or do without one of the packages."
            )

    def join(self, other: Self) -> None:
        for file in other.files:
            self.add(file)

    @property
    def files(self) -> list[File]:
        return [self._files[path] for path in sorted(self._files)]

    @property
    def size(self) -> int:
        return sum(len(file.data) for file in self._files.values())

    def write_to(self, folder: Path) -> None:
        for file in self._files.values():
            place = folder / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.data)
