"""The Runtime API of one process, as AWS documents it (2018-06-01): the process asks for the next invocation, and leaves its answer.

Whoever asks for the next one has nothing to do: that is the moment in which Lambda freezes a process, and the sign that its
initialisation is over.
"""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from dev.http.listener import Listener
from dev.http.wire import Connection, Malformed, RawRequest, head

from .function import LARGEST_PAYLOAD, Answer, Invocation

_ROOT = "/2018-06-01/runtime/"
_TOO_LARGE = f"Response payload size exceeded maximum allowed payload size ({LARGEST_PAYLOAD} bytes)."


class RuntimeApi:
    """`idle` is called each time that the process asks for work, before it gets any."""

    def __init__(self, idle: Callable[[], None]) -> None:
        self._idle = idle
        self._changed = threading.Condition()
        self._asked = 0
        self._asked_before = 0
        self._given: Invocation | None = None
        self._serving: Invocation | None = None
        self._answer: Answer | None = None
        self._gone = False
        self._is_late = False
        self.init_error: dict[str, Any] | None = None
        self._listener = Listener(
            "runtime API", self._handle, _refuse, most_body_bytes=LARGEST_PAYLOAD, wake=self.gone
        )

    def start(self) -> None:
        self._listener.start()

    def stop(self) -> None:
        self._listener.stop()

    @property
    def address(self) -> str:
        return self._listener.url.removeprefix("http://")

    # ---- for the sandbox

    def wait_until_asked(self, timeout_s: float) -> bool:
        """Whether the process has come as far as to ask for work."""
        with self._changed:
            self._changed.wait_for(lambda: self._asked or self._gone or self.init_error, timeout_s)
            return bool(self._asked) and not self._gone

    def give(self, invocation: Invocation) -> None:
        with self._changed:
            self._given, self._answer = invocation, None
            self._asked_before = self._asked
            self._changed.notify_all()

    def wait_for_answer(self, invocation: Invocation) -> Answer | None:
        """None where there is none by its deadline, or nobody any more to give one."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._answer is not None or self._gone or self._is_late,
                max(0.0, invocation.remaining_s),
            )
            return self._answer

    def be_late(self) -> None:
        """For tests: the deadline of what is being served is over now."""
        with self._changed:
            self._is_late = True
            self._changed.notify_all()

    def wait_until_back(self, timeout_s: float) -> None:
        """Until the process asks for more, having answered; or is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._asked > self._asked_before or self._gone, timeout_s)

    def gone(self) -> None:
        """The process is over, or there is no more work."""
        with self._changed:
            self._gone = True
            self._changed.notify_all()

    @property
    def is_gone(self) -> bool:
        with self._changed:
            return self._gone

    # ---- for the process

    def _handle(self, connection: Connection, raw: RawRequest) -> bool:
        path = raw.path.removeprefix(_ROOT)
        if (raw.method, path) == ("GET", "invocation/next"):
            return self._next(connection)
        if (raw.method, path) == ("POST", "init/error"):
            return self._init_failed(connection, raw)
        kind, request_id, *what = path.split("/") if raw.method == "POST" else [""] * 3
        if kind == "invocation" and what in (["response"], ["error"]):
            return self._take(connection, raw, request_id, what[0])
        return _say(connection, 404, {"errorType": "NotFound", "errorMessage": f"{raw.method} {raw.path}"})

    def _next(self, connection: Connection) -> bool:
        with self._changed:
            self._serving = None
        # It is frozen before anybody can give it work; the other way round it would be frozen at its work.
        self._idle()
        with self._changed:
            self._asked += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._given is not None or self._gone)
            if self._given is None:
                return False
            invocation, self._given = self._given, None
            self._serving = invocation
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(invocation.payload)),
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.arn,
            "Lambda-Runtime-Trace-Id": invocation.trace_id,
            "Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
        }
        connection.send(head(200, headers) + invocation.payload)
        return True

    def _take(self, connection: Connection, raw: RawRequest, request_id: str, what: str) -> bool:
        with self._changed:
            serving = self._serving
            if serving is None or serving.request_id != request_id or self._answer is not None:
                return _say(
                    connection, 400, {"errorType": "InvalidRequestID", "errorMessage": "Invalid request ID"}
                )
            if raw.too_large:
                said = {"errorType": "Function.ResponseSizeTooLarge", "errorMessage": _TOO_LARGE}
                self._answer = Answer(json.dumps(said).encode(), "Unhandled", request_id)
            else:
                error = "Unhandled" if what == "error" else None
                self._answer = Answer(raw.body, error, request_id)
            self._changed.notify_all()
        if raw.too_large:
            return _say(connection, 413, said)
        return _say(connection, 202, {"status": "OK"})

    def _init_failed(self, connection: Connection, raw: RawRequest) -> bool:
        with self._changed:
            self.init_error = json.loads(raw.body or b"{}")
            self._changed.notify_all()
        return _say(connection, 202, {"status": "OK"})


def _say(connection: Connection, status: int, body: object) -> bool:
    content = json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
    connection.send(head(status, headers) + content)
    return True


def _refuse(connection: Connection, malformed: Malformed) -> None:
    _say(connection, 400, {"errorType": "BadRequest", "errorMessage": f"not HTTP: {malformed}"})
