"""Checks on one JSON value, in the words of the API's own validation."""

from __future__ import annotations

import re
from typing import Any

from ..fields import Shape
from ..refusal import Refusal

Json = dict[str, Any]


def obj(value: object, where: str) -> Json:
    if not isinstance(value, dict):
        raise Refusal(f"{where}: Input should be an object")
    return value


def array(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise Refusal(f"{where}: Input should be a valid list")
    return value


def string(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise Refusal(f"{where}: Input should be a valid string")
    return value


def boolean(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise Refusal(f"{where}: Input should be a valid boolean")
    return value


def whole(value: object, where: str, least: int) -> int:
    # True is an int to Python, and a mistake to the API.
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refusal(f"{where}: Input should be a valid integer")
    if value < least:
        raise Refusal(f"{where}: Input should be greater than or equal to {least}")
    return value


def number(value: object, where: str, least: float, most: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Refusal(f"{where}: Input should be a valid number")
    if value < least:
        raise Refusal(f"{where}: Input should be greater than or equal to {least:g}")
    if value > most:
        raise Refusal(f"{where}: Input should be less than or equal to {most:g}")


def matching(value: object, pattern: re.Pattern[str], where: str) -> str:
    text = string(value, where)
    if not pattern.fullmatch(text):
        raise Refusal(f"{where}: String should match pattern '^{pattern.pattern}$'")
    return text


def one_of(value: object, choices: tuple[str, ...], where: str) -> str:
    if value not in choices:
        raise Refusal(f"{where}: Input should be {' or '.join(map(repr, choices))}")
    return str(value)


def fields(value: Json, shape: Shape, where: str = "") -> None:
    prefix = f"{where}." if where else ""
    for name in shape.required:
        if name not in value:
            raise Refusal(f"{prefix}{name}: Field required")
    for name, held in value.items():
        if name not in shape.accepted:
            raise Refusal(f"{prefix}{name}: Extra inputs are not permitted")
        if held is None and name not in shape.nullable:
            raise Refusal(f"{prefix}{name}: Input should not be null")


def tagged(value: Json, shapes: dict[str, Shape], where: str) -> str:
    """The object's `type`, its fields checked against the shape of that type."""
    tag = value.get("type")
    if tag is None:
        raise Refusal(f"{where}.type: Field required")
    if not isinstance(tag, str) or tag not in shapes:
        raise Refusal(
            f"{where}: Input tag '{tag}' found using 'type' does not match any of the expected tags: "
            + ", ".join(repr(name) for name in shapes)
        )
    fields(value, shapes[tag], f"{where}.{tag}")
    return tag
