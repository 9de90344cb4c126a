"""Editing: what becomes of a conversation's metadata when somebody sends a part of it, and what it may hold.

The part is a JSON merge patch (RFC 7386): what it names is set, what it names as null is taken away, the rest stays as it is.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from core.content import dump
from core.errors import FieldProblem, InvalidRequest

MOST_BYTES: Final = 16_384
LONGEST_KEY: Final = 100
DEEPEST: Final = 16
# As far as every reader of JSON knows whole numbers, and as far as they come back as they went in.
_LARGEST: Final = 2**53 - 1

Metadata = dict[str, Any]


def checked(given: object) -> Metadata:
    """As it may be kept, or sent as a part of what is kept."""
    if not isinstance(given, dict):
        raise _wrong("must be an object")
    for problem in _problems(given, 1):
        raise _wrong(problem)
    return _within(given)


def merged(metadata: Metadata, part: Metadata) -> Metadata:
    return _within(_merged(metadata, part))


def are_same(one: Metadata, other: Metadata) -> bool:
    """As JSON, where `true` is not 1, in whatever order."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _merged(whole: object, part: Metadata) -> Metadata:
    left = dict(whole) if isinstance(whole, dict) else {}
    for key, value in part.items():
        if value is None:
            left.pop(key, None)
        elif isinstance(value, dict):
            left[key] = _merged(left.get(key), value)
        else:
            left[key] = value
    return left


def _within(metadata: Metadata) -> Metadata:
    size = len(dump(metadata).encode())
    if size > MOST_BYTES:
        raise _wrong(f"has {size} bytes as JSON; at most {MOST_BYTES} are kept")
    return metadata


def _problems(value: object, depth: int) -> Iterator[str]:
    """What Postgres would refuse, or keep as something else."""
    if depth > DEEPEST:
        yield f"is nested deeper than {DEEPEST} levels"
        return
    if isinstance(value, str) and not _is_storable(value):
        yield "holds a NUL character or half of a surrogate pair, which cannot be kept"
    if isinstance(value, int | float) and not abs(value) <= _LARGEST:
        yield f"holds a number beyond {_LARGEST}: send it as a text"
    if isinstance(value, dict):
        for key, item in value.items():
            if len(key) > LONGEST_KEY or not _is_storable(key):
                yield f"has a key of more than {LONGEST_KEY} characters, or one that cannot be kept"
            yield from _problems(item, depth + 1)
    if isinstance(value, list):
        for item in value:
            yield from _problems(item, depth + 1)


def _is_storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _wrong(problem: str) -> InvalidRequest:
    return InvalidRequest(errors=(FieldProblem("metadata", problem),))
