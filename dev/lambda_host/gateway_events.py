"""What API Gateway's HTTP API makes of a request (payload 2.0), and of a function's answer.

Header names are in lower case, cookies in a list of their own, the path is decoded and the query is not; a body that is not text by
its content type comes as base64.
"""

import base64
import binascii
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from dev.http.wire import RawRequest

from .function import ACCOUNT

_TEXT = re.compile(r"text/.*|application/(json|javascript|xml|[^;]*\+(json|xml))")
# Between two stations of the way, and not for the one at its end.
_HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "expect")
_API = "latchkey00"


class Malformed(Exception):
    """What the function gave back is no answer to a request (500)."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    # In their order; `set-cookie` may be there more than once.
    headers: tuple[tuple[str, str], ...]
    body: bytes


def event_of(raw: RawRequest, request_id: str, trace_id: str, source_ip: str = "127.0.0.1") -> dict[str, Any]:
    path, _, query = raw.path.partition("?")
    headers = {name: value for name, value in raw.headers.items() if name not in _HOP_BY_HOP}
    cookies = [cookie.strip() for cookie in headers.pop("cookie", "").split(";") if cookie.strip()]
    headers |= {
        "x-amzn-trace-id": trace_id.partition(";")[0],
        "x-forwarded-for": ", ".join(filter(None, [headers.get("x-forwarded-for"), source_ip])),
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    }
    now = time.time()
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": unquote(path),
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": _API,
            "domainName": headers.get("host", "localhost"),
            "domainPrefix": _API,
            "http": {
                "method": raw.method,
                "path": unquote(path),
                "protocol": "HTTP/1.1",
                "sourceIp": source_ip,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if query:
        event["queryStringParameters"] = _parameters(query)
    if raw.body:
        event |= _body(raw.body, headers.get("content-type", ""))
    return event


def _parameters(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _body(body: bytes, content_type: str) -> dict[str, Any]:
    if _TEXT.fullmatch(content_type.partition(";")[0].strip().lower()):
        # Otherwise it would be no JSON that the function is given.
        return {"body": body.decode(errors="replace")}
    return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def answer_of(given: Any) -> HttpAnswer:
    """Without a `statusCode` all of it is the body, and the status 200: so says the payload's second version."""
    if not isinstance(given, dict) or "statusCode" not in given:
        return HttpAnswer(200, (("content-type", "application/json"),), json.dumps(given).encode())
    try:
        status = int(given["statusCode"])
    except (TypeError, ValueError):
        raise Malformed(f"statusCode is {given['statusCode']!r}") from None
    if not 100 <= status <= 599:
        raise Malformed(f"statusCode is {status}")
    headers = [(name.lower(), str(value)) for name, value in _mapping(given.get("headers")).items()]
    cookies = [("set-cookie", str(cookie)) for cookie in given.get("cookies") or ()]
    names = {name for name, _ in headers}
    if "content-type" not in names:
        headers.append(("content-type", "text/plain;charset=UTF-8"))
    return HttpAnswer(status, (*headers, *cookies), _decoded(given))


def _decoded(given: Mapping[str, Any]) -> bytes:
    body = "" if given.get("body") is None else given["body"]
    if not isinstance(body, str):
        raise Malformed("body is no text")
    if not given.get("isBase64Encoded"):
        return body.encode()
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise Malformed("body is no base64") from None


def _mapping(given: Any) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise Malformed("headers are no object")
    return given
