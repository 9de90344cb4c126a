"""What the API demands of a request, one noun a module; the first broken rule is the answer.

Shapes come before meanings: once `check` is past the shapes, later rules may index without asking.
"""

from __future__ import annotations

from ..request import Request
from . import breakpoints, conversation, envelope, messages, remote, toolbox

__all__ = ["check"]


def check(request: Request, *, text_beside_results: bool = False) -> None:
    envelope.check(request)
    toolbox.check(request)
    messages.check(request)
    conversation.check(request, text_beside_results=text_beside_results)
    remote.check(request)
    breakpoints.check(request)
