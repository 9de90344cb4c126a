"""Whom the server runs as."""

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from dev.postgres.failure import PostgresFailed


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the server runs as: the caller, or `nobody` if the caller is root, whom Postgres refuses."""

    name: str
    uid: int
    gid: int
    borrowed: bool = False

    @classmethod
    def for_caller(cls) -> Self:
        if os.geteuid() != 0:
            return cls(str(os.geteuid()), os.geteuid(), os.getegid())
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise PostgresFailed(
                "Postgres refuses to run as root, and there is no account `nobody` to run it as; "
                "start it as an ordinary user or set DATABASE_URL."
            ) from None
        return cls("nobody", nobody.pw_uid, nobody.pw_gid, borrowed=True)

    def can_reach(self, path: Path) -> bool:
        """Whether it may pass every folder down to `path` and `path` itself, by the mode bits alone (no ACLs)."""
        return not self.borrowed or all(self._may_pass(step.stat()) for step in (path, *path.parents))

    def _may_pass(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)

    def take_over(self, path: Path) -> None:
        if self.borrowed:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def spawn_arguments(self) -> dict[str, Any]:
        """A session of its own keeps Ctrl-C in the terminal away; the environment holds none of the caller's secrets."""
        arguments: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stderr": subprocess.STDOUT,
            "start_new_session": True,
            "cwd": "/",  # the caller's folder may be closed to the account
            "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
        }
        if self.borrowed:
            arguments |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return arguments
