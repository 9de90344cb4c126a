"""What the model answers, and the seam that every model stands behind."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from core.content import Blocks
from core.deadline import Deadline
from core.model.bill import Bill, Spent
from core.model.prompt import Prompt


@dataclass(frozen=True, slots=True)
class ModelReply:
    content: Blocks
    stop_reason: str
    # Of this reply, as the API gave it.
    usage: dict[str, Any]
    # Of this reply and of the tries before it that came to nothing: tokens by kind and `cost_micros`.
    spent: Spent


class Model(Protocol):
    def warm(self) -> None:
        """Begins to load what the first reply needs, without waiting for it."""

    def ask(self, prompt: Prompt, deadline: Deadline, bill: Bill | None = None) -> "Future[ModelReply]":
        """The whole reply or a ModelFailed, never half a reply; both say what was spent. It may still be under way at
        the deadline: who waits for it leaves it behind then, and finds in `bill` what it has cost by then. Said so in the
        bill, it ends.
        """

    def close(self) -> None:
        """Lets go of what it holds open."""
