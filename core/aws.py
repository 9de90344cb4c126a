"""AWS's own services, by boto3: loaded at first use, for its import and a client cost a fifth of a second, and with timeouts, for it
would wait a minute.

Which account, region and (in tests) address is found out by boto3 itself, as everywhere on AWS.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from core.errors import LatchkeyError
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client waits, each time, and how often it tries."""

    connect_s: float
    read_s: float
    tries: int


FOR_FILES: Final = Patience(connect_s=3, read_s=10, tries=3)
# While somebody waits for an answer that it is only a part of.
ON_THE_WAY: Final = Patience(connect_s=1, read_s=2, tries=2)

# boto3 makes clients on one thread at a time only.
_making: Final = threading.Lock()


@cache
def client(service: str, patience: Patience = FOR_FILES) -> Any:
    """One of each a process; they are safe for threads."""
    with _making, _undisturbed():
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=patience.connect_s,
            read_timeout=patience.read_s,
            retries={"total_max_attempts": patience.tries, "mode": "standard"},
        )
        return boto3.client(service, config=config)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Loading makes forty thousand objects and no garbage; the collector would look for some again and again, a fifth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def translated(kind: type[LatchkeyError]) -> Iterator[None]:
    """Whatever AWS or the way there does wrong becomes this error; the cause stays with it."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error) as error:
        raise kind from error
