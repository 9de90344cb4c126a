"""The artifact that is deployed: built for one Python, on whatever machine."""

import os
from pathlib import Path


class CannotPackage(Exception):
    """A sentence or a few: what is wrong, and what to do."""


def unpacked(_arch: str) -> Path:
    """Until the artifact is built here: a folder that somebody filled by hand."""
    return Path(os.environ["LATCHKEY_TASK_ROOT"])
