"""S3 on this machine: moto's, in a process of its own, found by everything that asks for AWS in this process and in those that it starts."""

import logging
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_CONTEXT = multiprocessing.get_context("spawn")
_REGION = "eu-central-1"


@contextmanager
def serving_s3(bucket: str, *, yields: bool = False) -> Iterator[None]:
    """With an empty bucket of this name. `yields` the processor to whatever else wants it, as a service that is elsewhere would."""
    ready = _CONTEXT.Queue()
    server = _CONTEXT.Process(target=_serve, args=(ready, 19 if yields else 0), daemon=True)
    server.start()
    os.environ |= {
        "AWS_ENDPOINT_URL": ready.get(timeout=60),
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": _REGION,
        "NO_PROXY": "127.0.0.1",
    }
    try:
        _client().create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": _REGION})
        yield
    finally:
        server.terminate()
        server.join()


def count(bucket: str) -> int:
    """How many objects it has."""
    pages = _client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return sum(len(page.get("Contents", ())) for page in pages)


def _client() -> Any:
    import boto3

    return boto3.client("s3")


def _serve(ready: Any, niceness: int) -> None:
    from moto.server import ThreadedMotoServer

    os.nice(niceness)
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    ready.put(f"http://{host}:{port}")
    while True:
        time.sleep(3_600)
