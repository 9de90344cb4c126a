"""Invocations: what a function on Lambda does before its first one, and around each."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from core import about, trace
from core.errors import QuotesNobody
from functions import lines, metrics

_log = logging.getLogger(__name__)

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


class InvocationFailed(QuotesNobody):
    """To be seen as failed. What it says, Lambda writes into the log and into its answer: for operators."""


@contextmanager
def invocation(context: Any) -> Iterator[None]:
    """Around one. `request_id` is Lambda's until there is a request that has one of the gateway's. What nobody expected is told once, here."""
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
            metrics.warm()
        try:
            yield
        except QuotesNobody:
            raise
        except Exception as error:
            kind = type(error).__name__
            metrics.count("Defects", error=kind)
            _log.error("unexpected %s", kind, exc_info=error)
            raise InvocationFailed(f"defect: unexpected {kind}; the log says where") from None
        finally:
            if is_cold:
                metrics.count("ColdStarts")


@contextmanager
def caused_by(header: str | None) -> Iterator[None]:
    """Within an invocation: what is worked on belongs to the trace of who asked for it."""
    root = trace.root(header)
    with about.under(**({} if root is None else {"trace": root})):
        yield
