"""Following: all that a stream of a turn needs to know, read from one snapshot, on behalf of whoever reads along.

What can go wrong, and why it cannot: somebody is put out, or their device's token or their link is taken back, while their stream
is open. Each look asks again whether they may, in the same statement that reads. So the next look finds nothing.
"""

import json
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text

from core.access import Who, named
from core.ids import SessionId, TurnId
from core.store.asked import APPROVAL, Approval
from core.store.database import Database, Row
from core.store.partials import StoredPartial
from core.store.visitors import VISIT
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class FollowedCall:
    id: str
    message_seq: int
    name: str
    effect: str
    status: str


@dataclass(frozen=True, slots=True)
class FollowedMessage:
    """One that an agent said."""

    seq: int
    agent: str
    # JSON text of blocks.
    content: str


@dataclass(frozen=True, slots=True)
class Followed:
    """A turn from one of its messages on, as it stands."""

    turn_id: TurnId
    session_id: SessionId
    seq: int
    status: str
    has_begun: bool
    has_ended: bool
    is_followed: bool
    # Up to which message it is stored; 0: it has not begun.
    last_seq: int
    # What an agent said, oldest first; and whether there is more than was read.
    messages: tuple[FollowedMessage, ...]
    is_cut: bool
    calls: tuple[FollowedCall, ...]
    approvals: tuple[Approval, ...]
    partial: StoredPartial | None
    # Of the session's row.
    epoch: int
    version: int
    message_seq: int
    # Nobody holds the conversation now.
    is_free: bool


# One turn of a conversation that the caller names, from a message on, if it is there for them.
_LOOK: Final = text(f"""
{VISIT}
SELECT t.id AS turn_id, t.session_id, t.seq, t.status, t.first_seq IS NOT NULL AS has_begun, t.ended_at IS NOT NULL AS has_ended,
    t.is_followed, COALESCE(t.last_seq, 0) AS last_seq, its.lease_epoch AS epoch, its.version, s.message_seq,
    COALESCE(s.lease_expires_at <= clock.at, true) AS is_free,
    (SELECT json_agg(json_build_array(said.seq, said.agent, said.content) ORDER BY said.seq)::text FROM (
        SELECT m.seq, m.agent, m.content FROM messages m
        WHERE m.session_id = t.session_id AND m.seq BETWEEN GREATEST(t.first_seq, :after_seq) AND t.last_seq
            AND m.turn_id = t.id AND m.role = 'assistant' ORDER BY m.seq LIMIT :limit + 1) AS said) AS messages,
    (SELECT json_agg(json_build_array(c.id, c.message_seq, c.name, c.effect, c.status)
        ORDER BY c.message_seq, c.id COLLATE "C")::text FROM tool_calls c
        WHERE c.session_id = t.session_id AND c.turn_id = t.id AND c.message_seq >= :after_seq) AS calls,
    (SELECT json_agg(row_to_json(shown) ORDER BY shown.created_at, shown.id) FROM (
        SELECT {APPROVAL}, its.lease_epoch AS epoch, its.version FROM approvals a
        JOIN tool_calls c ON c.session_id = a.session_id AND c.turn_id = a.turn_id AND c.id = a.tool_call_id
        JOIN messages m ON m.session_id = c.session_id AND m.seq = c.message_seq
        WHERE a.session_id = t.session_id AND a.turn_id = t.id AND c.message_seq >= :after_seq) AS shown) AS approvals,
    p.epoch AS partial_epoch, p.turn_id AS partial_turn, p.seq AS partial_seq, p.agent AS partial_agent, p.content AS partial
FROM its CROSS JOIN clock
JOIN conversation_states s ON s.id = its.id
JOIN turns t ON t.session_id = its.id AND t.id = :turn_id
LEFT JOIN partials p ON p.session_id = its.id AND t.ended_at IS NULL
""")


def look(
    database: Database,
    who: Who,
    turn_id: TurnId,
    after_seq: int,
    *,
    limit: int = 20,
    now: datetime | None = None,
) -> Followed | None:
    """`who` names the conversation. None: the turn is not there for them."""
    given = {**named(who), "turn_id": turn_id, "after_seq": after_seq, "limit": limit, "now": now}
    row = database.row(_LOOK, given)
    return None if row is None else _followed(row, limit)


def _followed(row: Row, limit: int) -> Followed:
    said = [FollowedMessage(*item) for item in json.loads(row["messages"] or "[]")]
    fields: dict[str, Any] = {field: row[field] for field in Followed.__slots__ if field in row}
    fields["messages"] = tuple(said[:limit])
    fields["is_cut"] = len(said) > limit
    fields["calls"] = tuple(FollowedCall(*item) for item in json.loads(row["calls"] or "[]"))
    fields["approvals"] = tuple(Approval.of(asked) for asked in row["approvals"] or ())
    fields["partial"] = None
    if row["partial"] is not None:
        fields["partial"] = StoredPartial(
            row["session_id"],
            row["partial_epoch"],
            row["partial_turn"],
            row["partial_seq"],
            row["partial_agent"],
            row["partial"],
        )
    return Followed(**fields)


# Notes that somebody reads along, if that is not known yet; the holder hears it with the next beat of its heart.
_FOLLOW: Final = text("""
UPDATE turns SET is_followed = true
WHERE session_id = :session_id AND id = :turn_id AND ended_at IS NULL AND NOT is_followed
RETURNING id
""")


def follow(database: Database, session_id: SessionId, turn_id: TurnId) -> None:
    database.row(_FOLLOW, {"session_id": session_id, "turn_id": turn_id})
