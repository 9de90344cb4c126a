"""What a tool is told beside its arguments, and how it says that it failed."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from core.deadline import Deadline
from core.ids import SessionId, TurnId, UserId
from core.values import dataclass


class ToolFailed(Exception):
    """A tool raises this to tell the model, in words of its own, what went wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    session_id: SessionId
    turn_id: TurnId
    # Whose conversation it is.
    user_id: UserId
    # The same for each run of the same call.
    idempotency_key: str
    deadline: Deadline
    # `with context.connect() as connection:` is a SQLAlchemy connection of the tool's own, in a transaction that is
    # committed at the end, and taken back when the block raises or the tool's time is over.
    connect: Callable[[], AbstractContextManager[Any]]
    # Where application sessions are kept: `SessionManager(Desk, context.storage, namespace="desk")`.
    storage: Any = None

    def left_s(self) -> float:
        """How long the tool has left. What comes later is not waited for."""
        return self.deadline.left_s()
