"""Invocations: what a function on Lambda does before its first one, and around each."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from core import about, trace
from functions import lines, metrics

_invoked = count()
_function = ""


def begin(stage: str, function: str) -> None:
    """Once a process, while it is being set up: from here on its lines carry what they are about, and its metrics are told."""
    global _function
    _function = function
    lines.carry_fields()
    lines.withhold_texts()
    lines.set_levels()
    metrics.begin(stage)


@contextmanager
def invocation(context: Any) -> Iterator[None]:
    """Around one. `request_id` is Lambda's until there is a request that has one of the gateway's."""
    id_ = getattr(context, "aws_request_id", None)
    is_cold = next(_invoked) == 0
    known = {
        "function": _function,
        # As the lines that Lambda itself writes name it.
        "requestId": id_,
        "request_id": id_,
        "trace": trace.root(trace.header()),
        "cold": is_cold,
    }
    with about.under(**{name: value for name, value in known.items() if value is not None}):
        if is_cold:
            metrics.count("ColdStarts")
        yield
