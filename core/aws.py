"""AWS's own services, by boto3: loaded at first use, for its import and a client cost a fifth of a second, and with timeouts, for it
would wait a minute.

Which account, region and (in tests) address is found out by boto3 itself, as everywhere on AWS.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from core.errors import LatchkeyError

_CONNECT_S: Final = 3
_READ_S: Final = 10
_TRIES: Final = 3


@cache
def client(service: str) -> Any:
    """One of each a process; they are safe for threads."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
        retries={"total_max_attempts": _TRIES, "mode": "standard"},
    )
    return boto3.client(service, config=config)


@contextmanager
def translated(kind: type[LatchkeyError]) -> Iterator[None]:
    """Whatever AWS or the way there does wrong becomes this error; the cause stays with it."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error) as error:
        raise kind from error
