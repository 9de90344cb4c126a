"""One at a time from one folder: the zip and what osls sends (.serverless) lie in it under the same names, whatever the stage, so a second
one could send the first one's.

From two machines it is CloudFormation that lets one in, and the migrations' lock.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dev.deploy.stage import ROOT
from dev.deploy.stopped import Stopped

LOCK: Final = ROOT / "build" / ".deploying"


@contextlib.contextmanager
def alone(lock: Path = LOCK) -> Iterator[None]:
    lock.parent.mkdir(exist_ok=True)
    with lock.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Stopped(
                "Somebody deploys or removes a stage from this folder already.",
                "wait for it; or use a clone of its own",
                "nothing has been changed",
            ) from None
        yield
