"""What the model answers, and the seam that every model stands behind."""

from concurrent.futures import Future
from typing import Any, Protocol

from core.content import Blocks
from core.deadline import Deadline
from core.model.bill import Bill, Spent
from core.model.prompt import Prompt
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class ModelReply:
    content: Blocks
    stop_reason: str
    # Of this reply, as the API gave it.
    usage: dict[str, Any]
    # Of this reply and of the tries before it that came to nothing: tokens by kind and `cost_micros`.
    spent: Spent


class Sink(Protocol):
    """Hears a reply while it is being made: its texts, and no thinking."""

    def anew(self) -> None:
        """What was said so far counts for nothing: the model is asked again."""

    def say(self, block: int, text: str) -> None:
        """More text of the block at this place of the reply. Must not wait."""


class Model(Protocol):
    def warm(self) -> None:
        """Begins to load what the first reply needs, without waiting for it."""

    def ask(
        self, prompt: Prompt, deadline: Deadline, bill: Bill | None = None, sink: Sink | None = None
    ) -> "Future[ModelReply]":
        """The whole reply or a ModelFailed, never half a reply; both say what was spent. It may still be under way at
        the deadline: who waits for it leaves it behind then, and finds in `bill` what it has cost by then. Said so in the
        bill, it ends. The sink hears it as it comes.
        """

    def close(self) -> None:
        """Lets go of what it holds open."""
