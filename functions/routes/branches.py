"""Forks, rewinds and merges of a conversation, and what can be taken back of them."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel

from core.access import Caller
from core.entrance import nothing_for
from core.house import House
from core.ids import SessionId
from core.joining import Preview
from core.store import sessions
from core.store.revisions import Revision
from core.store.sessions import StoredSession
from core.tries import past_dead_connections
from functions.answers import JsonAnswer, session_shape, version_header
from functions.branching import (
    WantedFork,
    WantedMerge,
    preview_shape,
    read_fork,
    read_merge,
    read_rewind,
    revision_shape,
)
from functions.incoming import NAMES_SESSION, Asking, IdempotencyKey, TheHouse
from functions.matching import IfMatch, session_answer
from functions.shapes import PROBLEMS, SessionShape
from functions.shapes_branches import (
    ForkBody,
    MergeBody,
    PreviewShape,
    RevisedShape,
    RevisionsShape,
    RewindBody,
)

router = APIRouter(prefix="/v1/sessions/{session_id}", tags=["branches"], dependencies=[NAMES_SESSION])


def _body(shape: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    content = {"application/json": {"schema": shape.model_json_schema()}}
    return {"requestBody": {"required": required, "content": content}}


_FORKED: dict[int | str, dict[str, Any]] = {
    200: {"model": SessionShape, "description": "It was made before, under this key"},
    **PROBLEMS,
}


@router.post(
    "/fork",
    summary="Begin a new conversation with what was said in this one",
    status_code=201,
    response_model=SessionShape,
    responses=_FORKED,
    openapi_extra=_body(ForkBody, required=False),
)
async def fork(request: Request, house: TheHouse, caller: Asking, key: IdempotencyKey) -> JsonAnswer:
    """It is yours, and has a budget of its own. With an `Idempotency-Key` it is made once, however often it is sent."""
    wanted = await read_fork(request, house)
    session, is_new = await request.app.state.offload(_fork, house, caller, wanted, key)
    return session_answer(session, 201 if is_new else 200, {"Location": f"/v1/sessions/{session.id}"})


@router.post(
    "/rewind",
    summary="Tell the model no more of what was said behind a message",
    response_model=RevisedShape,
    responses=PROBLEMS,
    openapi_extra=_body(RewindBody),
)
async def rewind(request: Request, house: TheHouse, caller: Asking) -> JsonAnswer:
    """The messages stay, and say that they are left out. It can be undone until `undo_until`, while nothing is said after it."""
    to = await read_rewind(request, house)
    return _revised(*await request.app.state.offload(_rewind, house, caller, to))


@router.post(
    "/merge",
    summary="Make another conversation a part of this one",
    response_model=RevisedShape | PreviewShape,
    responses=PROBLEMS,
    openapi_extra=_body(MergeBody),
)
async def merge(request: Request, house: TheHouse, caller: Asking, seen: IfMatch) -> JsonAnswer:
    """With `preview` it says what would come of it, and writes nothing. Then send `If-Match` with the preview's `etag`."""
    wanted = await read_merge(request, house)
    if wanted.is_preview:
        preview: Preview = await request.app.state.offload(
            house.branches.preview, caller, wanted.source_id, wanted.keep
        )
        return JsonAnswer(preview_shape(preview), headers={"ETag": preview.etag})
    return _revised(
        *await request.app.state.offload(_merge, house, caller, wanted, None if seen is None else seen.tags)
    )


@router.get(
    "/revisions",
    summary="What was rewound and merged, the newest first",
    response_model=RevisionsShape,
    responses=PROBLEMS,
)
async def revisions(request: Request, house: TheHouse, caller: Asking) -> JsonAnswer:
    found = await request.app.state.offload(house.branches.revisions, caller)
    return JsonAnswer({"items": [revision_shape(revision) for revision in found]})


@router.post(
    "/revisions/{revision_id}/undo",
    summary="Take a rewind or a merge back",
    response_model=RevisedShape,
    responses=PROBLEMS,
)
async def undo(revision_id: UUID, request: Request, house: TheHouse, caller: Asking) -> JsonAnswer:
    """What a merge brought is told no more, and the other conversation is there again. What others changed since stays, and is
    named in `left`. The same again changes nothing.
    """
    return _revised(*await request.app.state.offload(_undo, house, caller, revision_id))


def _fork(house: House, caller: Caller, wanted: WantedFork, key: str | None) -> tuple[StoredSession, bool]:
    made = house.branches.fork(caller, wanted.at, wanted.metadata, key=key, asked=wanted.asked)
    return _session(
        house, Caller(caller.device_id, caller.token_version, caller.subject), made.session_id
    ), made.is_new


def _rewind(house: House, caller: Caller, to: int) -> tuple[Revision, StoredSession]:
    return _with_session(house, caller, house.branches.rewind(caller, to))


def _merge(
    house: House, caller: Caller, wanted: WantedMerge, seen: Collection[str] | None
) -> tuple[Revision, StoredSession]:
    return _with_session(house, caller, house.branches.merge(caller, wanted.source_id, wanted.keep, seen))


def _undo(house: House, caller: Caller, revision_id: UUID) -> tuple[Revision, StoredSession]:
    return _with_session(house, caller, house.branches.undo(caller, revision_id))


def _with_session(house: House, caller: Caller, revision: Revision) -> tuple[Revision, StoredSession]:
    return revision, _session(house, caller, revision.session_id)


def _session(house: House, caller: Caller, session_id: SessionId) -> StoredSession:
    named = caller.about(session_id)
    found = past_dead_connections(lambda: sessions.find(house.database, named))
    if found is None:
        raise nothing_for(house.database, named)
    return found


def _revised(revision: Revision, session: StoredSession) -> JsonAnswer:
    return JsonAnswer(
        {"revision": revision_shape(revision), "session": session_shape(session)},
        headers=version_header(session.id, session.version),
    )
