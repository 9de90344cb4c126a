"""The worker: goes on with what requests leave behind, woken by the queue, with minutes where a request has seconds.

What can go wrong, and why nothing is lost. *It is killed in the middle.* Each step is committed, and whoever comes next goes on
from the last: the same message again, or the sweep's. *Two have the same conversation.* The lease lets one in, the other has
nothing to do. *Its own time is over.* It hands over before that, and wakes the next. *The database or the secrets are away.* The
record is given back, and comes again. *A record is not one of ours.* It is given back until the queue puts it
where somebody looks at it, and never ends the others.
"""

import gc
import json
import logging
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from core import about
from core.deadline import Deadline
from core.errors import LatchkeyError
from core.ids import SessionId
from core.store.database import reason
from functions import metrics
from functions.invocations import caused_by, invocation
from functions.wiring import wired

_log = logging.getLogger(__name__)

# Of what Lambda gives: to commit what is in hand, and to wake the next.
_RESERVE_S: Final = 20.0
# Some of it must be left for the turn if the function was given very little.
_LEAST_SHARE: Final = 0.5

_wiring = wired("worker")


class _NotOurs(Exception):
    """Not a wake-up of Latchkey's: its body is to be {"session_id": "..."}."""


def handler(event: object, context: Any) -> dict[str, Any]:
    """Lambda's partial batch response: what is named in it comes again, all else is done."""
    with invocation(context):
        return {"batchItemFailures": list(_given_back(event, _until(context)))}


def _given_back(event: object, until: Deadline) -> Iterator[dict[str, str]]:
    groups: set[str] = set()
    for place, record in enumerate(_records(event)):
        group = _attribute(record, "MessageGroupId")
        # What comes after one of its group that is to come again must not go before it.
        with caused_by(_attribute(record, "AWSTraceHeader")):
            is_done = group not in groups and _done(record, until, is_first=place == 0)
        if not is_done:
            groups |= {group} if group else set()
            yield {"itemIdentifier": _message_id(record)}


def _done(record: object, until: Deadline, *, is_first: bool) -> bool:
    try:
        session_id = _session_id(record)
        about.learn(session=about.short(session_id))
        turns = _wiring.house().turns
        if not is_first and until.left_s() < turns.asking.timeout_s:
            # Others have more time for it than is left here.
            return False
        turns.work(session_id, until)
    except Exception as error:
        _tell(error, record)
        return False
    return True


def _tell(error: Exception, record: object) -> None:
    metrics.count("WorkerErrors")
    if isinstance(error, LatchkeyError):
        _log.warning("given back to the queue: %s: %s", error.code, reason(error))
    elif isinstance(error, _NotOurs):
        _log.error("given back to the queue, message %s: %s", _message_id(record), error.__doc__)
    else:
        metrics.count("Defects", error=type(error).__name__)
        _log.error("given back to the queue: unexpected %s", type(error).__name__, exc_info=error)


def _until(context: Any) -> Deadline:
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return Deadline.never()
    left_s, budget_s = remaining() / 1000, _wiring.settings.worker_budget_s
    if left_s < budget_s:
        _log.warning(
            "this function has %d s, and WORKER_BUDGET_S is %d: a tool or an answer that takes longer is handed on without end",
            left_s,
            budget_s,
        )
    return Deadline.after(max(left_s - _RESERVE_S, left_s * _LEAST_SHARE))


# ---- what is in the event


def _records(event: object) -> Iterator[object]:
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        _log.error("called with what is no batch of the queue's, so there is nothing to do")
        return
    yield from records


def _session_id(record: object) -> SessionId:
    try:
        return SessionId(UUID(json.loads(record["body"])["session_id"]))  # type: ignore[index]  # whatever it is not ends below
    except (AttributeError, KeyError, TypeError, ValueError):
        # The error would quote it.
        raise _NotOurs from None


def _attribute(record: object, name: str) -> str:
    attributes = record.get("attributes") if isinstance(record, dict) else None
    given = attributes.get(name) if isinstance(attributes, dict) else None
    return given if isinstance(given, str) else ""


def _message_id(record: object) -> str:
    """An empty one has the queue take the whole batch as failed, which is right where it cannot be named."""
    given = record.get("messageId") if isinstance(record, dict) else None
    return given if isinstance(given, str) else ""


# As in the API function: what was built at import lives as long as the process.
gc.freeze()
