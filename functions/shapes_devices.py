"""The shapes of devices: what registers one, what signs it in, and what either is answered."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

SHORTEST_SECRET = 32
LONGEST_SECRET = 200
LONGEST_TOKEN = 8_192


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SecretBody(_Shape):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"secret": "q4Rr2m1oZ0pX9cV8bN7yT6wE5uI3aSdFgHjKlQzXcVb"}]},
    )

    # 32 random bytes in base64url, which the app made once and keeps.
    secret: Annotated[str, Field(min_length=SHORTEST_SECRET, max_length=LONGEST_SECRET)]


class SignInBody(_Shape):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"user_token": "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmVk"}]}
    )

    user_token: Annotated[str, Field(min_length=1, max_length=LONGEST_TOKEN)]
    # Asked for where a person's token alone speaks for a device, of one that talked before it was anybody's.
    secret: Annotated[str, Field(min_length=SHORTEST_SECRET, max_length=LONGEST_SECRET, default_factory=str)]


class WelcomeShape(_Shape):
    device_id: UUID
    user_id: UUID
    # To be sent as `Authorization: Bearer`; null where none is asked for.
    token: str | None
    expires_at: datetime | None
    mode: Literal["open", "bound", "jwt"]


class SignedInShape(_Shape):
    device_id: UUID
    user_id: UUID
    token: str | None
    expires_at: datetime | None
    # The conversations that came along, oldest first.
    sessions: list[UUID]


class DeviceShape(_Shape):
    id: UUID
    created_at: datetime
    # It is the one that asks.
    is_current: bool
    # When it was signed out.
    revoked_at: datetime | None


class DevicesShape(_Shape):
    items: list[DeviceShape]
