"""Request IDs: each request has one, in its answer and in every line that is logged on the way to it."""

import re
from uuid import uuid4

from starlette.types import Scope

from core import about

_PLAIN = re.compile(r"[A-Za-z0-9_=.:+/-]{1,100}")


def request_id(scope: Scope) -> str:
    """The gateway's, so that its log and ours meet; our own where there is no gateway. What a client sends as one is not believed."""
    context = scope.get("aws.event", {}).get("requestContext", {})
    given = context.get("requestId") if isinstance(context, dict) else None
    return given if isinstance(given, str) and _PLAIN.fullmatch(given) else uuid4().hex


def current() -> str:
    """Of the request that is being answered."""
    id_: str = about.current().get("request_id", "")
    return id_
