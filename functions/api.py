"""The HTTP function: API Gateway's event to the application and back. Wired at import, once a process.

Nothing is opened at import, no connection, no socket, no thread: what is built then may be put into a snapshot (SnapStart), and wakes
in many processes at once. And nothing gets out of it but an answer: the gateway would make a bare 500 of it that no
client can read and no request ID leads to.
"""

import asyncio
import gc
import json
import logging
import sys
from functools import cache
from typing import Any, Final

# It would walk what is being built here again and again; it is on again when all is there.
gc.disable()

from fastapi import FastAPI
from mangum import Mangum

from core.agents.refusal import WrongDeclaration
from core.errors import AnswerTooLarge, LatchkeyError
from functions import metrics
from functions.events import Event, readable
from functions.invocations import invocation
from functions.wiring import wired

_log = logging.getLogger(__name__)

# What is not named here is sent base64-encoded.
_TEXTS: Final = ["text/", "application/json", "application/problem+json", "application/x-ndjson"]
# What the adapter answers by itself where the application raised.
_GAVE_UP: Final = "Internal Server Error"
# What Lambda takes as an answer, in bytes of JSON; and what of text is surely within that, however it is escaped.
_MOST_BYTES: Final = 6_291_456
_SURELY_WITHIN: Final = 1_000_000


def _wired() -> FastAPI:
    """A wrong tool shows while its agent is imported, so that is done in here."""
    try:
        from functions.app import app_of, check
    except WrongDeclaration as problem:
        sys.exit(f"latchkey  {problem}")
    wiring = wired("api", check)
    if wiring.settings.access_mode == "open":
        _log.warning(
            "ACCESS_MODE is open: devices are not signed in, and whoever knows a device ID can speak for it"
        )
    return app_of(wiring.settings, wiring.house, one_at_a_time=True)


app = _wired()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """It opens sockets of its own."""
    return asyncio.new_event_loop()


@cache
def _adapter() -> Mangum:
    # Any other value of `lifespan` runs startup and shutdown on every request.
    return Mangum(app, lifespan="off", text_mime_types=_TEXTS)


def handler(event: object, context: Any) -> dict[str, Any]:
    with invocation(context):
        # Each time: `asyncio.run`, wherever somebody calls it, leaves the thread without one, and the adapter asks for it.
        asyncio.set_event_loop(_loop())
        given = readable(event)
        try:
            answer: dict[str, Any] = _adapter()(given, context)
        except Exception as error:
            _log.error("unexpected %s, outside of the application", type(error).__name__, exc_info=error)
            return _sorry(given, defect=type(error).__name__)
        if answer["statusCode"] == 500 and answer.get("body") == _GAVE_UP:
            # The adapter has logged what was raised.
            return _sorry(given, defect="unknown")
        return _sorry(given, AnswerTooLarge()) if _is_too_large(answer) else answer


def _sorry(event: Event, known: LatchkeyError | None = None, *, defect: str | None = None) -> dict[str, Any]:
    """The last resort, around which there is nothing any more."""
    from functions.problems import UNEXPECTED, problem_answer
    from functions.request_ids import request_id

    if defect is not None:
        metrics.count("Defects", error=defect)
    metrics.count("ServerErrors", status=500)
    id_ = request_id({"aws.event": event})
    answer = problem_answer(known or LatchkeyError(UNEXPECTED), id_)
    answer.headers["X-Request-ID"] = id_
    answer.headers["Cache-Control"] = "no-store"
    return {
        "statusCode": answer.status_code,
        "headers": dict(answer.headers),
        "body": bytes(answer.body).decode(),
        "isBase64Encoded": False,
    }


def _is_too_large(answer: dict[str, Any]) -> bool:
    if len(answer.get("body", "")) <= _SURELY_WITHIN:
        return False
    return len(json.dumps(answer, ensure_ascii=False).encode()) > _MOST_BYTES


# What was built at import lives as long as the process; a collection that walks it takes up to a tenth of a second.
gc.freeze()
gc.enable()
