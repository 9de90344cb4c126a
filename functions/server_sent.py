"""Events as they go over the wire: server-sent ones, each with the position that it leads its reader to as its ID."""

from collections.abc import Callable
from typing import Any, Final

from core.content import dump
from core.ids import TurnId
from core.position import Position
from core.shown import Turn
from core.store.asked import Approval
from core.telling import Event
from functions.answers import approval_shape, turn_shape

MEDIA_TYPE: Final = "text/event-stream"
RETRY: Final = b"retry: 1000\n\n"
HEARTBEAT: Final = b": still here\n\n"

# Looks at a turn that has ended.
Ended = Callable[[TurnId], Turn]


def encoded_alone(turn: Turn) -> bytes:
    """A turn that was answered and not stored: it cannot be gone on with."""
    told = [
        _lines("turn_started", {"turn_id": str(turn.id), "session_id": None, "seq": turn.seq}),
        _lines("agent_changed", {"agent": turn.agent, "previous": None}),
    ]
    for place, block in enumerate(turn.content):
        if block.get("type") == "text":
            told.append(_lines("text_delta", {"message_seq": 0, "block": place, "text": block["text"]}))
    return b"".join([*told, _lines("turn_ended", {"turn": turn_shape(turn)})])


def encoded(event: Event, ended: Ended, turn_id: TurnId) -> bytes:
    about: Any = event.about
    if event.name == "turn_ended":
        about = {"turn": turn_shape(ended(turn_id))}
    elif isinstance(about, Approval):
        about = approval_shape(about)
    # One that ends a stream early leads nowhere: who comes back goes on from the one before.
    return _lines(event.name, about, None if event.name == "access_ended" else event.position)


def _lines(name: str, about: Any, position: Position | None = None) -> bytes:
    id_ = "" if position is None else f"id: {position}\n"
    return f"{id_}event: {name}\ndata: {dump(about)}\n\n".encode()
