"""Values for a tool's arguments that can be read out of what a person wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .memory import Memory

_ISO_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_DAY = re.compile(
    r"\b(today|tonight|tomorrow|yesterday|"
    r"(?:(?:next|this) )?(?:mon|tues|wednes|thurs|fri|satur|sun)day|next (?:week|month|year))\b",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"\b(?:[01]?\d|2[0-3]):[0-5]\d\b|\b(?:1[0-2]|0?[1-9]) ?[ap]m\b|\b(?:noon|midnight)\b", re.IGNORECASE
)
_NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)?(?![\w-]|\.\d)")
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|«([^»]+)»|`([^`]+)`|(?<!\w)'([^']+)'(?!\w)")
_PLACE = re.compile(r"\b(?:in|at|near|from|to|for) ((?:[^\W\d_a-z][\w'’-]*)(?: [^\W\d_a-z][\w'’-]*)*)")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w")
_URL = re.compile(r"https?://[^\s\"'<>]*[^\s\"'<>.,;:!?)]")
_PLACES = frozenset({"city", "location", "place", "town", "country", "destination", "address"})

_FALLBACKS = {
    "date": "2026-01-01",
    "time": "12:00:00Z",
    "date-time": "2026-01-01T12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def string_for(name: str, format: str | None, memory: Memory, quotes: list[str]) -> str | None:
    """A value for a string property, by its format, its name, what a name stands behind, or the next quoted text (which it uses up)."""
    text = memory.last
    if format in _FALLBACKS:
        return _formatted(str(format), text)
    parts = set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()))
    if parts & {"date", "day"}:
        return _first(_ISO_DATE, text) or _first(_DAY, text)
    if "time" in parts:
        return _first(_TIME, text)
    if "email" in parts:
        return _first(_EMAIL, text)
    if parts & {"url", "uri", "link"}:
        return _first(_URL, text)
    if parts & _PLACES and (place := _PLACE.search(text)):
        return place[1]
    if named := _named(parts, text):
        return named
    if quotes:
        return quotes.pop(0)
    return memory.name if "name" in parts else None


def _named(parts: set[str], text: str) -> str | None:
    """What a name stands behind: of "the doctor Okafor" a doctor, of "room Blue Sea" a room."""
    for part in sorted(parts):
        if match := re.search(rf"\b(?i:{part}) ((?:[^\W\d_a-z][\w'’-]*)(?: [^\W\d_a-z][\w'’-]*)*)", text):
            return match[1]
    return None


def fallback(format: str | None, text: str) -> str:
    return _FALLBACKS.get(format or "", text or "something")


def numbers(text: str) -> list[float]:
    bare = _TIME.sub(" ", _ISO_DATE.sub(" ", text))
    return [float(found) for found in _NUMBER.findall(bare)]


def quoted(text: str) -> list[str]:
    return [next(filter(None, match.groups())) for match in _QUOTED.finditer(text)]


def mentioned(choices: Sequence[Any], text: str) -> Any:
    lowered = text.lower()
    for choice in choices:
        if isinstance(choice, str) and re.search(rf"(?<!\w){re.escape(choice.lower())}(?!\w)", lowered):
            return choice
    return None


def _formatted(format: str, text: str) -> str | None:
    date = _first(_ISO_DATE, text)
    match format:
        case "date":
            return date
        case "date-time":
            return f"{date}T12:00:00Z" if date else None
        case "email":
            return _first(_EMAIL, text)
        case "uri":
            return _first(_URL, text)
    return None


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return match[0] if match else None
