"""The clean-up: the scheduler calls it each minute. What has expired goes, and what nobody goes on with is gone on with.

It stops before its deadline, and the next one goes on: nothing is handed from one to the next but what is in the database. Where one kind
of work failed the others were done all the same, and the invocation fails in the end, so that it shows as one that did. A conversation
that could not be archived is no failure of the clean-up: it stays, and has a metric of its own.
"""

import gc
import logging
from typing import Any, Final

from core.cleaning import Cleaned
from core.deadline import Deadline
from functions import metrics
from functions.invocations import InvocationFailed, invocation
from functions.wiring import wired

_log = logging.getLogger(__name__)

# Of what Lambda gives: for what is under way when the time is over, for counting what is left, and for telling it.
_RESERVE_S: Final = 15.0
# Some of it must be left if the function was given very little.
_LEAST_SHARE: Final = 0.5

_wiring = wired("cleanup")


class CleanUpFailed(InvocationFailed):
    """Some of it could not be done; the log says what, and why."""


def handler(event: object, context: Any) -> dict[str, Any]:  # noqa: ARG001 - the scheduler has nothing to say
    with invocation(context):
        cleaned = _wiring.house().cleaning.clean(_until(context))
        told = _told(cleaned)
        _log.info("cleaned up: %s; %s", _listed(cleaned.done) or "nothing", cleaned.ended, extra=told)
        if cleaned.failed:
            raise CleanUpFailed(_listed(cleaned.failed))
        return told


def _told(cleaned: Cleaned) -> dict[str, Any]:
    done, left, ended = dict(cleaned.done), dict(cleaned.left), cleaned.ended
    if "defect" in cleaned.failed.values():
        metrics.count("Defects")
    metrics.tell(
        {
            "Cleanups": 0 if cleaned.failed else 1,
            "CleanupLeft": sum(left.values()),
            "Recovered": done.get("turns", 0),
            "SessionsExpired": done.get("sessions", 0),
            "SessionsArchived": done.get("archived", 0),
            "ArchiveFailures": done.get("archive_failures", 0),
        },
        done=done,
        left=left,
        ended=ended,
    )
    return {"done": done, "left": left, "ended": ended}


def _listed(counts: Any) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _until(context: Any) -> Deadline:
    left_s = context.get_remaining_time_in_millis() / 1000
    return Deadline.after(max(left_s - _RESERVE_S, left_s * _LEAST_SHARE))


# As in the API function: what was built at import lives as long as the process.
gc.freeze()
