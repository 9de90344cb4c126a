"""The HTTP function: API Gateway's event to the application and back. Wired at import, once a process."""

import asyncio
import gc
import logging
import sys
from typing import Any

# It would walk what is being built here again and again; it is on again when all is there.
gc.disable()

from fastapi import FastAPI
from mangum import Mangum

from core.agents.refusal import WrongDeclaration
from functions.events import readable
from functions.wiring import wired

# Mangum asks for the current event loop, and Python 3.12 warns where there is none.
asyncio.set_event_loop(asyncio.new_event_loop())


# Lambda shows warnings alone unless it is told otherwise; the figures for operators are one line a minute.
logging.getLogger("core.figures").setLevel(logging.INFO)


def _wired() -> FastAPI:
    """A wrong tool shows while its agent is imported, so that is done in here."""
    try:
        from functions.app import app_of, check
    except WrongDeclaration as problem:
        sys.exit(f"latchkey  {problem}")
    wiring = wired(check)
    if wiring.settings.access_mode == "open":
        logging.getLogger(__name__).warning(
            "ACCESS_MODE is open: devices are not signed in, and whoever knows a device ID can speak for it"
        )
    return app_of(wiring.settings, wiring.house, one_at_a_time=True)


app = _wired()

_mangum = Mangum(
    app,
    # Any other value runs startup and shutdown on every request.
    lifespan="off",
    # What is not named here is sent base64-encoded.
    text_mime_types=["application/json", "application/problem+json", "text/event-stream"],
)


def handler(event: object, context: Any) -> dict[str, Any]:
    return _mangum(readable(event), context)


# What was built at import lives as long as the process; a collection that walks it takes up to a tenth of a second.
gc.freeze()
gc.enable()
