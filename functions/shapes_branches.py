"""The shapes of forks, rewinds, merges and what can be taken back of them."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from functions.shapes import SessionShape


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ForkBody(_Shape):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"metadata": {"title": "Plan B"}}]}
    )

    # The last message that is copied: the last of a turn that has ended. Without it: the newest such.
    at: Annotated[int, Field(ge=1, le=2**62)] | None = None
    # In place of the conversation's own.
    metadata: dict[str, Any] | None = None


class RewindBody(_Shape):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"to": 0}]})

    # The last message that is still told to the model. 0: none is.
    to: Annotated[int, Field(ge=0, le=2**62)]


class KeepBody(_Shape):
    lock: Literal["target", "source"] = "target"
    todos: Literal["target", "source", "both"] = "both"
    metadata: Literal["target", "source"] = "target"


class MergeBody(_Shape):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"from": "7b0c5a3e-9a0e-4a4b-8a57-0d5f6f1f2a11", "preview": True}]},
    )

    # The conversation that becomes a part of this one.
    from_: Annotated[UUID, Field(alias="from")]
    preview: bool = False
    # Whose is kept where both have something.
    keep: KeepBody = KeepBody()


class ConflictShape(_Shape):
    kind: Literal["lock", "todos", "metadata"]
    # Of metadata: which.
    field: str | None
    target: Any
    source: Any
    kept: Literal["target", "source", "both"]


class PreviewShape(_Shape):
    from_: Annotated[UUID, Field(alias="from")]
    into: UUID
    messages: int
    turns: int
    conflicts: list[ConflictShape]
    # For `If-Match`: a merge with it is of just these two as they are now.
    etag: str


class RevisionShape(_Shape):
    id: UUID
    kind: Literal["rewind", "merge"]
    # A merge: the conversation that became a part of this one.
    source_id: UUID | None
    # The messages that it took out, or brought.
    first_seq: int
    last_seq: int
    created_at: datetime
    created_by: UUID | None
    undo_until: datetime
    undone_at: datetime | None
    # What had been changed by others when it was undone, and was not put back.
    left: list[str]


class RevisionsShape(_Shape):
    items: list[RevisionShape]


class RevisedShape(_Shape):
    revision: RevisionShape
    session: SessionShape
