"""The folder of the socket: short, private, and the same in every run."""

import os
import stat
import tempfile
from pathlib import Path

from dev.postgres.account import Account
from dev.postgres.failure import PostgresFailed

PORT = 5432  # no network port, only the end of the socket's name; pinned because libpq would follow PGPORT
SOCKET_PATH_MAX_BYTES = 100  # the kernel's limit is 108 on Linux and 104 on macOS
SHORT_TEMPORARY_FOLDER = Path("/tmp")  # noqa: S108 - all we use there is a folder of our own, checked and closed


def socket_folder(account: Account, digest: str) -> Path:
    """Short, since long socket paths do not work; the same in every run, so a URL that was noted stays right."""
    for parent in (Path(tempfile.gettempdir()).resolve(), SHORT_TEMPORARY_FOLDER):
        folder = parent / f"latchkey-{digest}"
        fits = len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_MAX_BYTES
        one_host = not set(str(parent)) & {
            ",",
            ":",
        }  # libpq and SQLAlchemy take these for lists and ports
        if fits and one_host and account.can_reach(parent):
            return folder
    raise PostgresFailed(
        f"No place for the socket of Postgres: /tmp and {tempfile.gettempdir()} are closed to it, or too long."
    )


def make_socket_folder(folder: Path, account: Account) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not is_private(folder, account):
            raise PostgresFailed(
                f"{folder} should be the private folder of this Postgres, but is somebody else's or open "
                "to others; find out who made it, and remove it."
            ) from None
    account.take_over(folder)
    for left_over in folder.iterdir():
        left_over.unlink()  # its pid may be recycled too, and Postgres would then refuse to start


def is_private(folder: Path, account: Account) -> bool:
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    owners = {os.geteuid(), account.uid}
    return stat.S_ISDIR(found.st_mode) and found.st_uid in owners and not found.st_mode & 0o077
