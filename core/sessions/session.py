"""An application session, as the team whose it is reads and changes it: who is talking, since when, and the team's own state."""

from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

from core.ids import SessionId, UserId
from core.values import dataclass

State = TypeVar("State")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(Generic[State]):
    id: SessionId
    user_id: UserId | None
    org_id: UUID | None
    workspace_path: str | None
    mcp_client_ids: tuple[str, ...]
    system_prompt: str | None
    metadata: Mapping[str, Any]
    state: State
    created_at: datetime
    # To the minute, or to a tenth of its TTL: see `slack_s`.
    last_active_at: datetime
    # Of several that had the ID one after the other, which; and how often it was changed.
    epoch: int
    version: int
    # How long it lives without anybody using it.
    ttl_s: int

    @property
    def expires_at(self) -> datetime:
        """When it is gone, if nobody uses it."""
        return self.last_active_at + timedelta(seconds=self.ttl_s)

    def with_state(self, state: State) -> "Session[State]":
        return replace(self, state=state)

    def with_metadata(self, **changes: Any) -> "Session[State]":
        return replace(self, metadata={**self.metadata, **changes})


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession(Generic[State]):
    """One that is to be made. Left out: an ID of its own, the default state, the manager's TTL."""

    id: SessionId | None = None
    user_id: UserId | None = None
    org_id: UUID | None = None
    workspace_path: str | None = None
    mcp_client_ids: tuple[str, ...] = ()
    system_prompt: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    state: State | None = None
    ttl_s: int | None = None
