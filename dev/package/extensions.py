"""What the compiled modules ask of the machine: its processor, and how new its C library is."""

import re
import struct
from typing import Final

from dev.package.contents import Contents
from dev.package.failure import CannotPackage
from dev.package.pruning import is_extension
from dev.package.target import GLIBC, PYTHON, Arch

# e_machine in the header of an ELF file.
_MACHINES: Final[dict[Arch, int]] = {"arm64": 0xB7, "x86_64": 0x3E}
_ASKS_GLIBC: Final = re.compile(rb"\0GLIBC_(\d+)\.(\d+)(?=[.\0])")
_OF_PYTHON: Final = re.compile(r"\.cpython-(\d)(\d+)[^/]*\.so$")


def check(contents: Contents, arch: Arch) -> None:
    """A wheel of another platform would be found out at the first import, deployed."""
    for file in contents.files:
        if not is_extension(file.path):
            continue
        if problem := _problem(file.path, file.data, arch):
            raise CannotPackage(
                f"{file.path} of {file.owner} {problem}: pin a release that has a wheel for {arch}."
            )


def _problem(path: str, data: bytes, arch: Arch) -> str | None:
    if data[:4] != b"\x7fELF" or struct.unpack_from("<H", data, 18)[0] != _MACHINES[arch]:
        return f"is not made for {arch}"
    if (named := _OF_PYTHON.search(path)) is not None and f"{named[1]}.{named[2]}" != PYTHON:
        return f"is not made for Python {PYTHON}"
    newest = max(((int(major), int(minor)) for major, minor in _ASKS_GLIBC.findall(data)), default=(0, 0))
    if newest > GLIBC:
        return f"asks for glibc {newest[0]}.{newest[1]}, and Lambda has {GLIBC[0]}.{GLIBC[1]}"
    return None
