"""A turn as its client sees it."""

import json
from dataclasses import field
from datetime import datetime
from typing import Any

from core.content import Blocks, text_of
from core.ids import SessionId, TurnId
from core.model.bill import counted
from core.rates import Left
from core.store.asked import Approval
from core.store.turns import StoredTurn
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn as its client sees it."""

    id: TurnId
    # None: nothing was stored.
    session_id: SessionId | None
    seq: int
    status: str
    agent: str | None
    content: Blocks
    tool_calls: list[dict[str, Any]]
    approvals: list[Approval]
    usage: dict[str, Any]
    error: dict[str, str] | None
    created_at: datetime
    ended_at: datetime | None
    # Of the session's row when the turn stood like this.
    epoch: int = 0
    version: int = 0
    # Answered without the database, and not stored.
    stateless: bool = False
    # Of what its sender may send. None: as much as they like, or nothing was sent.
    left: Left | None = field(default=None, compare=False)

    @property
    def is_over(self) -> bool:
        return self.ended_at is not None

    @property
    def reply(self) -> str | None:
        return text_of(self.content) if self.status == "completed" else None


def shown(stored: StoredTurn) -> Turn:
    return Turn(
        id=stored.id,
        session_id=stored.session_id,
        seq=stored.seq,
        status=stored.status,
        agent=stored.agent,
        content=json.loads(stored.content) if stored.content else [],
        tool_calls=stored.calls,
        approvals=stored.approvals,
        usage=counted(stored.usage or {}),
        error=stored.error,
        created_at=stored.created_at,
        ended_at=stored.ended_at,
        epoch=stored.epoch,
        version=stored.version,
    )
