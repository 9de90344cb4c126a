"""The zip that ships, and its twin for tests: `python -m dev.package`.

The same commit and the same lock give the same bytes, whenever and in whatever folder they are built, by the same Python 3.13.x and the
same zlib (the manifest names both); so what was tested is what runs. `artifact` gives the file to whoever tests it, and builds it only if it is not there.
"""

from dev.package.build import artifact, unpacked
from dev.package.failure import CannotPackage
from dev.package.target import Arch, NoTargetPython, arch_of_this_machine, interpreter

__all__ = [
    "Arch",
    "CannotPackage",
    "NoTargetPython",
    "arch_of_this_machine",
    "artifact",
    "interpreter",
    "unpacked",
]
