"""Tries: an attempt that somebody else was quicker than, or whose connection died, is made again."""

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from core.deadline import Deadline
from core.errors import DatabaseConflict
from core.store.database import ConnectionDied

T = TypeVar("T")

# How often a connection may die under one request.
_MOST_DEATHS = 3
_LONGEST_PAUSE_S = 0.05


def again_and_again(deadline: Deadline, attempt: Callable[[], T | None]) -> T:
    """Until an attempt gives something. The pauses are random, so that many who collide do not collide again."""
    for pause_s in _pauses(deadline):
        try:
            done = past_dead_connections(attempt)
        except DatabaseConflict:
            done = None
        if done is not None:
            return done
        time.sleep(pause_s)
    raise DatabaseConflict


def _pauses(deadline: Deadline) -> Iterator[float]:
    longest_s = 0.001
    while deadline.left_s():
        yield random.uniform(0, longest_s)  # noqa: S311 - spreads out those who collide
        longest_s = min(2 * longest_s, _LONGEST_PAUSE_S)


def past_dead_connections(attempt: Callable[[], T]) -> T:
    """Each of ours may be sent again: a function that was frozen wakes with a connection that is long dead."""
    for _ in range(_MOST_DEATHS - 1):
        try:
            return attempt()
        except ConnectionDied:
            continue
    return attempt()
