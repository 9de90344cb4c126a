"""Describing: the calls as OpenAPI tells them, complete. FastAPI says what it knows of each route; here is added what is true of all of
them, and of each what else it answers.

A new call needs a line in ANSWERS: a test says so. What its path, its body and its headers can be refused for follows from those.
"""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from core import errors
from core.editing import LONGEST_KEY
from core.errors import LatchkeyError
from functions.edge import READ
from functions.examples import EXAMPLES
from functions.following import LINKS
from functions.shapes import ProblemShape

Json = dict[str, Any]

_ABOUT = """The backend of conversations with AI agents. Every call names its device (`X-Device-ID`). How a device proves that it is that
device is set by whoever runs the service: not at all (`open`), by its own token (`bound`), or by its user's (`jwt`).
Errors are `application/problem+json` with a stable `code`."""

_SESSION = ("session_not_found", "role_too_small")
_OPERATORS = ("not_admin", "not_found", "token_missing", "token_invalid", "token_expired")
_LOCKED = (*_SESSION, "not_as_seen")

# What each call answers beside what follows from its shape: other successes, and codes of problems.
ANSWERS: dict[str, tuple[str, ...]] = {
    "POST /v1/turns": ("202", *_SESSION, "session_busy", "idempotency_key_reused", "message_too_large", "image_too_large", "budget_exceeded", "rate_exceeded", "session_ended", "last_event_id_without_key"),
    "GET /v1/turns/{turn_id}": ("turn_not_found",),
    "POST /v1/turns/{turn_id}/cancel": ("202", "turn_not_found", "role_too_small"),
    "GET /v1/approvals": (),
    "POST /v1/approvals/{approval_id}": ("approval_not_found", "role_too_small", "approval_decided", "approval_changed", "approval_expired"),
    "GET /v1/sessions": ("cursor_malformed",),
    "POST /v1/sessions": ("idempotency_key_reused",),
    "PUT /v1/session": ("session_not_found",),
    "GET /v1/session": ("session_not_found",),
    "PATCH /v1/session": _LOCKED,
    "DELETE /v1/session": _SESSION,
    "PUT /v1/session/lock": (*_LOCKED, "unknown_agent"),
    "DELETE /v1/session/lock": _LOCKED,
    "GET /v1/session/messages": ("session_not_found",),
    "GET /v1/session/todos": ("session_not_found",),
    "GET /v1/session/audit": _SESSION,
    "GET /v1/sessions/{session_id}": ("session_not_found",),
    "PATCH /v1/sessions/{session_id}": _LOCKED,
    "DELETE /v1/sessions/{session_id}": _SESSION,
    "PUT /v1/sessions/{session_id}/lock": (*_LOCKED, "unknown_agent"),
    "DELETE /v1/sessions/{session_id}/lock": _LOCKED,
    "GET /v1/sessions/{session_id}/messages": ("session_not_found",),
    "GET /v1/sessions/{session_id}/todos": ("session_not_found",),
    "GET /v1/sessions/{session_id}/audit": _SESSION,
    "GET /v1/sessions/{session_id}/members": ("session_not_found",),
    "PUT /v1/sessions/{session_id}/members/{user_id}": (*_LOCKED, "user_not_found", "owner_stays", "too_many_members"),
    "DELETE /v1/sessions/{session_id}/members/{user_id}": (*_LOCKED, "owner_stays"),
    "GET /v1/sessions/{session_id}/links": _SESSION,
    "POST /v1/sessions/{session_id}/links": (*_SESSION, "too_many_links"),
    "DELETE /v1/sessions/{session_id}/links/{link_id}": (*_SESSION, "link_not_found"),
    "POST /v1/sessions/{session_id}/fork": (*_SESSION, "session_busy", "idempotency_key_reused"),
    "POST /v1/sessions/{session_id}/rewind": (*_SESSION, "session_busy", "nothing_to_rewind"),
    "POST /v1/sessions/{session_id}/merge": (*_SESSION, "session_busy", "if_match_missing", "not_as_seen", "not_mergeable"),
    "GET /v1/sessions/{session_id}/revisions": ("session_not_found",),
    "POST /v1/sessions/{session_id}/revisions/{revision_id}/undo": (*_SESSION, "revision_not_found", "session_busy", "too_late_to_undo", "undo_over"),
    "POST /v1/links/join": ("session_not_found", "too_many_members"),
    "POST /v1/devices": ("device_taken", "rate_exceeded"),
    "POST /v1/devices/link": ("not_set_up", "device_taken"),
    "GET /v1/devices": (),
    "DELETE /v1/devices/{device_id}": ("device_not_found",),
    "GET /v1/turns/{turn_id}/events": ("turn_not_found",),
    "GET /v1/session/export": (*_SESSION, "export_changed"),
    "GET /v1/sessions/{session_id}/export": (*_SESSION, "export_changed"),
    "POST /v1/sessions/import": ("import_refused", "idempotency_key_reused", "session_not_found"),
    "DELETE /v1/user": ("nothing_to_erase",),
    "GET /v1/admin/overview": _OPERATORS,
    "GET /v1/admin/series": (*_OPERATORS, "invalid_request"),
    "GET /v1/admin/search": _OPERATORS,
    "GET /v1/admin/sessions/{session_id}": (*_OPERATORS, "session_not_found"),
    "DELETE /v1/admin/sessions/{session_id}": (*_OPERATORS, "session_not_found"),
    "DELETE /v1/admin/sessions/{session_id}/lock": (*_OPERATORS, "session_not_found"),
    "POST /v1/admin/sessions/{session_id}/cancel": (*_OPERATORS, "session_not_found", "turn_not_found"),
    "POST /v1/admin/sessions/{session_id}/recover": (*_OPERATORS, "session_not_found", "queue_unavailable"),
    "GET /health": (),
    "GET /ready": (),
}  # fmt: skip

