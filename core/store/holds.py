"""What a claim gives: the hold on a conversation, and the turn to be gone on with."""

import json
from datetime import datetime
from typing import Any, Final

from core.content import Compaction, Message, load_sendable
from core.ids import SessionId, TurnId, UserId
from core.store.database import Row
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Hold:
    """The right to write, and the numbers that every write names. A write gives the hold that the next one names."""

    session_id: SessionId
    turn_id: TurnId
    epoch: int
    message_seq: int
    signal_seq: int


@dataclass(frozen=True, slots=True)
class Remembered:
    """What this process still knows of a conversation: all its messages up to `seq`, unless `rewrites` has moved on."""

    session_id: SessionId
    rewrites: int
    seq: int


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A tool call whose result is not yet part of a message."""

    id: str
    name: str
    effect: str
    status: str
    result: str | None


@dataclass(frozen=True, slots=True)
class Grant:
    """The conversation is ours: its turn, and what was said up to and with the message to be answered."""

    hold: Hold
    user_id: UserId
    turn_seq: int
    turn_created_at: datetime
    first_seq: int
    turn_usage: dict[str, Any]
    session_usage: dict[str, Any]
    active_agent: str | None
    rewrites: int
    # What of the history was asked for: what the model is told of it, or what came after the last message that the
    # process remembers.
    history: tuple[Message, ...]
    # What stands for the messages before the history, if some were compacted; not given to one that remembers.
    compaction: Compaction | None = None
    # The agent of the turn's last reply, if it has one.
    said_by: str | None = None
    stop: str | None = None
    input: str | None = None
    crashes: int = 0
    calls: tuple[OpenCall, ...] = ()
    # Somebody reads along.
    is_followed: bool = False


# One JSON array, so that it is parsed in one go, of a message's fields in their order. What was rolled back is not told to the model.
HISTORY: Final = """
    SELECT '[' || string_agg(
        '[' || m.seq || ',"' || m.role || '",' || m.content || ',"' || COALESCE(m.prefix_digest, '') || '","'
        || COALESCE(m.stop_reason, '') || '",' || octet_length(m.content) || ']', ',' ORDER BY m.seq) || ']'
    FROM messages m
    WHERE NOT m.left_out
"""

# What stands for the beginning of the history. Who remembers knows it: a compaction counts `rewrites` up.
OVERLAY: Final = """
    SELECT c.upto_seq, c.content FROM compactions c
    WHERE NOT c.left_out AND k.floor = 0 AND c.session_id = k.session_id
    ORDER BY c.upto_seq DESC LIMIT 1
"""

# After which message the history is asked for: what the caller remembers counts only while nothing was rewritten.
FLOOR: Final = "CASE WHEN s.id = :known_session AND s.rewrites = :known_rewrites THEN CAST(:known_seq AS bigint) ELSE 0 END"


def remembered(known: Remembered | None) -> dict[str, Any]:
    return {
        "known_session": known.session_id if known else None,
        "known_rewrites": known.rewrites if known else -1,
        "known_seq": known.seq if known else 0,
    }


def read_history(text: str | None) -> tuple[Message, ...]:
    if text is None:
        return ()
    return tuple(Message(*fields) for fields in load_sendable(text))


def read_compaction(row: Row) -> Compaction | None:
    return None if row["upto_seq"] is None else Compaction(row["upto_seq"], row["compaction"])


def read_calls(text: str | None) -> tuple[OpenCall, ...]:
    return tuple(OpenCall(**call) for call in json.loads(text or "[]"))


def hold_of(row: Row, turn_id: TurnId) -> Hold:
    return Hold(
        SessionId(row["session_id"]), turn_id, row["lease_epoch"], row["message_seq"], row["signal_seq"]
    )
