"""Locks between processes, which the kernel drops however their holder dies."""

import errno
import fcntl
import os
from pathlib import Path

from dev.postgres.failure import PostgresFailed


def open_lock(path: Path) -> int:
    """Python's descriptors close on exec, so the server never holds a lock of ours."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        owner = os.fstat(lock).st_uid
    except PermissionError:
        lock, owner = -1, path.lstat().st_uid if path.exists() else path.parent.stat().st_uid
    if lock >= 0 and owner == os.geteuid():
        return lock
    if lock >= 0:
        os.close(lock)
    raise PostgresFailed(
        f"{path.parent} is the Postgres home of uid {owner}, and you are uid {os.geteuid()}; "
        "use it as that user, use another folder, or remove it."
    )


def is_unreplaced(path: Path, lock: int) -> bool:
    """Nothing lying there counts too: nobody came after us."""
    return not path.exists() or os.path.samestat(path.stat(), os.fstat(lock))


def take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
            raise
        return False
    return True
