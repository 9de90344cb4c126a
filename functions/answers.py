"""What goes out: JSON that can carry every text that JSON can, and the shapes that clients rely on."""

import json
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from core.content import Blocks, dump
from core.ids import SessionId
from core.model.bill import counted
from core.shown import Turn
from core.store.asked import Approval
from core.store.audit import Note
from core.store.messages import Page
from core.store.sessions import StoredSession
from core.store.todos import Todo

# What a function may answer with is 6 MB, escaped once more; a message that came in one request is less than this.
_MOST_OF_A_MESSAGE = 5_500_000
_NOT_SHOWN = {
    "type": "text",
    "text": "(An image was left out here: the message is too large to be shown whole.)",
}


class JsonAnswer(Response):
    """Starlette's own cannot answer with a lone surrogate; this one escapes it."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return dump(content).encode()


def version_header(session_id: SessionId, version: int) -> dict[str, str]:
    return {"X-Session-Version": f"{session_id}.{version}"}


def turn_shape(turn: Turn) -> dict[str, Any]:
    return {
        "id": str(turn.id),
        "session_id": None if turn.session_id is None else str(turn.session_id),
        "seq": turn.seq,
        "status": turn.status,
        "agent": turn.agent,
        "reply": turn.reply,
        "content": turn.content,
        "tool_calls": turn.tool_calls,
        "approvals": [approval_shape(approval) for approval in turn.approvals],
        "usage": usage_shape(turn.usage),
        "error": turn.error,
        "created_at": moment(turn.created_at),
        "ended_at": moment(turn.ended_at),
        "stateless": turn.stateless,
    }


def approval_shape(approval: Approval) -> dict[str, Any]:
    return {
        "id": str(approval.id),
        "session_id": str(approval.session_id),
        "turn_id": str(approval.turn_id),
        "tool_call_id": approval.tool_call_id,
        "kind": approval.kind,
        "tool": approval.tool,
        "agent": approval.agent,
        "arguments": approval.arguments,
        "input_digest": approval.input_digest,
        "role": approval.role,
        "status": approval.status,
        "note": approval.note,
        "created_at": moment(approval.created_at),
        "expires_at": moment(approval.expires_at),
        "decided_at": moment(approval.decided_at),
    }


def session_shape(session: StoredSession) -> dict[str, Any]:
    return {
        "id": str(session.id),
        "role": session.held_as,
        "active_agent": session.active_agent,
        "locked_at": moment(session.locked_at),
        "lock_expires_at": moment(session.lock_expires_at),
        "session_ttl": session.session_ttl,
        "busy": session.busy,
        "state": session.state,
        "metadata": session.metadata,
        "usage": usage_shape(session.usage),
        "created_at": moment(session.created_at),
        "last_active_at": moment(session.last_active_at),
        "expires_at": moment(session.expires_at),
    }


def page_shape(page: Page, *, backwards: bool) -> dict[str, Any]:
    items = [
        {
            "seq": message.seq,
            "turn_id": str(message.turn_id),
            "role": message.role,
            "agent": message.agent,
            "content": _in_bounds(message.content),
            "created_at": moment(message.created_at),
            "left_out": message.left_out,
            "origin": None
            if message.origin_session is None
            else {"session_id": str(message.origin_session), "seq": message.origin_seq},
        }
        for message in page.items
    ]
    edge = items[0 if backwards else -1]["seq"] if page.more else None
    return {"items": items, "next": edge}


def todo_shape(todo: Todo) -> dict[str, Any]:
    return {
        "position": todo.position,
        "content": todo.content,
        "status": todo.status,
        "updated_at": moment(todo.updated_at),
    }


def note_shape(note: Note) -> dict[str, Any]:
    return {
        "id": note.id,
        "at": moment(note.at),
        "actor": note.actor,
        "user_id": None if note.user_id is None else str(note.user_id),
        "action": note.action,
        "agent": note.agent,
        "until": moment(note.until),
        "reason": note.reason,
        "turn_id": None if note.turn_id is None else str(note.turn_id),
    }


def _in_bounds(content: str) -> Blocks:
    """A message as it is, unless several that were merged are more than an answer can carry: then without images."""
    blocks: Blocks = json.loads(content)
    if len(content) <= _MOST_OF_A_MESSAGE:
        return blocks
    return [_NOT_SHOWN if block["type"] == "image" else block for block in blocks]


def usage_shape(usage: dict[str, Any]) -> dict[str, Any]:
    spent = counted(usage)
    cost = spent.get("cost_micros")
    return {
        "input_tokens": spent["input_tokens"],
        "output_tokens": spent["output_tokens"],
        "cache_read_tokens": spent["cache_read_input_tokens"],
        "cache_write_tokens": spent["cache_creation_input_tokens"],
        # None: some of it was spent on a model whose price is not known here.
        "cost_usd": None if cost is None else cost / 1_000_000,
    }


def moment(at: datetime | None) -> str | None:
    return (
        None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
