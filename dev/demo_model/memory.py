"""What the demo model knows of a conversation: what the user said, and the name that they gave."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_NAME = r"(?P<name>[^\W\d_][\w'’-]*(?: (?!and\b|but\b)[^\W\d_][\w'’-]*){0,2})"
_SAID_NAME = re.compile(rf"\b(?:my name is|my name['’]s)[ \t]+{_NAME}", re.IGNORECASE)
_SAID_I_AM = re.compile(rf"\b(?:(?i:i am|i['’]m|call me))[ \t]+{_NAME}")
_NOT_NAMES = frozenset({"what", "who", "not", "unknown", "a", "an", "the", "i", "so", "very", "here", "back"})


@dataclass(frozen=True, slots=True)
class Memory:
    texts: tuple[str, ...]
    """What the user said, a message each; messages that only carry tool results say nothing."""
    name: str | None
    results: tuple[Json, ...]
    """The tool results that the last message holds, each with the tool's name as `tool`."""

    @classmethod
    def of(cls, body: Json) -> Memory:
        messages = [message for message in body["messages"] if message["role"] != "system"]
        texts = tuple(filter(None, (said(m) for m in messages if m["role"] == "user")))
        return cls(texts, _latest_name(texts), _last_results(messages))

    @property
    def last(self) -> str:
        return self.texts[-1] if self.texts else ""


def said(message: Json) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content.strip()
    return "\n".join(block["text"] for block in content if block["type"] == "text").strip()


def given_name(text: str) -> str | None:
    """The name in "my name is X", "I am X" or "call me X".

    After "my name is" the first word is a name however it is written; after "I am" only what looks like one,
    lest "I am tired" make a person called tired.
    """
    found = None
    for match in _SAID_NAME.finditer(text):
        found = _capitals(match["name"], first_anyway=True) or found
    if not text.isupper():
        for match in _SAID_I_AM.finditer(text):
            found = found or _capitals(match["name"], first_anyway=False)
    return found


def _capitals(words: str, *, first_anyway: bool) -> str | None:
    name: list[str] = []
    for word in words.split():
        # Scripts without capitals (Arabic, Hebrew, Chinese) have neither: those count as names.
        if word[0].islower() and not (first_anyway and not name):
            break
        name.append(word)
    if not name or name[0].lower() in _NOT_NAMES:
        return None
    return " ".join(name)[:40]


def _latest_name(texts: tuple[str, ...]) -> str | None:
    for text in reversed(texts):
        if name := given_name(text):
            return name
    return None


def _last_results(messages: list[Json]) -> tuple[Json, ...]:
    content = messages[-1]["content"]
    if messages[-1]["role"] != "user" or isinstance(content, str):
        return ()
    names = {
        block["id"]: block["name"]
        for message in messages[-2:-1]
        if isinstance(message["content"], list)
        for block in message["content"]
        if block["type"] == "tool_use"
    }
    return tuple(
        {**block, "tool": names.get(block["tool_use_id"], "the tool")}
        for block in content
        if block["type"] == "tool_result"
    )
