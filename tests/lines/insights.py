"""So much of CloudWatch Logs Insights as the page of the log asks in: fields, filter, stats, sort, limit."""

import re
from collections.abc import Callable
from typing import Any

Line = dict[str, Any]

_CALL = re.compile(r"(count|sum|avg|pct|max|min)\((\*|\w+)(?:, (\d+))?\) as (\w+)")
_WORDS = re.compile(r'"[^"]*"|\[[^\]]*\]|ispresent\(\w+\)|[\w@.]+|!=|>=|<=|[=<>()]')


def ask(query: str, lines: list[Line]) -> list[Line]:
    """A query that says something else than these fails, rather than being understood in another way."""
    for part in re.split(r"\n?\s*\| ", query.strip()):
        verb, _, rest = part.partition(" ")
        lines = _VERBS[verb](" ".join(rest.split()), lines)
    return lines


def _fields(rest: str, lines: list[Line]) -> list[Line]:
    names = rest.split(", ")
    seen = {name for line in lines for name in line}
    missing = [name for name in names if name not in seen]
    if lines and missing:
        raise AssertionError(f"no line has {missing}")
    # What is not shown can still be asked for in what follows.
    return lines


def _filter(rest: str, lines: list[Line]) -> list[Line]:
    words = _WORDS.findall(rest)
    assert "".join(words) == "".join(rest.split(" ")) or '"' in rest, rest
    said = " ".join(map(_python, words))
    return [line for line in lines if eval(said, {"__builtins__": {}, "get": line.get, "than": _Than})]


class _Than:
    """A field that is compared; one that is missing is neither more nor less than anything."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __gt__(self, other: Any) -> bool:
        return self._value is not None and bool(self._value > other)

    def __eq__(self, other: object) -> bool:
        return self._value is not None and bool(self._value == other)

    def __hash__(self) -> int:
        return hash(self._value)


def _python(word: str) -> str:
    if word in ("and", "or", "not", "in", "(", ")", ">") or word[0] in '"[' or word.isdigit():
        return word
    if word == "=":
        return "=="
    if word.startswith("ispresent("):
        return f"(get({word[10:-1]!r}) is not None)"
    assert re.fullmatch(r"[\w@]+", word), word
    return f"than(get({word!r}))"


def _stats(rest: str, lines: list[Line]) -> list[Line]:
    calls, _, by = rest.partition(" by ")
    names = by.split(", ")
    asked = _CALL.findall(calls)
    assert len(asked) == calls.count(" as "), calls
    groups: dict[tuple[Any, ...], list[Line]] = {}
    for line in lines:
        groups.setdefault(tuple(line.get(name) for name in names), []).append(line)
    return [
        dict(zip(names, key, strict=True))
        | {name: _of(call, [line.get(field) for line in group], part) for call, field, part, name in asked}
        for key, group in groups.items()
    ]


def _of(call: str, values: list[Any], part: str) -> Any:
    if call == "count":
        return len(values)
    numbers = sorted(value for value in values if value is not None)
    assert numbers, f"{call} of a field that no line has"
    if call == "pct":
        return numbers[min(len(numbers) - 1, len(numbers) * int(part) // 100)]
    of: dict[str, Callable[[list[Any]], Any]] = {
        "sum": sum,
        "avg": lambda all_: sum(all_) / len(all_),
        "max": max,
        "min": min,
    }
    return of[call](numbers)


def _sort(rest: str, lines: list[Line]) -> list[Line]:
    name, way = rest.split(" ")
    assert way in ("asc", "desc"), way
    if lines:
        assert any(name in line for line in lines), name
    return sorted(lines, key=lambda line: line.get(name) or 0, reverse=way == "desc")


def _limit(rest: str, lines: list[Line]) -> list[Line]:
    return lines[: int(rest)]


_VERBS = {"fields": _fields, "filter": _filter, "stats": _stats, "sort": _sort, "limit": _limit}
