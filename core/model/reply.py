"""What the model answers, and the seam that every model stands behind."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from core.content import Blocks
from core.deadline import Deadline
from core.model.prompt import Prompt

_KINDS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


@dataclass(frozen=True, slots=True)
class ModelReply:
    content: Blocks
    stop_reason: str
    usage: dict[str, Any]


class Model(Protocol):
    def warm(self) -> None:
        """Begins to load what the first reply needs, without waiting for it."""

    def ask(self, prompt: Prompt, deadline: Deadline) -> "Future[ModelReply]":
        """The whole reply or a ModelFailed, never half a reply. It may still be under way at the deadline: who waits for
        it leaves it behind then.
        """

    def close(self) -> None:
        """Lets go of what it holds open."""


def tokens(usage: dict[str, Any]) -> dict[str, int]:
    """The API's usage as we count it: tokens by kind."""
    return {kind: usage.get(kind) or 0 for kind in _KINDS}


def added(one: dict[str, Any], other: dict[str, Any]) -> dict[str, int]:
    return {kind: (one.get(kind) or 0) + (other.get(kind) or 0) for kind in _KINDS}
