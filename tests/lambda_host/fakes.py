"""Handlers of a function that is none of ours: what the host promises is told by them. Copied into a task root of its own."""

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_counted = itertools.count(1)
_ticks = [0]


def echo(event: Any, context: Any) -> dict[str, Any]:
    return {
        "event": event,
        "count": next(_counted),
        "pid": os.getpid(),
        "left_ms": context.get_remaining_time_in_millis(),
        "request_id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "environment": dict(os.environ),
        "path": sys.path,
        "cwd": str(Path.cwd()),
    }


def counts(event: Any, _context: Any) -> dict[str, Any]:
    """A thread that goes on counting after the answer, as long as nobody stops it."""
    if event == "begin":
        threading.Thread(target=_tick, daemon=True).start()
    return {"ticks": _ticks[0]}


def _tick() -> None:
    while True:
        _ticks[0] += 1
        time.sleep(0.005)


def meets(event: Any, _context: Any) -> dict[str, Any]:
    """Leaves a file of its own and waits for those of others: only several at once can answer."""
    place = Path(event["place"])
    (place / str(os.getpid())).touch()
    while len(list(place.iterdir())) < event["others"]:
        time.sleep(0.005)
    return {"pid": os.getpid()}


def hangs(event: Any, _context: Any) -> None:
    """With a child, which has to go as well."""
    child = subprocess.Popen(["sleep", "600"])
    Path(event["place"]).write_text(f"{os.getpid()} {child.pid}")
    time.sleep(600)


def fails(_event: Any, _context: Any) -> None:
    raise ValueError("as it was told to")


def exits(_event: Any, _context: Any) -> None:
    os._exit(3)


def sized(event: Any, _context: Any) -> str:
    return "x" * int(event["answers"])


def http(event: Any, _context: Any) -> Any:
    return event["headers"].get("x-answer") and _ANSWERS[event["headers"]["x-answer"]]


_ANSWERS: dict[str, Any] = {
    "plain": {"statusCode": 201, "headers": {"Content-Type": "text/plain", "X-One": "1"}, "body": "hello"},
    "binary": {"statusCode": 200, "isBase64Encoded": True, "body": "AP8Q"},
    "cookies": {"statusCode": 200, "cookies": ["a=1", "b=2"], "body": ""},
    "bare": {"said": "this"},
    "no status": {"statusCode": "soon"},
    "no base64": {"statusCode": 200, "isBase64Encoded": True, "body": "?"},
}


def events(event: Any, _context: Any) -> Any:
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": _told(event)}


def _told(event: Any) -> str:
    import json

    return json.dumps(event)


def slow(_event: Any, _context: Any) -> None:
    time.sleep(600)


def takes(event: Any, _context: Any) -> Any:
    """The bodies of records are lines of a file; `fail` in one lets it come again."""
    failed = []
    for record in event["Records"]:
        place, _, text = record["body"].partition(" ")
        with Path(place).open("a") as told:
            told.write(f"{text} {record['attributes']['ApproximateReceiveCount']}\n")
        if "raise" in text:
            raise ValueError("as it was told to")
        if "fail" in text and record["attributes"]["ApproximateReceiveCount"] == "1":
            failed.append({"itemIdentifier": record["messageId"]})
        if "stay" in text:
            Path(place).with_name("staying").touch()
            while not Path(place).with_name("go").exists():
                time.sleep(0.005)
    return {"batchItemFailures": failed}
