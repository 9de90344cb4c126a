"""Every error as `application/problem+json`: one handler for all of them, and the last resort. It stands around each request,
so the figures for operators are told from here.

The handler sits outside of FastAPI's own, so nothing gets past it: not an unknown path, not a defect of ours. The
caller gets a code and a request ID; the traceback goes to the log, under that ID.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.cache.allowance import one_request
from core.errors import BadJson, FieldProblem, InvalidRequest, LatchkeyError, MethodNotAllowed, NoSuchPath
from core.house import House
from core.store.database import reason
from functions import metrics
from functions.answers import JsonAnswer

_log = logging.getLogger(__name__)

UNEXPECTED = "Something went wrong on our side. The log has it under this request ID."
# They are answered whatever has become of everything else.
_NEED_NO_HOUSE = ("/health", "/web/")
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


class ProblemAnswer(JsonAnswer):
    media_type = "application/problem+json"


class Problems:
    """ASGI middleware: turns whatever is raised into a problem."""

    def __init__(self, app: ASGIApp, houses: Callable[[], House]) -> None:
        self._app = app
        self._houses = houses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        house: House | None = None
        started = False

        async def send_and_see(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            if not scope["path"].startswith(_NEED_NO_HOUSE):
                house = scope["state"]["house"] = self._houses()
            with one_request(0.0 if house is None else house.cache_s):
                await self._app(scope, receive, send_and_see)
        except Exception as error:
            if started:
                raise
            await problem(Request(scope), error)(scope, receive, send_and_see)
        finally:
            if house is not None:
                # A function has no time of its own between two requests.
                house.figures.tell_if_due(time.monotonic())


async def handle(request: Request, error: Exception) -> ProblemAnswer:
    """For what FastAPI itself raises and would answer in a shape of its own."""
    return problem(request, error)


def problem(request: Request, error: Exception) -> ProblemAnswer:
    known = _known(error)
    request_id: str = request.scope["state"]["request_id"]
    if known is None:
        _log.error("unexpected %s", type(error).__name__, exc_info=error)
        metrics.count("Defects", error=type(error).__name__)
        known = LatchkeyError(UNEXPECTED)
    elif known.status >= 500:
        _log.warning("%s: %s", known.code, reason(known))
    headers = _allowed(request) if isinstance(known, MethodNotAllowed) else {}
    return problem_answer(known, request_id, headers)


def problem_answer(
    error: LatchkeyError, request_id: str, headers: dict[str, str] | None = None
) -> ProblemAnswer:
    headers = dict(headers or {})
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.left is not None:
        headers |= error.left.headers
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return ProblemAnswer(_body(error, request_id), error.status, headers)


def _allowed(request: Request) -> dict[str, str]:
    """Of all routes of this path: the router tells those of the first alone."""
    allowed = [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]
    return {"Allow": ", ".join(allowed)}


def _known(error: Exception) -> LatchkeyError | None:
    if isinstance(error, LatchkeyError):
        return error
    if isinstance(error, RequestValidationError):
        return InvalidRequest(
            errors=tuple(FieldProblem(str(item["loc"][-1]), item["msg"]) for item in error.errors())
        )
    if isinstance(error, ClientDisconnect):
        return BadJson("The client went away before its body was here; nothing was stored.")
    if isinstance(error, HTTPException):
        return {404: NoSuchPath, 405: MethodNotAllowed}.get(error.status_code, InvalidRequest)()
    return None


def _body(error: LatchkeyError, request_id: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": f"urn:latchkey:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "request_id": request_id,
    }
    if error.errors:
        body["errors"] = [{"field": item.field, "problem": item.problem} for item in error.errors]
    return body
