"""A function as a template declares it; what one invocation is given, and what comes of it."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any
from uuid import uuid4

ACCOUNT = "123456789012"  # moto's
REGION = "eu-central-1"
# Lambda's own limit for a synchronous invocation, of the event as of the answer: 6 MB and a little for the envelope.
LARGEST_PAYLOAD = 6 * 1024 * 1024 + 100
INIT_TIMEOUT_S = 10.0


class PayloadTooLarge(Exception):
    """The event is larger than Lambda takes (413)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    name: str
    handler: str
    timeout_s: float
    memory_mb: int = 512
    environment: Mapping[str, str] = field(default_factory=dict)
    # How many processes there may be of it at once, each with one request at a time.
    most_at_once: int = 10
    init_timeout_s: float = INIT_TIMEOUT_S

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}"

    @property
    def access_key(self) -> str:
        """Credentials of its own, as its role gives it; who asked AWS for something is told by them."""
        return access_key(self.name)


def access_key(name: str) -> str:
    return f"ASIA{name.upper().replace('-', ''):X<16}"[:20]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    payload: bytes
    arn: str
    # When it has to be over, by the clock on the wall, as the function is told; and by ours, which does not jump.
    deadline_ms: int
    until: float
    request_id: str
    trace_id: str

    @classmethod
    def of(cls, function: Function, payload: bytes) -> "Invocation":
        return cls(
            payload=payload,
            arn=function.arn,
            deadline_ms=int((time.time() + function.timeout_s) * 1000),
            until=time.monotonic() + function.timeout_s,
            request_id=str(uuid4()),
            trace_id=f"Root=1-{int(time.time()):08x}-{token_hex(12)};Parent={token_hex(8)};Sampled=1",
        )

    @property
    def remaining_s(self) -> float:
        return self.until - time.monotonic()


@dataclass(frozen=True, slots=True)
class Answer:
    payload: bytes
    # `Unhandled`, where the function failed: the payload then says how, and not what was asked for.
    function_error: str | None = None
    request_id: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.payload or b"null")


def failed(kind: str, message: str, request_id: str) -> Answer:
    """As the platform says it itself, for a function that cannot any more."""
    said = {"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {message}"}
    return Answer(json.dumps(said).encode(), "Unhandled", request_id)
