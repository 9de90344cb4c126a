"""The shapes of what operators see of one conversation, and of what they did to it."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import ConfigDict

from functions.shapes import Shape, UsageShape


class TokensShape(Shape):
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int


class SeenMessageShape(Shape):
    seq: int
    role: Literal["user", "assistant"]
    agent: str | None
    stop_reason: str | None
    created_at: datetime
    # It is no longer part of what the model is told.
    left_out: bool
    # How long it is as it is stored: JSON in UTF-8.
    bytes: int
    # None: nobody was asked for it.
    usage: TokensShape | None


class SeenCallShape(Shape):
    id: str
    name: str
    effect: Literal["read", "idempotent", "once"]
    status: Literal["asked", "ready", "started", "done", "failed", "unknown", "denied", "dropped"]
    message_seq: int
    created_at: datetime
    ended_at: datetime | None
    # When a person said what had come of it, where nobody could know.
    settled_at: datetime | None


class SeenApprovalShape(Shape):
    id: UUID
    tool_call_id: str
    kind: Literal["call", "outcome"]
    status: Literal["pending", "approved", "denied", "expired", "withdrawn"]
    role: Literal["owner", "editor", "viewer"]
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None


class StagesShape(Shape):
    """Milliseconds of all who worked on the turn together."""

    claim: float
    model: float
    tools: float
    finish: float


class RunShape(Shape):
    """How the work on a turn went; what is not known of it is None."""

    stages_ms: StagesShape | None
    # The leases that it was worked on under.
    epochs: list[int] | None
    # Where what was said before came from.
    history: str | None


class SeenTurnShape(Shape):
    id: UUID
    seq: int
    status: Literal["queued", "running", "waiting", "completed", "failed", "cancelled", "joined"]
    agent: str | None
    # The turn that answers its message along with its own.
    joined_to: UUID | None
    stop: Literal["cancel", "interrupt", "rollback"] | None
    # How many functions died over it.
    crashes: int
    error_code: str | None
    usage: UsageShape
    # None: a release worked on it that kept nothing of this, or nobody has yet.
    run: RunShape | None
    created_at: datetime
    # From when it was accepted until it was begun with, or until now. None: it ended without that.
    queued_s: float | None
    ended_at: datetime | None
    messages: list[SeenMessageShape]
    calls: list[SeenCallShape]
    approvals: list[SeenApprovalShape]


class SeenNoteShape(Shape):
    id: int
    at: datetime
    actor: str
    user_id: UUID | None
    action: str
    agent: str | None
    until: datetime | None
    turn_id: UUID | None


class SeenCompactionShape(Shape):
    upto_seq: int
    created_at: datetime
    agent: str
    left_out: bool


class SeenSessionShape(Shape):
    id: UUID
    user_id: UUID
    org_id: UUID | None
    as_of: datetime
    is_alive: bool
    active_agent: str | None
    locked_at: datetime | None
    lock_expires_at: datetime | None
    # Its time is not over. Once it is, nobody holds it, whether or not that was cleaned up.
    lock_is_held: bool
    lease_epoch: int
    lease_expires_at: datetime | None
    # A function is at work on it now.
    lease_is_held: bool
    version: int
    message_seq: int
    turn_seq: int
    open_turns: int
    members: int
    usage: UsageShape
    created_at: datetime
    last_active_at: datetime
    expires_at: datetime
    forked_from: UUID | None
    merged_into: UUID | None
    compactions: list[SeenCompactionShape]
    turns: list[SeenTurnShape]
    # What to give as `before` for those before them; None: there are none.
    next_turns: int | None
    audit: list[SeenNoteShape]
    next_audit: int | None


class FoundSessionShape(Shape):
    session_id: UUID
    found_by: Literal["session", "user"]
    user_id: UUID
    active_agent: str | None
    is_alive: bool
    created_at: datetime
    last_active_at: datetime


class FoundShape(Shape):
    items: list[FoundSessionShape]
    more: bool


class CancelBody(Shape):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"turn_id": "5a4d3f2b-8c1e-4c7b-9e1f-2a6d8b0c4e57"}]},
    )

    # None: all that have not ended.
    turn_id: UUID | None = None


class DoneShape(Shape):
    outcome: Literal[
        "cleared",
        "nothing_to_clear",
        "cancelled",
        "stopping",
        "nothing_to_cancel",
        "woken",
        "is_held",
        "nothing_to_recover",
    ]
    # How many turns were ended by it, or told to stop.
    turns: int
    # Until when a function holds the conversation, where that is why nothing was done.
    held_until: datetime | None
    session: SeenSessionShape
