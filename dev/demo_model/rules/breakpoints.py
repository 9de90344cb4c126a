"""Cache breakpoints: their shape, how many, and that the longer lived come first."""

from __future__ import annotations

from typing import Any

from ..fields import CACHE_CONTROL
from ..prefix import automatic_place, marked_places
from ..refusal import Refusal
from ..request import Request
from . import shape

MOST = 4


def check(request: Request) -> None:
    body = request.body
    marks = marked_places(body)
    for where, mark in marks:
        _check_mark(mark, f"{where}.cache_control")
    automatic = body.get("cache_control")
    if automatic is not None:
        _check_mark(automatic, "cache_control")
        marks = _with_automatic(body, marks, automatic)
    if len(marks) > MOST:
        raise Refusal(f"A maximum of {MOST} blocks with cache_control may be provided. Found {len(marks)}.")
    _check_order(marks)


def ttl(mark: dict[str, Any]) -> str:
    return str(mark.get("ttl", "5m"))


def _check_mark(mark: object, where: str) -> None:
    fields = shape.obj(mark, where)
    shape.fields(fields, CACHE_CONTROL, where)
    shape.one_of(fields["type"], ("ephemeral",), f"{where}.type")
    if "ttl" in fields:
        shape.one_of(fields["ttl"], ("5m", "1h"), f"{where}.ttl")


def _with_automatic(
    body: dict[str, Any], marks: list[tuple[str, Any]], automatic: dict[str, Any]
) -> list[tuple[str, Any]]:
    """The automatic breakpoint counts as one, unless its block has the same one already."""
    target = automatic_place(body)
    if target is None:
        return marks
    own = dict(marks).get(target)
    if own is None:
        # It is on the last cacheable block, so nothing comes after it.
        return [*marks, (target, automatic)]
    if ttl(own) != ttl(automatic):
        raise Refusal(
            f"Top-level cache_control has ttl='{ttl(automatic)}' but the target block already has "
            f"cache_control with ttl='{ttl(own)}'"
        )
    return marks


def _check_order(marks: list[tuple[str, Any]]) -> None:
    short_seen = False
    for where, mark in marks:
        if ttl(mark) == "5m":
            short_seen = True
        elif short_seen:
            raise Refusal(
                f"{where}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' "
                "cache_control block. Note that blocks are processed in the following order: `tools`, "
                "`system`, `messages`."
            )
