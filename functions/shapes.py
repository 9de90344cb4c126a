"""The shapes of requests and answers, as OpenAPI tells them. A test holds every answer against them."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from core.policies import OnBusy


class Shape(BaseModel):
    # Built when somebody asks for it: what is told of the calls, and tests.
    model_config = ConfigDict(extra="forbid", defer_build=True)


# Something that can be seen, and no NUL.
Said = Annotated[str, Field(pattern=r"^[^\x00]*\S[^\x00]*$")]


class TextBlock(Shape):
    type: Literal["text"]
    text: Said


class ImageSource(Shape):
    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    # Base64.
    data: Annotated[str, Field(json_schema_extra={"format": "image"})]


class ImageBlock(Shape):
    type: Literal["image"]
    source: ImageSource


class DocumentSource(Shape):
    type: Literal["text"]
    media_type: Literal["text/plain"]
    data: Said


class DocumentBlock(Shape):
    type: Literal["document"]
    source: DocumentSource
    title: str | None = None


class TurnBody(Shape):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"message": "My name is Ada."}]}
    )

    message: Said | Annotated[list[TextBlock | ImageBlock | DocumentBlock], Field(min_length=1)]
    # Into which conversation. None: the one that the device is in; where that is none, a new one begins.
    session_id: UUID | None = None
    on_busy: OnBusy = OnBusy.QUEUE
    wait_s: Annotated[float, Field(ge=0, le=25)] = 25


class UsageShape(Shape):
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_usd: float | None


class TurnError(Shape):
    code: str
    detail: str


class ApprovalShape(Shape):
    id: UUID
    session_id: UUID
    turn_id: UUID
    tool_call_id: str
    kind: Literal["call", "outcome"]
    tool: str
    agent: str | None
    arguments: dict[str, Any] | None
    input_digest: str
    role: Literal["owner", "editor", "viewer"]
    status: Literal["pending", "approved", "denied", "expired", "withdrawn"]
    note: str | None
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None


class ApprovalsShape(Shape):
    items: list[ApprovalShape]


class DecisionBody(Shape):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"decision": "deny", "note": "Not this month."}],
            "anyOf": [
                {
                    "properties": {
                        "decision": {"const": "approve"},
                        "input_digest": {"type": "string"},
                        "note": {"type": "null"},
                    },
                    "required": ["decision", "input_digest"],
                },
                {"properties": {"decision": {"enum": ["deny", "happened", "did_not_happen"]}}},
            ],
        },
    )

    decision: Literal["approve", "deny", "happened", "did_not_happen"]
    # With `approve`: of the arguments that the person was shown.
    input_digest: str | None = None
    note: Annotated[str | None, Field(max_length=500, pattern=r"^[^\x00]*$")] = None


class TurnShape(Shape):
    id: UUID
    session_id: UUID | None
    seq: int
    status: Literal["queued", "running", "waiting", "completed", "failed", "cancelled"]
    agent: str | None
    reply: str | None
    content: list[dict[str, Any]]
    tool_calls: list[dict[str, Any]]
    approvals: list[ApprovalShape]
    usage: UsageShape
    error: TurnError | None
    created_at: datetime
    ended_at: datetime | None
    stateless: bool


class LockBody(Shape):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"agent": "billing"}]})

    agent: Annotated[str, Field(max_length=50)]
    ttl_s: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    reason: Annotated[str, Field(max_length=500)] | None = None


class TodoShape(Shape):
    position: int
    content: str
    status: Literal["pending", "in_progress", "completed"]
    updated_at: datetime


class TodosShape(Shape):
    items: list[TodoShape]


class NoteShape(Shape):
    id: int
    at: datetime
    actor: str
    user_id: UUID | None
    action: str
    agent: str | None
    until: datetime | None
    reason: str | None
    turn_id: UUID | None


class AuditShape(Shape):
    items: list[NoteShape]
    next: int | None


class SessionShape(Shape):
    id: UUID
    # What whoever asks is in it.
    role: Literal["owner", "editor", "viewer"]
    active_agent: str | None
    locked_at: datetime | None
    lock_expires_at: datetime | None
    session_ttl: int
    busy: bool
    state: dict[str, Any]
    metadata: dict[str, Any]
    usage: UsageShape
    created_at: datetime
    last_active_at: datetime
    expires_at: datetime


class OriginShape(Shape):
    session_id: UUID
    seq: int


class MessageShape(Shape):
    seq: int
    turn_id: UUID
    role: Literal["user", "assistant"]
    agent: str | None
    content: list[dict[str, Any]]
    created_at: datetime
    # It is no longer part of what the model is told: its turn was rolled back, or the conversation was rewound.
    left_out: bool
    # Where it was said first, if that was in another conversation.
    origin: OriginShape | None


class MessagesShape(Shape):
    items: list[MessageShape]
    next: int | None


class FieldProblemShape(Shape):
    field: str
    problem: str


class ProblemShape(Shape):
    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[FieldProblemShape] | None = None
    request_id: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem, with a stable `code`",
        "content": {"application/problem+json": {"schema": ProblemShape.model_json_schema()}},
    }
}

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "As it stands, or as server-sent events",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
