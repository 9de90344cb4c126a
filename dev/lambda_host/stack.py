"""What CloudFormation makes of the template's `resources`, made in moto: the queue with its dead letters, the bucket, the secret."""

import json
from collections.abc import Mapping

from .aws import LocalAws
from .declared import MAX_RECEIVES, SECRET, VISIBILITY_S, Resources
from .function import REGION

BUCKET = "latchkey-local-archive"
QUEUE = "latchkey-local.fifo"
DEAD_LETTERS = "latchkey-local-dead-letters.fifo"


def make(aws: LocalAws, secrets: Mapping[str, str], *, visibility_s: int = VISIBILITY_S) -> Resources:
    sqs = aws.client("sqs")
    fifo = {"FifoQueue": "true"}
    dead = sqs.create_queue(QueueName=DEAD_LETTERS, Attributes=fifo)["QueueUrl"]
    redrive = {"deadLetterTargetArn": arn_of(aws, dead), "maxReceiveCount": MAX_RECEIVES}
    queue = sqs.create_queue(
        QueueName=QUEUE,
        Attributes={**fifo, "VisibilityTimeout": str(visibility_s), "RedrivePolicy": json.dumps(redrive)},
    )["QueueUrl"]
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    aws.client("secretsmanager").create_secret(Name=SECRET, SecretString=json.dumps(dict(secrets)))
    return Resources(queue, BUCKET)


def arn_of(aws: LocalAws, queue_url: str) -> str:
    about = aws.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    arn: str = about["Attributes"]["QueueArn"]
    return arn
