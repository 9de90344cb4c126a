"""The shapes of what is told of an erasure."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RemovedShape(_Shape):
    # Rows by table; in conversations of others, what was blotted out; from the cache and from the archive, what went.
    postgres: dict[str, int]
    elsewhere: dict[str, int]
    cache: dict[str, int]
    archive: dict[str, int]


class ErasureShape(_Shape):
    id: UUID
    # A digest of the user's ID.
    user: str
    requested_at: datetime
    completed_at: datetime | None
    removed: RemovedShape
