"""What can go wrong between a product and the model, on demand: one fault for the next accepted request.

    Fault.status(529)                  an error answer; any status, error type, message and `retry_after`
    Fault.error_event(after=3)         a stream whose fourth event is `error`; without a stream, the error's status
    Fault.cut(after=3)                 the connection is closed in the middle of the fourth event; with `reset=True`
                                       by RST. Without a stream, in the middle of the body
    Fault.end_early(after=3)           the stream ends cleanly after three events, without `message_stop`.
                                       Without a stream, half a body that ends cleanly
    Fault.delay(2.0)                   nothing for two seconds, then the plain answer
    Fault.drip(0.001)                  the answer one byte at a time, with a pause after each; or `size` of them
    Fault.gate(event)                  the plain answer, once the test sets its threading.Event
    Fault.hang()                       no answer until the client goes or the server stops

Every fault takes `delay_s` as well. A fault that shows any part of an answer uses up a scripted reply; `status` and
`hang` do not, so a retry gets it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Literal

from .refusal import error_type

Kind = Literal["status", "error_event", "cut", "end_early", "delay", "drip", "gate", "hang"]

_MESSAGES = {
    402: "Your credit balance is too low to access the Anthropic API.",
    429: "This request would exceed your rate limit.",
    500: "Internal server error",
    529: "Overloaded",
}


@dataclass(frozen=True, slots=True)
class Fault:
    kind: Kind
    status_code: int = 200
    type: str = ""
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    after: int = 0
    reset: bool = False
    pause_s: float = 0.0
    size: int = 1
    delay_s: float = 0.0
    opens: threading.Event | None = None

    @classmethod
    def status(
        cls,
        status: int,
        *,
        retry_after: float | str | None = None,
        type: str | None = None,
        message: str | None = None,
        delay_s: float = 0.0,
    ) -> Fault:
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        text = message or _MESSAGES.get(status, "The demo model was told to fail.")
        return cls("status", status, type or error_type(status), text, headers, delay_s=delay_s)

    @classmethod
    def error_event(
        cls, after: int, *, type: str = "overloaded_error", message: str = "Overloaded", delay_s: float = 0.0
    ) -> Fault:
        return cls("error_event", type=type, message=message, after=after, delay_s=delay_s)

    @classmethod
    def cut(cls, after: int = 0, *, reset: bool = False, delay_s: float = 0.0) -> Fault:
        return cls("cut", after=after, reset=reset, delay_s=delay_s)

    @classmethod
    def end_early(cls, after: int = 0, *, delay_s: float = 0.0) -> Fault:
        return cls("end_early", after=after, delay_s=delay_s)

    @classmethod
    def delay(cls, delay_s: float) -> Fault:
        return cls("delay", delay_s=delay_s)

    @classmethod
    def drip(cls, pause_s: float, *, size: int = 1, delay_s: float = 0.0) -> Fault:
        return cls("drip", pause_s=pause_s, size=size, delay_s=delay_s)

    @classmethod
    def gate(cls, opens: threading.Event) -> Fault:
        return cls("gate", opens=opens)

    @classmethod
    def hang(cls) -> Fault:
        return cls("hang", status_code=0)

    @property
    def shows_an_answer(self) -> bool:
        return self.kind not in ("status", "hang")

    def for_plain_json(self) -> Fault:
        """An `error` event has no place in a plain answer: there the same error comes as a status."""
        if self.kind != "error_event":
            return self
        status = {"overloaded_error": 529, "rate_limit_error": 429, "timeout_error": 504}.get(self.type, 500)
        return replace(self, kind="status", status_code=status)

    def __str__(self) -> str:
        """What was done, for the record: `cut after=3 reset`."""
        parts: list[str] = [self.kind]
        if self.kind == "status":
            parts.append(f"{self.status_code} {self.type}")
        if self.kind in ("error_event", "cut", "end_early"):
            parts.append(f"after={self.after}")
        if self.reset:
            parts.append("reset")
        if self.pause_s:
            parts.append(f"pause_s={self.pause_s:g}")
        if self.delay_s:
            parts.append(f"delay_s={self.delay_s:g}")
        return " ".join(parts)
