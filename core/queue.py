"""The queue: wake-ups over SQS, first in, first out in each conversation, to a function with more time.

What can go wrong, and why it does no harm. *SQS is away or slow.* A wake-up is given up after a moment, for a client waits: the sweep
finds what it was for, and where it can wake nobody either the clean-up fails, so that somebody is told. *One is sent twice, or its
worker is killed and it comes again.* It is only a word; the lease lets one in. *A message is in flight and its worker is dead.* Nothing
else of its group comes until its time in flight is over, eleven minutes; so the sweep's are in groups of their own, by the epoch that the
dead one had, and another one every few minutes.
"""

import json
import logging
import time
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

from core import trace
from core.attendance import on_a_thread
from core.aws import ON_THE_WAY, client
from core.deadline import Deadline
from core.ids import SessionId
from core.store.database import reason

_log = logging.getLogger(__name__)

# How long who sends it may wait for that.
_LONGEST_S: Final = 2.0
_SPARED_S: Final = 10.0
# For so long SQS swallows what has the deduplication ID of an earlier message.
_SWALLOWED_S: Final = 300


class Queue:
    def __init__(self, url: str, lost: Callable[[], object] | None = None) -> None:
        """`lost`: is told of each that could not be sent."""
        self._url = url
        self._lost = lost
        # Until when the sweep, which has more to do, does not try it again.
        self._spared_until = Deadline(float("-inf"))

    def wake(self, session_id: SessionId) -> None:
        """Each is a message of its own: one that was swallowed, because another was sent a moment ago, could be one that is missed."""
        self._send(session_id, str(session_id), uuid4().hex)

    def recover(self, session_id: SessionId, epoch: int) -> bool:
        """For a sweep, which finds the same again and again until somebody goes on with it."""
        if self._spared_until.left_s():
            return False
        group = f"{session_id}-recovery-{epoch}-{int(time.time() // _SWALLOWED_S)}"
        return self._send(session_id, group, f"{session_id}-{epoch}")

    def _send(self, session_id: SessionId, group: str, deduplication_id: str) -> bool:
        message: dict[str, Any] = {
            "QueueUrl": self._url,
            "MessageBody": json.dumps({"session_id": str(session_id)}),
            "MessageGroupId": group,
            "MessageDeduplicationId": deduplication_id,
        }
        if header := trace.header():
            message["MessageSystemAttributes"] = {
                "AWSTraceHeader": {"DataType": "String", "StringValue": header}
            }
        try:
            # On a thread, for how long the name of a server is looked for has no limit that could be set.
            sent = on_a_thread(lambda: client("sqs", ON_THE_WAY).send_message(**message), "queue")
            sent.result(_LONGEST_S)
        except Exception as error:  # the last resort: a wake-up may only help
            self._spared_until = Deadline.after(_SPARED_S)
            _log.warning("nobody was woken; the sweep will find it: %s", reason(error))
            if self._lost is not None:
                self._lost()
            return False
        self._spared_until = Deadline(float("-inf"))
        return True
