"""Replies that a test writes beforehand, instead of what the demo model would say by its rules."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted reply: a text, or content blocks in the API's shape.

    What a block leaves out is filled in: the `id` of a tool_use, the `signature` of thinking. Without a
    `stop_reason` it is "tool_use" or "end_turn", as the content says. `usage` overrides single figures.
    """

    content: str | Sequence[Mapping[str, Any]]
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: Mapping[str, Any] | None = None
    delay_s: float = 0.0

    def blocks(self) -> list[dict[str, Any]]:
        if isinstance(self.content, str):
            return [{"type": "text", "text": self.content}]
        return [dict(block) for block in self.content]


class Queue(Generic[Item]):
    """First in, first out, for many threads."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._lock = threading.Lock()

    def add(self, *items: Item) -> None:
        with self._lock:
            self._items.extend(items)

    def take(self) -> Item | None:
        with self._lock:
            return self._items.popleft() if self._items else None

    def clear(self) -> None:
        with self._lock:
            self._items.clear()

    def __len__(self) -> int:
        with self._lock:
            return len(self._items)
