"""Examples of answers, by the name of their shape; a test holds each against it."""

from typing import Any

_SESSION_ID = "0b7c5d3e-8a5f-4d0b-9c1e-2f6a7b8c9d0e"
_TURN_ID = "5a4d3f2b-8c1e-4c7b-9e1f-2a6d8b0c4e57"
_USER_ID = "3f2b8c1e-5a4d-4c7b-9e1f-2a6d8b0c4e57"
_AT, _LATER = "2026-05-01T09:30:00.000Z", "2026-05-01T10:00:00.000Z"
_USAGE = {
    "input_tokens": 812,
    "output_tokens": 96,
    "cache_read_tokens": 0,
    "cache_write_tokens": 0,
    "cost_usd": 0.003876,
}
_APPROVAL: dict[str, Any] = {
    "id": "9c1e2f6a-7b8c-4d0e-8b7c-5d3e8a5f4d0b",
    "session_id": _SESSION_ID,
    "turn_id": _TURN_ID,
    "tool_call_id": "toolu_01A09q90qw90lq917835lq9",
    "kind": "call",
    "tool": "refund",
    "agent": "billing",
    "arguments": {"invoice": "2026-117", "amount": 40},
    "input_digest": "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4",
    "role": "owner",
    "status": "pending",
    "note": None,
    "created_at": _AT,
    "expires_at": _LATER,
    "decided_at": None,
}
_LISTED: dict[str, Any] = {
    "id": _SESSION_ID,
    "role": "owner",
    "active_agent": "billing",
    "busy": False,
    "metadata": {"title": "Invoices"},
    "created_at": _AT,
    "last_active_at": _AT,
    "expires_at": _LATER,
}
_LINK: dict[str, Any] = {
    "id": "7b8c9d0e-2f6a-4c1e-8d0b-8a5f5d3e0b7c",
    "role": "viewer",
    "created_at": _AT,
    "expires_at": _LATER,
}
_MEMBER: dict[str, Any] = {"user_id": _USER_ID, "role": "owner", "is_owner": True, "since": _AT}

EXAMPLES: dict[str, dict[str, Any]] = {
    "SessionShape": {
        **_LISTED,
        "locked_at": _AT,
        "lock_expires_at": _LATER,
        "session_ttl": 1800,
        "state": {
            "active_step": "idle",
            "recent_tools": ["find_invoices"],
            "sequence": 4,
            "tokens_used": 908,
        },
        "usage": _USAGE,
    },
    "TurnShape": {
        "id": _TURN_ID,
        "session_id": _SESSION_ID,
        "seq": 1,
        "status": "completed",
        "agent": "billing",
        "reply": "Your last invoice is paid.",
        "content": [{"type": "text", "text": "Your last invoice is paid."}],
        "tool_calls": [],
        "approvals": [],
        "usage": _USAGE,
        "error": None,
        "created_at": _AT,
        "ended_at": "2026-05-01T09:30:02.417Z",
        "stateless": False,
    },
    "ApprovalShape": _APPROVAL,
    "ApprovalsShape": {"items": [_APPROVAL]},
    "MessagesShape": {
        "items": [
            {
                "seq": 1,
                "turn_id": _TURN_ID,
                "role": "user",
                "agent": None,
                "content": [{"type": "text", "text": "Is my last invoice paid?"}],
                "created_at": _AT,
                "left_out": False,
                "origin": None,
            }
        ],
        "next": None,
    },
    "TodosShape": {
        "items": [{"position": 1, "content": "Look the invoice up", "status": "completed", "updated_at": _AT}]
    },
    "AuditShape": {
        "items": [
            {
                "id": 17,
                "at": _AT,
                "actor": "user",
                "user_id": _USER_ID,
                "action": "lock_set",
                "agent": "billing",
                "until": _LATER,
                "reason": None,
                "turn_id": None,
            }
        ],
        "next": None,
    },
    "ListedPage": {"items": [_LISTED], "next": None},
    "MembersShape": {"items": [_MEMBER]},
    "LinksShape": {"items": [_LINK]},
    "NewLinkShape": {**_LINK, "link": f"{_SESSION_ID}.{'A1b2C3d4' * 5}xyz"},
    "ProblemShape": {
        "type": "urn:latchkey:problem:session_not_found",
        "title": "Session not found",
        "status": 404,
        "code": "session_not_found",
        "detail": "This device is in no conversation: it has begun none, or the last one has ended.",
        "request_id": "JKJaXmPLvHcESHA=",
    },
}
