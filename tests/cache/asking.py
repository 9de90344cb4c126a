"""What tests ask a Redis, and what became of it."""

import threading
from collections.abc import Callable

from core.cache.commands import CacheFailed

PING = [("PING",)]
# Longer than any call takes that is well.
LONG_S = 10.0
# The limit of what is not well.
SHORT_S = 0.15


def failure_of(work: Callable[[], object]) -> CacheFailed | None:
    try:
        work()
    except CacheFailed as failed:
        return failed
    return None


def cache_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "cache"]
