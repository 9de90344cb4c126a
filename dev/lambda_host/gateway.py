"""An HTTP API on 127.0.0.1, in front of one function, with the gateway's own limits: 30 s, 10 MB, nothing streamed."""

import json
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from secrets import token_hex
from types import TracebackType
from typing import Self

from dev.http.listener import Listener
from dev.http.wire import Connection, RawRequest
from dev.http.wire import Malformed as NoHttp

from .fleet import Throttled
from .function import Answer, PayloadTooLarge
from .gateway_events import HttpAnswer, Malformed, answer_of, event_of
from .host import LambdaHost

LIMIT_S = 30.0
LARGEST_BODY = 10 * 1024 * 1024
_AT_ONCE = 200


class Gateway:
    """Every request is an invocation of `function`, and what it answers is the answer."""

    def __init__(
        self,
        host: LambdaHost,
        function: str,
        *,
        limit_s: float = LIMIT_S,
        port: int = 0,
    ) -> None:
        self._host = host
        self._function = function
        self._limit_s = limit_s
        self._callers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="gateway")
        self._listener = Listener("gateway", self._handle, _refuse, most_body_bytes=LARGEST_BODY, port=port)

    @property
    def url(self) -> str:
        return self._listener.url

    def start(self) -> Self:
        """OSError if the port is taken."""
        self._listener.start()
        return self

    def stop(self) -> None:
        self._listener.stop()
        self._callers.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _handle(self, connection: Connection, raw: RawRequest) -> bool:
        request_id = token_hex(8)
        answer = self._answer(raw, request_id)
        _send(connection, answer, request_id, whole=raw.method != "HEAD")
        return True

    def _answer(self, raw: RawRequest, request_id: str) -> HttpAnswer:
        if raw.too_large:
            return _said(413, "Request Entity Too Large")
        event = event_of(raw, request_id, f"Root=1-{token_hex(4)}-{token_hex(12)}")
        asked = self._callers.submit(self._host.invoke, self._function, event)
        try:
            answer: Answer = asked.result(self._limit_s)
        except TimeoutError:
            # The function goes on, and nobody hears what it says.
            return _said(503, "Service Unavailable")
        except Throttled:
            return _said(503, "Service Unavailable")
        except PayloadTooLarge:
            return _said(413, "Request Entity Too Large")
        if answer.function_error is not None:
            return _said(500, "Internal Server Error")
        try:
            return answer_of(answer.json)
        except (Malformed, ValueError):
            return _said(500, "Internal Server Error")


def _said(status: int, message: str) -> HttpAnswer:
    return HttpAnswer(
        status, (("content-type", "application/json"),), json.dumps({"message": message}).encode()
    )


def _send(connection: Connection, answer: HttpAnswer, request_id: str, *, whole: bool = True) -> None:
    reason = HTTPStatus(answer.status).phrase if answer.status in HTTPStatus._value2member_map_ else "Unknown"
    headers = [(name, value) for name, value in answer.headers if name != "content-length"]
    headers += [("apigw-requestid", request_id)]
    has_body = answer.status not in (204, 304)
    if has_body:
        headers += [("content-length", str(len(answer.body)))]
    lines = [f"HTTP/1.1 {answer.status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    start = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
    connection.send(start + (answer.body if whole and has_body else b""))


def _refuse(connection: Connection, _malformed: NoHttp) -> None:
    _send(connection, _said(400, "Bad Request"), "none")