_EVERYWHERE = ("address_too_long", "headers_too_large", "internal_error")
_DATABASE = (
    "database_unavailable",
    "database_not_configured",
    "database_not_migrated",
    "database_conflict",
    "secrets_unavailable",
    "settings_wrong",
    "answer_too_large",
)
_CALLER = (
    "device_id_missing",
    "device_id_malformed",
    "token_missing",
    "token_invalid",
    "token_expired",
    "device_barred",
)
_BODY = ("bad_json", "invalid_utf8", "body_too_large", "invalid_request")
# Whoever has no token yet gets one here.
_WITHOUT_TOKEN = ("POST /v1/devices",)
# By the name of a header that is read.
_HEADER = {
    "x-share-link": "share_link_malformed",
    "x-session-version": "session_version_malformed",
    "idempotency-key": "idempotency_key_malformed",
    "if-match": "if_match_malformed",
    "last-event-id": "last_event_id_malformed",
}
# What a header must look like; it is read by hand, so that what is wrong with it has a code of its own.
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_LOOKS: dict[str, Json] = {
    "X-Device-ID": {"type": "string", "format": "uuid"},
    "X-Share-Link": {"type": "string", "pattern": rf"^{_UUID}\.[A-Za-z0-9_-]{{43}}$", "format": "share-link"},
    "X-Session-Version": {
        "type": "string",
        "pattern": rf"^{_UUID}\.[0-9]{{1,18}}$",
        "format": "session-version",
    },
    "Idempotency-Key": {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$", "maxLength": 255},
    "If-Match": {"type": "string", "format": "entity-tags"},
    "Last-Event-ID": {"type": "string", "format": "event-id"},
}
_NAMES = {name.lower(): name for name in READ}
# What metadata may hold: a number no further than every reader of JSON knows whole numbers, no NUL.
_METADATA: Json = {
    "anyOf": [
        {"type": "string", "pattern": r"^[^\x00]*$"},
        {"type": "number", "minimum": 1 - 2**53, "maximum": 2**53 - 1},
        {"type": "boolean"},
        {"type": "null"},
        {"type": "array", "items": {"$ref": "#/components/schemas/MetadataValue"}},
        {
            "type": "object",
            "propertyNames": {"maxLength": LONGEST_KEY, "pattern": r"^[^\x00]*$"},
            "additionalProperties": {"$ref": "#/components/schemas/MetadataValue"},
        },
    ]
}
_SHOWN: dict[str, Json] = {
    "X-Request-ID": {"description": "Of this request, in every line of the log about it.", "required": True},
    "X-Session-Version": {"description": "Send it back: nothing older than this answer is shown then."},
    "ETag": {"description": "Of what people edit of it; goes into `If-Match`."},
    "Location": {"description": "Where it is."},
    "Retry-After": {"description": "In how many seconds to send it again."},
    "Allow": {"description": "The methods that the path takes."},
    "WWW-Authenticate": {"description": "How to show who you are."},
    "RateLimit-Limit": {"description": "How many messages may be sent at once."},
    "RateLimit-Remaining": {"description": "How many may still be sent now."},
    "RateLimit-Reset": {"description": "In how many seconds all may be sent again."},
    "Preference-Applied": {"description": "`respond-async`, if that was preferred."},
}


def described(app: FastAPI) -> Json:
    told = get_openapi(title=app.title, version=app.version, description=_ABOUT, routes=app.routes)
    return complete(told)


def complete(told: Json) -> Json:
    shapes = told.setdefault("components", {}).setdefault("schemas", {})
    shapes["ProblemShape"] = _hoisted(ProblemShape.model_json_schema(), shapes)
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            _complete_operation(f"{method.upper()} {path}", operation, shapes)
    for name in ("HTTPValidationError", "ValidationError"):
        shapes.pop(name, None)
    shapes["MetadataValue"] = _METADATA
    for name in ("BeginBody", "EditBody"):
        if name in shapes:
            shapes[name]["properties"]["metadata"] |= _METADATA["anyOf"][-1]
    for name, example in EXAMPLES.items():
        if name in shapes:
            shapes[name].setdefault("examples", [example])
    told["components"]["headers"] = {
        name: {**shown, "schema": {"type": "string"}} for name, shown in _SHOWN.items()
    }
    told["components"]["examples"] = {
        code: {"value": _example(kind)} for code, kind in sorted(_kinds().items())
    }
    told["components"]["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A device's token (mode `bound`) or its user's (mode `jwt`); none in mode `open`.",
        },
        "operator": {
            "type": "http",
            "scheme": "bearer",
            "description": "What whoever runs the service has set as ADMIN_TOKEN; or an operator's own (mode `jwt`).",
        },
    }
    return told


