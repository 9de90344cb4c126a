"""Request IDs: each request has one, in its answer and in every line that is logged on the way to it."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

from starlette.types import Scope

# What a thread that is started for a request takes along.
_current: ContextVar[str | None] = ContextVar("request_id", default=None)
_PLAIN = re.compile(r"[A-Za-z0-9_=.:+/-]{1,100}")


def request_id(scope: Scope) -> str:
    """The gateway's, so that its log and ours meet; our own where there is no gateway. What a client sends as one is not believed."""
    context = scope.get("aws.event", {}).get("requestContext", {})
    given = context.get("requestId") if isinstance(context, dict) else None
    return given if isinstance(given, str) and _PLAIN.fullmatch(given) else uuid4().hex


def current() -> str:
    """Of the request that is being answered."""
    return _current.get() or ""


@contextmanager
def under(id_: str) -> Iterator[None]:
    token = _current.set(id_)
    try:
        yield
    finally:
        _current.reset(token)


def tell_in_every_line() -> None:
    """Where records are made, so that no handler, of whomever, is without it."""
    make = logging.getLogRecordFactory()
    if getattr(make, "tells_request", False):
        return

    def made(*arguments: Any, **more: Any) -> logging.LogRecord:
        record = make(*arguments, **more)
        id_ = _current.get()
        if id_ is not None:
            record.request_id = id_
            escaped = id_.replace("%", "%%") if record.args else id_
            record.msg = f"request {escaped}: {record.msg}"
        return record

    made.tells_request = True  # type: ignore[attr-defined]  # a mark, so that it is put up once
    logging.setLogRecordFactory(made)
