"""Which resources there are, and which of them are there before the first request.

On Lambda each cold start pays for all that is imported. A turn and a look at the conversation need a few of these; the others, with
their shapes and what of the library they alone use, are loaded by the first request that none of the few answers: once a process.
"""

from fastapi import FastAPI
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from functions.incoming import NAMES_SESSION
from functions.routes import health, lock, session, turns

# What is not said to be a UUID is no conversation's name: it may be another call's.
NAMED = "/v1/sessions/{session_id:uuid}"


def include(app: FastAPI, *, rest_later: bool) -> None:
    if not rest_later:
        include_all(app)
        return
    app.include_router(turns.router)
    app.include_router(health.router)
    for router in (session.router, lock.router):
        app.include_router(router, prefix="/v1/session")
    app.router.routes.append(_Rest(app))


def include_all(app: FastAPI) -> None:
    """In the order in which OpenAPI tells them."""
    app.include_router(turns.router)
    _include_others(app)
    app.include_router(health.router)
    for router in (session.router, lock.router):
        app.include_router(router, prefix="/v1/session")
    _include_named(app)


def _include_others(app: FastAPI) -> None:
    from functions.routes import (
        admin,
        admin_sessions,
        approvals,
        branches,
        devices,
        links,
        sessions,
        transfer,
        user,
        web,
    )

    for resource in (
        sessions,
        links,
        approvals,
        devices,
        branches,
        transfer,
        user,
        admin,
        admin_sessions,
        web,
    ):
        app.include_router(resource.router)


def _include_named(app: FastAPI) -> None:
    """The same of the conversation that the path names as of the one that the device is in, and who else is in it."""
    from functions.routes import links, members

    for router in (session.router, lock.router, members.router, links.of_session):
        app.include_router(router, prefix=NAMED, dependencies=[NAMES_SESSION])


class _Rest(BaseRoute):
    """Stands behind those that are there, and answers nothing itself: whoever gets this far is looked for among the others, which
    stand behind it from then on.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._is_there = False

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        del scope
        if not self._is_there:
            _include_others(self._app)
            _include_named(self._app)
            self._is_there = True
        return Match.NONE, {}
