"""AWS for tests: moto, in this process or behind a port of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from moto import mock_aws

from core import aws

REGION = "eu-central-1"


@contextmanager
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With nothing in it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        aws.client.cache_clear()
        yield
    aws.client.cache_clear()


def new_queue(sqs: Any, *, dead_letters_after: int | None = None, visible_after_s: int = 1_980) -> str:
    """Its address; as it is deployed, but that nothing is ever old."""
    attributes = {"FifoQueue": "true", "VisibilityTimeout": str(visible_after_s)}
    if dead_letters_after is not None:
        dead = sqs.create_queue(QueueName="dead.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        attributes["RedrivePolicy"] = (
            f'{{"deadLetterTargetArn": "{arn}", "maxReceiveCount": {dead_letters_after}}}'
        )
    url: str = sqs.create_queue(QueueName="turns.fifo", Attributes=attributes)["QueueUrl"]
    return url


def sqs() -> Any:
    return boto3.client("sqs")
