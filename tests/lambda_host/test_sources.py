"""The queue and the schedule on loopback invoke as Lambda's own pollers do."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dev.lambda_host.aws import LocalAws
from dev.lambda_host.calls import Call, call_of
from dev.lambda_host.function import Answer
from dev.lambda_host.queue import QueueSource, failures
from dev.lambda_host.schedule import Schedule, scheduled_event
from dev.postgres.processes import until
from tests.lambda_host.conftest import Hosting

Sending = Callable[..., None]


@pytest.fixture
def aws() -> Iterator[LocalAws]:
    with LocalAws() as services:
        yield services


@pytest.fixture
def queueing(hosting: Hosting, aws: LocalAws) -> Iterator[Sending]:
    """Sends bodies; from the first on they are delivered to `takes`."""
    sqs = aws.client("sqs")
    dead = sqs.create_queue(QueueName="dead.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    dead_arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    attributes = {
        "FifoQueue": "true",
        "VisibilityTimeout": "1",
        "RedrivePolicy": json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2}),
    }
    url = sqs.create_queue(QueueName="turns.fifo", Attributes=attributes)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    with ExitStack() as running:
        source = QueueSource(hosting("takes"), "takes", sqs, url, arn)
        running.callback(source.stop)
        source.start()

        def send(*bodies: str, group: str = "a") -> None:
            for body in bodies:
                sqs.send_message(
                    QueueUrl=url, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=body
                )

        yield send


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_messages_of_a_group_are_done_in_their_order_and_once(queueing: Sending, tmp_path: Path) -> None:
    told = tmp_path / "told"
    queueing(*(f"{told} {number}" for number in range(5)))
    assert until(lambda: len(_lines(told)) >= 5, 15)
    assert _lines(told) == ["0 1", "1 1", "2 1", "3 1", "4 1"]


def test_a_group_that_is_busy_holds_up_itself_alone(queueing: Sending, tmp_path: Path) -> None:
    told = tmp_path / "told"
    queueing(f"{told} stay", f"{told} after")
    assert until((tmp_path / "staying").exists, 10)
    queueing(f"{told} other", group="b")
    assert until(lambda: "other 1" in _lines(told), 10)
    assert not [line for line in _lines(told) if line.startswith("after")]
    (tmp_path / "go").touch()
    assert until(lambda: any(line.startswith("after") for line in _lines(told)), 10)


def test_what_failed_comes_again_and_what_keeps_failing_is_a_dead_letter(
    queueing: Sending, aws: LocalAws, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    queueing(f"{told} fail")
    queueing(f"{told} raise", group="b")
    sqs = aws.client("sqs")
    dead = sqs.get_queue_url(QueueName="dead.fifo")["QueueUrl"]

    def is_dead() -> bool:
        about = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["ApproximateNumberOfMessages"])
        return bool(about["Attributes"]["ApproximateNumberOfMessages"] == "1")

    assert until(is_dead, 15)
    assert sorted(_lines(told)) == ["fail 1", "fail 2", "raise 1", "raise 2"]


@pytest.mark.parametrize(
    ("said", "failed"),
    [
        (None, set()),
        ({}, set()),
        ({"batchItemFailures": None}, set()),
        ({"batchItemFailures": []}, set()),
        ({"batchItemFailures": [{"itemIdentifier": "b"}]}, {"b"}),
        ({"batchItemFailures": [{"itemIdentifier": "of another batch"}]}, {"a", "b"}),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, {"a", "b"}),
        ({"batchItemFailures": [{"id": "b"}]}, {"a", "b"}),
        ({"batchItemFailures": "b"}, {"a", "b"}),
        ("done", {"a", "b"}),
    ],
)
def test_an_answer_that_cannot_be_read_means_that_all_failed(said: Any, failed: set[str]) -> None:
    assert failures(Answer(json.dumps(said).encode()), ["a", "b"]) == failed


def test_a_function_error_means_that_all_failed() -> None:
    assert failures(Answer(b"{}", "Unhandled"), ["a", "b"]) == {"a", "b"}


def test_a_schedule_invokes_again_and_again(hosting: Hosting) -> None:
    host = hosting("echo", most_at_once=1)
    schedule = Schedule(host, "echo", every_s=0.2).start()
    assert until(lambda: sum("REPORT Req" in line.text for line in host.logs.of("echo")) >= 3, 10)
    schedule.stop()
    assert scheduled_event()["source"] == "aws.scheduler"


def test_whoever_asks_aws_for_something_is_recorded_with_the_permission_that_it_needs(aws: LocalAws) -> None:
    s3, sqs, secrets = (aws.client(service, "cleanup") for service in ("s3", "sqs", "secretsmanager"))
    aws.client("s3").create_bucket(
        Bucket="archive", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    s3.put_object(Bucket="archive", Key="users/1/2.jsonl", Body=b"x")
    s3.get_object(Bucket="archive", Key="users/1/2.jsonl")["Body"].read()
    s3.list_objects_v2(Bucket="archive", Prefix="users/1/")
    s3.list_object_versions(Bucket="archive", Prefix="users/1/")
    s3.delete_objects(Bucket="archive", Delete={"Objects": [{"Key": "users/1/2.jsonl"}]})
    url = aws.client("sqs").create_queue(QueueName="turns.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="x", MessageGroupId="a", MessageDeduplicationId="1")
    aws.client("secretsmanager").create_secret(Name="latchkey/local", SecretString="{}")
    secrets.get_secret_value(SecretId="latchkey/local")
    asked = aws.calls_by(["cleanup", "api"])
    assert {(call.action, call.resource) for call in asked["cleanup"]} == {
        ("s3:PutObject", "archive/users/1/2.jsonl"),
        ("s3:GetObject", "archive/users/1/2.jsonl"),
        ("s3:ListBucket", "archive"),
        ("s3:ListBucketVersions", "archive"),
        ("s3:DeleteObject", "archive"),
        ("sqs:SendMessage", "turns.fifo"),
        ("secretsmanager:GetSecretValue", "latchkey/local"),
    }
    assert asked["api"] == set()


_SIGNED = {
    "authorization": "AWS4-HMAC-SHA256 Credential=ASIAAPIXXXXXXXXXXXXX/20261121/eu-central-1/s3/aws4_request"
}


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "action"),
    [
        ("HEAD", "/b/k", "", b"", "s3:GetObject"),
        ("GET", "/b/k", "versionId=1", b"", "s3:GetObjectVersion"),
        ("POST", "/b/k", "uploads", b"", "s3:PutObject"),
        ("PUT", "/b/k", "partNumber=1&uploadId=2", b"", "s3:PutObject"),
        ("DELETE", "/b/k", "uploadId=2", b"", "s3:AbortMultipartUpload"),
        ("DELETE", "/b/k", "", b"", "s3:DeleteObject"),
        ("POST", "/b", "delete", b"<VersionId>1</VersionId>", "s3:DeleteObjectVersion"),
    ],
)
def test_a_permission_is_not_always_named_as_its_call(
    method: str, path: str, query: str, body: bytes, action: str
) -> None:
    call = call_of(method, path, query, _SIGNED, body)
    assert call == Call("ASIAAPIXXXXXXXXXXXXX", action, path.strip("/"))
    assert call_of(method, path, query, {}, body) is None


def test_two_at_once_know_nothing_of_each_other(aws: LocalAws) -> None:
    """Tests beside each other have one each, in one process."""
    url = aws.client("sqs").create_queue(QueueName="turns")["QueueUrl"]
    aws.client("sqs").send_message(QueueUrl=url, MessageBody="x")
    with LocalAws() as other:
        url_there = other.client("sqs").create_queue(QueueName="turns")["QueueUrl"]
        assert other.account in url_there
        assert "Messages" not in other.client("sqs").receive_message(QueueUrl=url_there)
    assert aws.client("sqs").receive_message(QueueUrl=url)["Messages"][0]["Body"] == "x"