def _complete_operation(call: str, operation: Json, shapes: Json) -> None:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["schema"] = _named(_hoisted(content["schema"], shapes), shapes)
    if "/v1/" in call:
        scheme = "operator" if "/v1/admin/" in call else "token"
        operation["security"] = [{scheme: []}, *([{}] if call in _WITHOUT_TOKEN else [])]
    for parameter in operation.get("parameters", []):
        _complete_parameter(parameter)
    answers = operation["responses"]
    answers.pop("422", None)
    if call in ANSWERS:
        answers.pop("default", None)
    elif "default" in answers:
        answers["default"] = _problem(500, ["internal_error"])
    _add_successes(call, operation)
    codes = {code for code in _codes(call, operation) if code in _kinds()}
    for status in sorted({known(code).status for code in codes}):
        answers[str(status)] = _problem(
            status, sorted(code for code in codes if known(code).status == status)
        )
    operation["responses"] = dict(sorted(answers.items()))


def _complete_parameter(parameter: Json) -> None:
    """A header that may be left out is never `null`, which is what Python's None says."""
    schema = parameter["schema"]
    name = parameter["name"].lower()
    if "anyOf" in schema:
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        schema = {**next(kind for kind in schema["anyOf"] if kind.get("type") != "null"), **rest}
    if parameter["in"] == "header":
        parameter["name"] = _NAMES.get(name, parameter["name"])
        schema = {**schema, **_LOOKS.get(parameter["name"], {})}
    parameter["schema"] = schema
    if name == "x-device-id":
        parameter["required"] = True


