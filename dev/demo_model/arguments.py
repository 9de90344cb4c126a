"""A tool's arguments, made from its JSON schema and the user's words.

Required properties are always filled; optional ones only where the words hold a value for them. Where the words
hold nothing, the smallest valid value stands: the first of an enum, 1, true, the words themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import clues
from .memory import Memory

Json = dict[str, Any]

_DEEPEST = 6


def fill(schema: Json, memory: Memory) -> Json:
    return _Filler(schema, memory, clues.numbers(memory.last), clues.quoted(memory.last)).object(schema, 0)


@dataclass(slots=True)
class _Filler:
    root: Json
    memory: Memory
    numbers: list[float]
    quotes: list[str] = field(default_factory=list)

    def object(self, schema: Json, depth: int) -> Json:
        required = schema.get("required") or []
        filled = {}
        for name, about in (schema.get("properties") or {}).items():
            plain = self._resolve(about, depth)
            if name in required:
                filled[name] = self._value(name, plain, depth + 1)
            elif (value := self._found(name, plain)) is not None:
                filled[name] = value
        return filled

    def _value(self, name: str, schema: Json, depth: int) -> Any:
        found = self._found(name, schema)
        return self._least(schema, depth) if found is None else found

    def _found(self, name: str, schema: Json) -> Any:
        """What the user's words hold for this property, if anything."""
        if "const" in schema:
            return None
        if "enum" in schema:
            return clues.mentioned(schema["enum"], self.memory.last)
        match _kind(schema):
            case "string":
                found = clues.string_for(name, schema.get("format"), self.memory, self.quotes)
                return None if found is None else _sized(found, schema)
            case "integer":
                return self._number(schema, whole=True)
            case "number":
                return self._number(schema, whole=False)
        return None

    def _number(self, schema: Json, *, whole: bool) -> float | int | None:
        for index, number in enumerate(self.numbers):
            if whole and number != int(number):
                continue
            if not schema.get("minimum", number) <= number <= schema.get("maximum", number):
                continue
            self.numbers.pop(index)
            return int(number) if number == int(number) else number
        return None

    def _least(self, schema: Json, depth: int) -> Any:
        for name in ("const", "default"):
            if name in schema:
                return schema[name]
        if schema.get("enum"):
            return schema["enum"][0]
        match _kind(schema):
            case "integer" | "number":
                return _clamped(1, schema)
            case "boolean":
                return True
            case "array":
                return self._array(schema, depth)
            case "object":
                return self.object(schema, depth) if depth < _DEEPEST else {}
            case "null":
                return None
        return _sized(clues.fallback(schema.get("format"), self.memory.last), schema)

    def _array(self, schema: Json, depth: int) -> list[Any]:
        if depth >= _DEEPEST:
            return []
        item = self._resolve(schema.get("items") or {}, depth)
        return [self._least(item, depth + 1) for _ in range(schema.get("minItems", 0))]

    def _resolve(self, schema: Any, depth: int) -> Json:
        """The schema without indirection: `$ref` followed, `anyOf` taken at its first choice that is not null."""
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return {}
        if str(schema.get("$ref", "")).startswith("#/"):
            target: Any = self.root
            for part in schema["$ref"][2:].split("/"):
                target = target.get(part, {}) if isinstance(target, dict) else {}
            return self._resolve(target, depth + 1)
        for name in ("anyOf", "oneOf", "allOf"):
            choices = [choice for choice in schema.get(name) or [] if choice != {"type": "null"}]
            if choices:
                return self._resolve(choices[0], depth + 1)
        return schema


def _kind(schema: Json) -> str:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    return str(kind)


def _clamped(number: int, schema: Json) -> Any:
    low = schema.get("minimum", schema.get("exclusiveMinimum", number - 1) + 1)
    high = schema.get("maximum", schema.get("exclusiveMaximum", number + 1) - 1)
    return max(low, min(number, high))


def _sized(text: str, schema: Json) -> str:
    least = schema.get("minLength", 0)
    return text[: schema.get("maxLength", len(text))].ljust(least, "x")
