"""Traces: Lambda says of each invocation which trace it belongs to, and a message takes that along to whoever it wakes.

X-Ray's own kit for Python is not maintained any more; what is of use here is the one header that ties the parts together.
"""

import os
import re

_ROOT = re.compile(r"(?:^|;)Root=(1-[0-9a-f]{8}-[0-9a-f]{24})(?:;|$)")


def header() -> str | None:
    """Of the invocation that is under way, as it is handed on: to SQS as the attribute AWSTraceHeader. None: not on Lambda."""
    return os.environ.get("_X_AMZN_TRACE_ID") or None


def root(header: str | None) -> str | None:
    """The trace's ID, which all that belongs to it have in common."""
    found = _ROOT.search(header or "")
    return found[1] if found else None