def _add_successes(call: str, operation: Json) -> None:
    answers = operation["responses"]
    for more in (answer for answer in ANSWERS.get(call, ()) if answer.isdigit()):
        answers[more] = deepcopy(answers["200"])
        answers[more]["description"] = "It goes on: look again where `Location` says"
    for status, answer in answers.items():
        if status.startswith("2"):
            answer["headers"] = {**answer.get("headers", {}), **_headers(*_success_headers(call, status))}
            if call in LINKS and status in LINKS[call]:
                answer["links"] = LINKS[call][status]


def _success_headers(call: str, status: str) -> Iterator[str]:
    yield "X-Request-ID"
    method, _, path = call.partition(" ")
    if path.startswith("/v1/session") and path.endswith(("/session", "{session_id}", "/lock", "/sessions")):
        yield "X-Session-Version"
        if method != "DELETE" or path.endswith("/lock"):
            yield "ETag"
    if path.endswith(("/members", "/members/{user_id}")) and method != "DELETE":
        yield "ETag"
    if path.endswith(("/fork", "/rewind", "/merge", "/undo")):
        yield "X-Session-Version"
    if path.endswith(("/fork", "/merge")):
        yield "ETag"
    if path.startswith("/v1/turns"):
        yield from ("X-Session-Version", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
    if status == "202":
        yield from ("Location", "Retry-After", "Preference-Applied")
    if status == "201":
        yield "Location"


def _codes(call: str, operation: Json) -> Iterator[str]:
    """Of all problems that the call can end in."""
    yield from _EVERYWHERE
    yield from (code for code in ANSWERS.get(call, ()) if not code.isdigit())
    if "/v1/" in call or call.endswith("/ready"):
        yield from _DATABASE
    if "/v1/" in call and "/v1/admin/" not in call:
        yield from _CALLER
    if "requestBody" in operation:
        yield from _BODY
    for parameter in operation.get("parameters", []):
        if parameter["in"] != "header":
            yield "invalid_request"
        elif parameter["name"].lower() in _HEADER:
            yield _HEADER[parameter["name"].lower()]


def _problem(status: int, codes: list[str]) -> Json:
    kinds = [known(code) for code in codes]
    named = ["X-Request-ID"]
    if status == 401:
        named.append("WWW-Authenticate")
    if status == 429 or any(kind.retry_after_s for kind in kinds):
        named.append("Retry-After")
    return {
        "description": "; ".join(f"`{kind.code}`: {kind.title}" for kind in kinds),
        "headers": _headers(*named),
        "content": {
            "application/problem+json": {
                "schema": {"$ref": "#/components/schemas/ProblemShape"},
                "examples": {kind.code: {"$ref": f"#/components/examples/{kind.code}"} for kind in kinds},
            }
        },
    }


def _example(kind: type[LatchkeyError]) -> Json:
    return {
        "type": f"urn:latchkey:problem:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "code": kind.code,
        "detail": kind().detail,
        "request_id": "JKJaXmPLvHcESHA=",
    }


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


@cache
def _kinds() -> dict[str, type[LatchkeyError]]:
    def below(kind: type[LatchkeyError]) -> Iterator[type[LatchkeyError]]:
        yield kind
        for more in kind.__subclasses__():
            yield from below(more)

    return {kind.code: kind for kind in below(errors.LatchkeyError) if kind.__module__ == errors.__name__}


def known(code: str) -> type[LatchkeyError]:
    """A problem's class by its code."""
    return _kinds()[code]


def _hoisted(schema: Json, shapes: Json) -> Json:
    """Shapes within a shape stand beside it, where references of the whole document find them."""
    for name, inner in schema.pop("$defs", {}).items():
        shapes[name] = _referring(inner)
    hoisted: Json = _referring(schema)
    return hoisted


def _referring(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: inner.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _referring(inner)
            for key, inner in value.items()
        }
    return [_referring(inner) for inner in value] if isinstance(value, list) else value


def _named(schema: Json, shapes: Json) -> Json:
    name = schema.get("title")
    if name is None or "$ref" in schema:
        return schema
    shapes[name] = schema
    return {"$ref": f"#/components/schemas/{name}"}
