"""Upstash's REST protocol: what an HTTP request asks of Redis, and how replies are told. It knows no socket.

    POST /  ["SET", "foo", "bar", "EX", 100]     one command; also GET /set/foo/bar/EX/100, and POST /set/foo?EX=100 with
                                                 the value as the body: path, then body, then query are its words
    POST /pipeline    [["SET", ...], ["GET", ...]]   each is answered on its own: [{"result": ...}, {"error": ...}]
    POST /multi-exec  the same, as one transaction; if it is discarded, one {"error": ...} for all

A reply is {"result": ...} with 200 or {"error": ...} with 400. With `Upstash-Encoding: base64` all strings are encoded,
except the status OK. Where the documentation is silent on a wording, the one that its users report is used.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn
from urllib.parse import unquote_to_bytes

from dev.http.wire import RawRequest
from dev.redis.resp import Refusal, Reply, Status

Json = Any
Command = tuple[bytes, ...]
Shape = Literal["single", "pipeline", "multi-exec"]

MOST_BODY_BYTES = 10 * 1024 * 1024
_METHODS = ("HEAD", "GET", "POST", "PUT")
_IN_QUERY = b"_token"
_UNAUTHORIZED = (
    "WRONGPASS invalid or missing auth token. "
    "See https://upstash.com/docs/redis/troubleshooting/http_unauthorized for details."
)


class NotServed(Exception):
    """A request that is answered without Redis."""

    def __init__(self, status: int, text: str | None) -> None:
        super().__init__(text)
        self.status = status
        self.body = b"" if text is None else dumps({"error": text})


@dataclass(frozen=True, slots=True)
class Asked:
    """An empty command within several is answered in its place; one that stands alone is not served at all."""

    shape: Shape
    commands: tuple[Command, ...]
    base64: bool


def wrong_token() -> NotServed:
    return NotServed(401, _UNAUTHORIZED)


def token_of(raw: RawRequest) -> str:
    scheme, _, token = raw.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    query = raw.path.partition("?")[2]
    return next(
        (value.decode(errors="replace") for name, value in _parameters(query) if name == _IN_QUERY and value),
        "",
    )


def read(raw: RawRequest) -> Asked:
    """What is asked for; NotServed."""
    if raw.method not in _METHODS:
        raise NotServed(405, None)
    if raw.too_large:
        raise NotServed(400, f"ERR max request size exceeded. Limit: {MOST_BODY_BYTES} bytes")
    if raw.headers.get("upstash-response-format", "json") != "json":
        raise NotServed(400, "ERR only the response format json is served here")
    encoded = raw.headers.get("upstash-encoding") == "base64"
    path, _, query = raw.path.partition("?")
    match path.rstrip("/"):
        case "":
            return Asked("single", (_whole(raw.body),), encoded)
        case "/pipeline":
            return Asked("pipeline", _several(raw.body, "pipeline"), encoded)
        case "/multi-exec":
            return Asked("multi-exec", _several(raw.body, "multi-exec"), encoded)
    return Asked("single", (_in_path(path, query, raw.body),), encoded)


# --- commands


def _whole(body: bytes) -> Command:
    command = _words(_loads(body, "command"), "command")
    return command or _refuse("ERR empty command")


def _several(body: bytes, what: str) -> tuple[Command, ...]:
    rows = _loads(body, f"{what} request")
    if not isinstance(rows, list):
        _refuse(f"ERR failed to parse {what} request")
    if not rows:
        _refuse(f"ERR empty {what} request")
    return tuple(_words(row, f"{what} request") for row in rows)


def _in_path(path: str, query: str, body: bytes) -> Command:
    """A slash that belongs to a word comes as %2F, so the path is split before it is decoded."""
    words = [_decoded(part) for part in path[1:].split("/")]
    if body:
        words.append(body)
    for name, value in _parameters(query):
        if name != _IN_QUERY:
            words += [name] if value is None else [name, value]
    return tuple(words)


def _parameters(query: str) -> list[tuple[bytes, bytes | None]]:
    parts = [part.replace("+", " ").partition("=") for part in query.split("&") if part]
    return [(_decoded(name), _decoded(value) if equals else None) for name, equals, value in parts]


def _decoded(part: str) -> bytes:
    """The request line was read as Latin-1, which loses nothing of whatever bytes came."""
    return unquote_to_bytes(part.encode("latin-1"))


def _loads(body: bytes, what: str) -> Json:
    """Numbers are kept as they were written: 1.0 is another argument than 1."""
    try:
        return json.loads(
            body, parse_int=_Number, parse_float=_Number, parse_constant=lambda _: _refuse(_unparsed(what))
        )
    except (ValueError, RecursionError):
        return _refuse(_unparsed(what))


class _Number(str):
    __slots__ = ()


def _words(row: Json, what: str) -> Command:
    if not isinstance(row, list):
        _refuse(_unparsed(what))
    return tuple(_word(value, what) for value in row)


def _word(value: Json, what: str) -> bytes:
    match value:
        case str():
            # Half a surrogate pair cannot be written in UTF-8.
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
        case True:
            return b"true"
        case False:
            return b"false"
    return _refuse(_unparsed(what))


def _unparsed(what: str) -> str:
    return f"ERR failed to parse {what}"


def _refuse(text: str) -> NoReturn:
    raise NotServed(400, text)


# --- replies


def told(asked: Asked, replies: Sequence[Reply] | Refusal) -> tuple[int, bytes]:
    """The status and the body. One reply a command, or a Refusal for a transaction that was discarded as a whole."""
    if isinstance(replies, Refusal):
        return 400, dumps(_element(replies, asked.base64))
    elements = [_element(reply, asked.base64) for reply in replies]
    if asked.shape != "single":
        return 200, dumps(elements)
    return 400 if "error" in elements[0] else 200, dumps(elements[0])


def _element(reply: Reply, encoded: bool) -> Mapping[str, Json]:
    if isinstance(reply, Refusal):
        return {"error": reply.text}
    return {"result": _value(reply, encoded)}


def _value(reply: Reply, encoded: bool) -> Json:
    match reply:
        case list():
            return [_value(one, encoded) for one in reply]
        case Status("OK"):
            return "OK"
        case Status(text) | Refusal(text):
            return _string(text.encode(), encoded)
        case bytes():
            return _string(reply, encoded)
    return reply


def _string(value: bytes, encoded: bool) -> str:
    return base64.b64encode(value).decode() if encoded else value.decode(errors="replace")


def dumps(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
