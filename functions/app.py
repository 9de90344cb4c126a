"""The application: the routes, and the one error handler around them."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from core.house import House
from core.settings import Settings, SettingsError
from core.tries import past_dead_connections
from functions.edge import guard
from functions.problems import handle
from functions.resources import include, include_all
from functions.streams import Streams

_TITLE, _VERSION = "Latchkey", "0.1.0"

# What is not said must not mean that nobody has to show anything.
_NO_KEYS = (
    "DEVICE_TOKEN_KEYS is not set, and ACCESS_MODE is bound, which it is unless it is set; accepted: keys to sign the tokens of "
    'devices with, such as {"2026-11": "..."}, each at least 32 random characters (openssl rand -hex 32); or ACCESS_MODE=jwt '
    "behind an authorizer; or ACCESS_MODE=open on a private network, where whoever knows a device's ID speaks for it"
)


async def inline(work: Callable[..., Any], *arguments: Any) -> Any:
    """Work done where it stands: a Lambda process serves one request at a time, and a thread hop costs more than a route."""
    return work(*arguments)


def _looking(offload: Callable[..., Any]) -> Callable[..., Any]:
    """For what may be done twice: a function that was frozen wakes with connections that are long dead."""

    async def look(work: Callable[..., Any], *arguments: Any) -> Any:
        return await offload(past_dead_connections, partial(work, *arguments))

    return look


@cache
def _openapi() -> dict[str, Any]:
    """Made once, when somebody asks for it; of all calls, whether they have been loaded or not."""
    from functions.describing import described

    app = FastAPI(title=_TITLE, version=_VERSION)
    include_all(app)
    return described(app)


def build_app(house: House, *, one_at_a_time: bool) -> FastAPI:
    check(house.settings)
    return app_of(house.settings, lambda: house, one_at_a_time=one_at_a_time)


def check(settings: Settings) -> None:
    if settings.access_mode == "bound" and settings.device_token_keys is None:
        raise SettingsError([_NO_KEYS])


def app_of(settings: Settings, houses: Callable[[], House], *, one_at_a_time: bool) -> FastAPI:
    """Each request asks for the house, which a function on Lambda builds at the first, and anew when its secrets have changed. What
    the application itself is made of are settings that are no secrets.
    """
    app = FastAPI(title=_TITLE, version=_VERSION, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.offload = inline if one_at_a_time else run_in_threadpool
    app.state.look = _looking(app.state.offload)
    app.state.streams = Streams(houses, buffers=one_at_a_time)
    guard(app, settings, houses)
    app.add_exception_handler(HTTPException, handle)
    app.add_exception_handler(RequestValidationError, handle)
    include(app, rest_later=one_at_a_time)
    app.openapi = _openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it
    return app
