"""The edge: what is done for every request, whatever becomes of it. Its ID, its size, the headers that every answer carries, and which
web pages may call (CORS). From the outside in:

    Edge       the ID, in the answer and in every line that is logged; the headers; sizes
    Origins    CORS, where it is set up: also around problems and defects, which a page could not read otherwise
    Problems   every error as a problem (see problems.py)
"""

from collections.abc import Callable

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import about
from core.errors import AddressTooLong, HeadersTooLarge, LatchkeyError, OriginRefused
from core.house import House
from core.settings import Settings
from functions import metrics
from functions.lines import carry_fields
from functions.problems import Problems, problem_answer
from functions.request_ids import current, request_id

_MOST_HEADER_BYTES = 32_768
_MOST_HEADERS = 100
_LONGEST_PATH = 2_048
_LONGEST_QUERY = 8_192

# What we read of a request, and what a page may read of an answer.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
READ = (
    "Accept",
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "Last-Event-ID",
    "Prefer",
    "X-Device-ID",
    "X-Session-Version",
    "X-Share-Link",
)
SHOWN = (
    "ETag",
    "Location",
    "Preference-Applied",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "WWW-Authenticate",
    "X-Next-Part",
    "X-Request-ID",
    "X-Session-Version",
)
_A_DAY_S = 86_400
# What an answer that is data says to a browser that is shown it as a page.
_DATA_ALONE = "default-src 'none'; frame-ancestors 'none'"


class Edge:
    """ASGI middleware. Nothing stands outside of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        carry_fields()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        id_ = request_id(scope)
        scope.setdefault("state", {})["request_id"] = id_
        dressed = _dressed(scope, send, id_)
        with about.under(request_id=id_):
            too_large = _too_large(scope)
            if too_large is None:
                await self._app(scope, receive, dressed)
            else:
                await problem_answer(too_large, id_)(scope, receive, dressed)


class Origins(CORSMiddleware):
    """Starlette's, but that a page which may not call is told so as a problem."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return Response(status_code=204, headers=_kept(answer))
        return problem_answer(OriginRefused(), current(), _kept(answer))


def guard(app: FastAPI, settings: Settings, houses: Callable[[], House]) -> None:
    """The last one that is added stands outermost."""
    app.add_middleware(Problems, houses=houses)
    if settings.cors_origins:
        app.add_middleware(
            Origins,
            allow_origins=settings.cors_origins,
            allow_methods=METHODS,
            allow_headers=READ,
            expose_headers=SHOWN,
            max_age=_A_DAY_S,
        )
    app.add_middleware(Edge)


def _kept(answer: Response) -> dict[str, str]:
    return {
        name: value
        for name, value in answer.headers.items()
        if name == "vary" or name.startswith("access-control-")
    }


def _dressed(scope: Scope, send: Send, id_: str) -> Send:
    is_call = scope["path"].startswith("/v1/")

    async def dress(message: Message) -> None:
        if message["type"] == "http.response.start":
            if message["status"] >= 500:
                metrics.count("ServerErrors", status=message["status"])
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = id_
            headers.setdefault("X-Content-Type-Options", "nosniff")
            if is_call:
                headers.setdefault("Cache-Control", "no-store")
            if "json" in headers.get("content-type", ""):
                headers.setdefault("Content-Security-Policy", _DATA_ALONE)
        elif scope["method"] == "HEAD":
            # What a gateway hands on as it is.
            message = {**message, "body": b""}
        await send(message)

    return dress


def _too_large(scope: Scope) -> LatchkeyError | None:
    headers = scope["headers"]
    if (
        len(headers) > _MOST_HEADERS
        or sum(len(name) + len(value) for name, value in headers) > _MOST_HEADER_BYTES
    ):
        return HeadersTooLarge()
    if len(scope["path"]) > _LONGEST_PATH or len(scope["query_string"]) > _LONGEST_QUERY:
        return AddressTooLong()
    return None
