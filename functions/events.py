"""Events: what API Gateway (HTTP API, payload 2.0) hands over, as the adapter can read it.

What can go wrong, and why it cannot: the adapter takes an event at its word, and a field that is missing, of another kind, or that
no header can carry ends in an exception before there is anybody to answer it. So what the adapter reads is made anew, of what can
be read; what cannot is left out, and the application refuses what it lacks. What else the gateway says (who was authorised) is
handed on as it came.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

Event = dict[str, Any]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_METHOD = re.compile(r"[A-Z]{1,20}")
_PORT = re.compile(r"[0-9]{1,5}")
_LEFT_OUT = {"\0": "", "\r": " ", "\n": " "}
# What is not base64 is not UTF-8 either, so that whoever reads it says so.
_UNREADABLE = base64.b64encode(b"\xff").decode()


def readable(event: object) -> Event:
    given = event if isinstance(event, dict) else {}
    context = _mapping(given.get("requestContext"))
    http = _mapping(context.get("http"))
    stage = context.get("stage")
    headers = dict(_headers(_mapping(given.get("headers")), given.get("cookies")))
    # The adapter reads the name and the port of the server out of these two; nobody else reads the port.
    headers["x-forwarded-port"] = _port(headers.get("x-forwarded-port"))
    headers["host"] = _host(headers.get("host"))
    if headers.get("x-forwarded-proto") not in ("http", "https"):
        headers["x-forwarded-proto"] = "https"
    body, is_base64 = _body(given.get("body"), given.get("isBase64Encoded"))
    path = _path(given.get("rawPath", http.get("path")), stage)
    return {
        **{name: value for name, value in given.items() if isinstance(name, str)},
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": _ascii(given.get("rawQueryString")),
        "headers": headers,
        "cookies": [],
        "requestContext": {
            **context,
            "stage": "$default",
            "http": {
                **http,
                "method": _method(http.get("method")),
                "path": path,
                "sourceIp": _line(http.get("sourceIp"))[:64],
            },
        },
        "body": body,
        "isBase64Encoded": is_base64,
    }


def _mapping(given: object) -> Mapping[str, Any]:
    return given if isinstance(given, dict) else {}


def _headers(given: Mapping[str, Any], cookies: object) -> Iterator[tuple[str, str]]:
    for name, value in given.items():
        if isinstance(name, str) and _NAME.fullmatch(name):
            values = value if isinstance(value, list) else [value]
            if texts := [_line(one) for one in values if isinstance(one, str)]:
                yield name.lower(), ",".join(texts)
    if isinstance(cookies, list):
        yield "cookie", "; ".join(_line(cookie) for cookie in cookies if isinstance(cookie, str))


def _line(given: object) -> str:
    """One line in ASCII: what a header may hold."""
    text = given if isinstance(given, str) else ""
    for character, instead in _LEFT_OUT.items():
        text = text.replace(character, instead)
    return text.encode("ascii", "replace").decode()


def _ascii(given: object) -> str:
    return "" if not isinstance(given, str) else _utf8(given).encode("ascii", "replace").decode()


def _utf8(text: str) -> str:
    """Without half surrogate pairs."""
    return text.encode("utf-8", "replace").decode()


def _method(given: object) -> str:
    method = given.upper() if isinstance(given, str) else "GET"
    return method if _METHOD.fullmatch(method) else "UNKNOWN"


def _path(given: object, stage: object) -> str:
    """Without the name of a stage, which is no part of it to us."""
    path = _utf8(given) if isinstance(given, str) else "/"
    if isinstance(stage, str) and stage not in ("", "$default") and f"{path}/".startswith(f"/{stage}/"):
        path = path[len(stage) + 1 :]
    return path if path.startswith("/") else f"/{path}"


def _port(given: str | None) -> str:
    """Behind two proxies there are two: the first is the client's."""
    first = (given or "").partition(",")[0].strip()
    return first if _PORT.fullmatch(first) and int(first) < 65_536 else "443"


def _host(given: str | None) -> str:
    """A name alone: with a port, or as an address with colons, the adapter does not know what it reads."""
    host = (given or "").strip()
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    return name.replace(":", "-") or "localhost"


def _body(given: object, is_base64: object) -> tuple[str, bool]:
    if not isinstance(given, str):
        return "", False
    if is_base64 is not True:
        try:
            given.encode()
        except UnicodeEncodeError:
            return _UNREADABLE, True
        return given, False
    try:
        base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        return _UNREADABLE, True
    return given, True
