"""Following: which call goes on from which, as OpenAPI's links tell it."""

import re
from typing import Any

_DEVICE = {"header.X-Device-ID": "$request.header.X-Device-ID"}


def _link(operation: str, **parameters: str) -> dict[str, Any]:
    return {"operationId": operation, "parameters": {**_DEVICE, **parameters}}


def _id(call: str) -> str:
    """As FastAPI names an operation: the function, its path, its method."""
    name, method, path = call.split(" ")
    return re.sub(r"\W", "_", f"{name}{path}_{method}")


def _operators(operation: str, session_id: str) -> dict[str, Any]:
    """Theirs name no device."""
    return {"operationId": operation, "parameters": {"session_id": session_id}}


_NAMED = "/v1/sessions/{session_id}"
_SEEN = "/v1/admin/sessions/{session_id}"
_ID, _SESSION = "$response.body#/id", "$response.body#/session_id"
_SAME = "$request.path.session_id"

_TURN = {
    "look": _link(_id("look get /v1/turns/{turn_id}"), turn_id=_ID),
    "cancel": _link(_id("cancel post /v1/turns/{turn_id}/cancel"), turn_id=_ID),
    "events": _link(_id("events get /v1/turns/{turn_id}/events"), turn_id=_ID),
    "fork": _link(_id(f"fork post {_NAMED}/fork"), session_id=_SESSION),
    "rewind": _link(_id(f"rewind post {_NAMED}/rewind"), session_id=_SESSION),
    "conversation": _link(_id(f"look get {_NAMED}"), session_id=_SESSION),
    "seen": _operators(_id(f"see get {_SEEN}"), _SESSION),
}
_ACTS = {
    "clear_lock": _operators(_id(f"clear_lock delete {_SEEN}/lock"), _ID),
    "cancel": _operators(_id(f"cancel post {_SEEN}/cancel"), _ID),
    "recover": _operators(_id(f"recover post {_SEEN}/recover"), _ID),
    "end": _operators(_id(f"end delete {_SEEN}"), _ID),
}
_OF_SESSION = {
    "look": _link(_id(f"look get {_NAMED}"), session_id=_ID),
    "edit": _link(_id(f"edit patch {_NAMED}"), session_id=_ID),
    "end": _link(_id(f"end delete {_NAMED}"), session_id=_ID),
    "messages": _link(_id(f"read get {_NAMED}/messages"), session_id=_ID),
    "lock": _link(_id(f"set_lock put {_NAMED}/lock"), session_id=_ID),
    "members": _link(_id(f"list_members get {_NAMED}/members"), session_id=_ID),
    "make_link": _link(_id(f"make_link post {_NAMED}/links"), session_id=_ID),
    "enter": {
        "operationId": _id("enter put /v1/session"),
        "parameters": _DEVICE,
        "requestBody": {"session_id": _ID},
    },
}

# By call and status.
LINKS: dict[str, dict[str, Any]] = {
    "POST /v1/turns": {"200": _TURN, "202": _TURN},
    "GET /v1/turns/{turn_id}": {"200": _TURN},
    "POST /v1/sessions": {"201": _OF_SESSION},
    "GET /v1/session": {"200": _OF_SESSION},
    "GET /v1/sessions/{session_id}/members": {
        "200": {
            "change": _link(
                _id(f"let_in put {_NAMED}/members/{{user_id}}"),
                session_id=_SAME,
                user_id="$response.body#/items/0/user_id",
            ),
            "put_out": _link(
                _id(f"put_out delete {_NAMED}/members/{{user_id}}"),
                session_id=_SAME,
                user_id="$response.body#/items/0/user_id",
            ),
        }
    },
    "POST /v1/sessions/{session_id}/rewind": {
        "200": {"revisions": _link(_id(f"revisions get {_NAMED}/revisions"), session_id=_SAME)}
    },
    "GET /v1/sessions/{session_id}/revisions": {
        "200": {
            "undo": _link(
                _id(f"undo post {_NAMED}/revisions/{{revision_id}}/undo"),
                session_id=_SAME,
                revision_id="$response.body#/items/0/id",
            )
        }
    },
    "POST /v1/sessions/{session_id}/links": {
        "201": {
            "revoke": _link(
                _id(f"revoke_link delete {_NAMED}/links/{{link_id}}"), session_id=_SAME, link_id=_ID
            ),
            "list": _link(_id(f"list_links get {_NAMED}/links"), session_id=_SAME),
            "join": {
                "operationId": _id("join post /v1/links/join"),
                "parameters": _DEVICE,
                "requestBody": {"link": "$response.body#/link"},
            },
        }
    },
    "GET /v1/sessions": {
        "200": {"look": _link(_id(f"look get {_NAMED}"), session_id="$response.body#/items/0/id")}
    },
    "GET /v1/admin/sessions/{session_id}": {"200": _ACTS},
}
