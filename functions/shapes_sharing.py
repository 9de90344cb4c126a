"""The shapes of requests and answers about a user's sessions, their members and their links."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from core.editing import DEEPEST, LONGEST_KEY, MOST_BYTES
from functions.bodies import LONGEST_LINK_S, SHORTEST_LINK_S, USUAL_LINK_S
from functions.shapes import Shape

RoleName = Literal["owner", "editor", "viewer"]
_SESSION = "0b7c5d3e-8a5f-4d0b-9c1e-2f6a7b8c9d0e"
_LINK = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\.[A-Za-z0-9_-]{43}$"
_SECRET = f"{_SESSION}.{'A1b2C3d4' * 5}xyz"

Metadata = Annotated[
    dict[str, Any],
    Field(
        description=f"At most {MOST_BYTES} bytes as JSON, {DEEPEST} levels deep, with keys of at most {LONGEST_KEY} characters."
    ),
]


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [fields]})


class BeginBody(Shape):
    model_config = _example(metadata={"title": "Invoices"})

    metadata: Metadata = Field(default_factory=dict)


class EditBody(Shape):
    model_config = _example(metadata={"title": "Invoices of May", "draft": None})

    metadata: Metadata


class EnterBody(Shape):
    model_config = _example(session_id=_SESSION)

    session_id: UUID


class ListedShape(Shape):
    id: UUID
    role: RoleName
    active_agent: str | None
    busy: bool
    metadata: dict[str, Any]
    created_at: datetime
    last_active_at: datetime
    expires_at: datetime


class ListedPage(Shape):
    items: list[ListedShape]
    next: str | None


class MemberBody(Shape):
    model_config = _example(role="editor")

    role: RoleName


class MemberShape(Shape):
    user_id: UUID
    role: RoleName
    is_owner: bool
    since: datetime


class MembersShape(Shape):
    items: list[MemberShape]


class LinkBody(Shape):
    model_config = _example(role="viewer", ttl_s=3600)

    role: Literal["editor", "viewer"]
    ttl_s: Annotated[int, Field(ge=SHORTEST_LINK_S, le=LONGEST_LINK_S)] = USUAL_LINK_S


class LinkShape(Shape):
    id: UUID
    role: Literal["editor", "viewer"]
    created_at: datetime
    expires_at: datetime


class NewLinkShape(LinkShape):
    # Told once, and kept nowhere.
    link: str


class LinksShape(Shape):
    items: list[LinkShape]


class JoinBody(Shape):
    model_config = _example(link=_SECRET)

    link: Annotated[str, Field(pattern=_LINK)]


def body_of(shape: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """A body that is read by hand, as OpenAPI tells it."""
    content = {"application/json": {"schema": shape.model_json_schema()}}
    return {"requestBody": {"required": required, "content": content}}
