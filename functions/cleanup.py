"""The clean-up's function: the scheduler calls it each minute. What has expired goes, and what nobody goes on with is gone on with.

It stops before its deadline, and the next one goes on: nothing is handed from one to the next but what is in the database. Where one kind
of work failed the others were done all the same, and the invocation fails in the end, so that it shows as one that did.
"""

import logging
from functools import cache
from typing import Any, Final

from core.cleaning import Cleaned
from core.deadline import Deadline
from core.house import House, build_house
from core.settings import read_settings

_log = logging.getLogger(__name__)
# Lambda shows warnings alone unless it is told otherwise.
for _name in (__name__, "core.cleaning"):
    logging.getLogger(_name).setLevel(logging.INFO)

# For what is under way when the time is over, for counting what is left, and for telling it.
_RESERVE_S: Final = 15.0


class CleanUpFailed(Exception):
    """Some of it could not be done; the log says what, and why."""


@cache
def _house() -> House:
    return build_house(read_settings())


def handler(event: object, context: Any) -> dict[str, Any]:  # noqa: ARG001 - the scheduler has nothing to say
    left_s = context.get_remaining_time_in_millis() / 1000
    cleaned = _house().cleaning.clean(Deadline.after(max(1.0, left_s - _RESERVE_S)))
    told = _told(cleaned)
    _log.info("cleaned up: %s", told)
    if cleaned.failed:
        raise CleanUpFailed(", ".join(f"{name}: {code}" for name, code in sorted(cleaned.failed.items())))
    return told


def _told(cleaned: Cleaned) -> dict[str, Any]:
    return {"done": dict(cleaned.done), "left": dict(cleaned.left), "ended": cleaned.ended}
