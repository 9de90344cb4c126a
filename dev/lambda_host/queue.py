"""The SQS event source, as Lambda polls a FIFO queue for a function: batches of one, one in flight a group, what was done is deleted
and what failed comes back when its visibility is over.

`ReportBatchItemFailures`: the function names the messages that failed; an answer that cannot be read means that all did.
"""

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from .fleet import Throttled
from .function import REGION, Answer
from .host import LambdaHost

# No long polls: moto decides at the beginning of one which groups are busy, and a second is long on one's own machine.
_POLLS_EVERY_S = 0.1
_AGAIN_S = 0.2


class QueueSource:
    """`sqs` is a client of boto3. At most `most_at_once` batches are with the function, as the template's ScalingConfig says."""

    def __init__(
        self,
        host: LambdaHost,
        function: str,
        sqs: Any,
        queue_url: str,
        queue_arn: str,
        *,
        batch_size: int = 1,
        most_at_once: int = 2,
    ) -> None:
        self._host = host
        self._function = function
        self._sqs = sqs
        self._queue_url = queue_url
        self._queue_arn = queue_arn
        self._batch_size = batch_size
        self._room = threading.Semaphore(most_at_once)
        # Handles of what failed, and waits until its visibility is over.
        self._failed: list[str] = []
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name=f"{function}-queue", daemon=True)

    def start(self) -> "QueueSource":
        self._poller.start()
        return self

    def stop(self) -> None:
        self._stopping.set()
        if self._poller.is_alive():
            self._poller.join(5)

    def come_again(self) -> None:
        """For tests, which have no eleven minutes: the visibility of what failed is over now."""
        failed, self._failed = self._failed, []
        for handle in failed:
            self._sqs.change_message_visibility(
                QueueUrl=self._queue_url, ReceiptHandle=handle, VisibilityTimeout=0
            )

    def _poll(self) -> None:
        while not self._stopping.is_set():
            if not self._room.acquire(timeout=_AGAIN_S):
                continue
            messages = self._receive()
            if not messages:
                self._room.release()
                self._stopping.wait(_POLLS_EVERY_S)
                continue
            threading.Thread(
                target=self._deliver, args=(messages,), name=f"{self._function}-batch", daemon=True
            ).start()

    def _receive(self) -> list[dict[str, Any]]:
        try:
            found = self._sqs.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=self._batch_size,
                WaitTimeSeconds=0,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
        except Exception:
            # Whatever it is, Lambda's pollers come again.
            self._stopping.wait(_AGAIN_S)
            return []
        messages: list[dict[str, Any]] = found.get("Messages", [])
        return messages

    def _deliver(self, messages: list[dict[str, Any]]) -> None:
        try:
            event = {"Records": [record_of(message, self._queue_arn) for message in messages]}
            answer = self._invoke(event)
            if answer is None:
                return
            failed = failures(answer, [message["MessageId"] for message in messages])
            for message in messages:
                if message["MessageId"] in failed:
                    self._failed.append(message["ReceiptHandle"])
                else:
                    with suppress(Exception):  # it comes again, and finds nothing to do
                        self._sqs.delete_message(
                            QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"]
                        )
        finally:
            self._room.release()

    def _invoke(self, event: dict[str, Any]) -> Answer | None:
        """A function that is throttled is asked again, as long as we are here."""
        while not self._stopping.is_set():
            try:
                return self._host.invoke(self._function, event)
            except Throttled:
                self._stopping.wait(_AGAIN_S)
        return None


def record_of(message: dict[str, Any], queue_arn: str) -> dict[str, Any]:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {
            name: {f"{key[0].lower()}{key[1:]}": value for key, value in attribute.items()}
            for name, attribute in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": REGION,
    }


def failures(answer: Answer, ids: list[str]) -> set[str]:
    """Which of these have to come again."""
    if answer.function_error is not None:
        return set(ids)
    try:
        named = set(_named(answer.json))
    except (ValueError, TypeError, KeyError, AttributeError):
        return set(ids)
    return named if named <= set(ids) else set(ids)


def _named(given: Any) -> Iterator[str]:
    for failure in ({} if given is None else given).get("batchItemFailures") or ():
        identifier = failure["itemIdentifier"]
        if not isinstance(identifier, str) or not identifier:
            raise ValueError("no identifier")
        yield identifier
