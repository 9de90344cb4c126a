"""A zip whose bytes say only what is in it: no clock, no umask, no order of a folder."""

import zipfile
from pathlib import Path

from dev.package.contents import Contents

# The earliest that a zip can say.
_TIME = (1980, 1, 1, 0, 0, 0)
_LEVEL = 6
# Anybody may read: Lambda runs functions as a user of its own.
_MODE = 0o100644
_UNIX = 3


def write(contents: Contents, place: Path) -> None:
    """Whole or not at all: a zip that is half written must not be deployed."""
    unfinished = place.with_name(f".{place.name}.unfinished")
    with zipfile.ZipFile(unfinished, "w") as archive:
        for file in contents.files:
            entry = zipfile.ZipInfo(file.path, _TIME)
            entry.create_system = _UNIX
            entry.external_attr = _MODE << 16
            archive.writestr(entry, file.data, zipfile.ZIP_DEFLATED, _LEVEL)
    unfinished.replace(place)
