"""The lines of an exported conversation: how each is written, and how each is read back. docs/export.md is this, for people.

What can go wrong, and why it cannot: *a file is cut, or changed on the way.* Its last line counts the lines before it and names
the end of a chain of digests over them. *What a model said changes by being carried.* Its text stands in the line as it is
stored, if reading and writing that gives the same text again; where it would not, it stands there as a text in quotes.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Final

from core.content import dump
from core.values import dataclass

FORMAT: Final = "latchkey-session"
VERSION: Final = 1
# In the order in which they stand in a file, between the session's own line and the end's.
KINDS: Final = (
    "turn",
    "message",
    "tool_call",
    "approval",
    "todo",
    "compaction",
    "revision",
    "audit",
    "application_session",
)
# What the model is sent: every character of it counts.
EXACT: Final = ("content", "input")
_FIRST_DIGEST: Final = "0" * 64


class NotALine(Exception):
    """It is not a line of such a file; says why."""


@dataclass(frozen=True, slots=True)
class Chain:
    """What was written so far: how many lines, and what they come to."""

    lines: int = 0
    digest: str = _FIRST_DIGEST

    def after(self, line: str) -> "Chain":
        told = f"{self.digest}{line}".encode()
        return Chain(self.lines + 1, hashlib.sha256(told).hexdigest())


def end_line(chain: Chain) -> str:
    return dump({"kind": "end", "lines": chain.lines, "digest": chain.digest})


def written(kind: str, row: Mapping[str, Any]) -> str:
    """A row as a line. What ends in `_json` is JSON text, and is no longer called so."""
    fields: dict[str, Any] = {"kind": kind}
    for name, value in row.items():
        if name.endswith("_json"):
            fields |= _as_json(name.removesuffix("_json"), value)
        else:
            fields[name] = value
    return dump(fields)


def _as_json(name: str, text: str | None) -> dict[str, Any]:
    if text is None:
        return {name: None}
    try:
        value = json.loads(text)
        if dump(value) == text or name not in EXACT:
            # The others are kept as jsonb, which knows no spelling.
            return {name: value}
    except ValueError:
        pass
    return {f"{name}_text": text}


def exact(name: str, fields: Mapping[str, Any]) -> str | None:
    """The JSON text that `written` was given."""
    if f"{name}_text" in fields:
        text = fields[f"{name}_text"]
        return text if isinstance(text, str) else None
    return dump(fields[name]) if fields.get(name) is not None else None


def read(line: bytes) -> dict[str, Any]:
    """Strictly: nothing that Python reads and JSON does not know, no field twice, no number that becomes another."""
    try:
        fields = json.loads(
            line.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError:
        raise NotALine("is not valid UTF-8") from None
    except json.JSONDecodeError as error:
        raise NotALine(f"is not JSON at column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise NotALine("is nested too deeply") from None
    except ValueError:
        raise NotALine("holds a number that is too long to read") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("kind"), str):
        raise NotALine("is not an object with a `kind`")
    return fields


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise NotALine("has an object with the same field twice")
    return fields


def _no_constant(name: str) -> None:
    raise NotALine(f"holds {name}, which is not JSON")


def _finite(given: str) -> float:
    number = float(given)
    if not math.isfinite(number):
        raise NotALine("holds a number that is too large")
    return number
