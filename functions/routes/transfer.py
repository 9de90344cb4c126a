"""Transfer: a conversation leaves as a file, and comes in from one. The file is described in docs/export.md."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from core.access import Caller
from core.house import House
from core.store.sessions import StoredSession
from core.transfer.exporting import Cursor, part
from core.transfer.importing import Terms, import_session
from functions.answers import JsonAnswer, session_shape, version_header
from functions.incoming import NAMES_SESSION, Asking, IdempotencyKey, TheHouse, read_body
from functions.shapes import PROBLEMS, SessionShape

router = APIRouter(prefix="/v1", tags=["transfer"])

MEDIA_TYPE = "application/x-ndjson"
_FILE: dict[str, Any] = {"schema": {"type": "string"}}
_EXPORT: dict[int | str, dict[str, Any]] = {
    **PROBLEMS,
    200: {
        "description": "The file, or a part of it",
        "content": {MEDIA_TYPE: _FILE},
        "headers": {
            "X-Next-Part": {
                "description": "What to give as `after` for the next part. Not there: this was the last.",
                "schema": {"type": "string"},
            }
        },
    },
}
_IMPORT = {"requestBody": {"required": True, "content": {MEDIA_TYPE: _FILE}}}
After = Annotated[
    str | None, Query(max_length=200, description="The last answer's X-Next-Part: for the part after it.")
]


@router.get(
    "/session/export",
    summary="The conversation as a file",
    response_class=Response,
    responses=_EXPORT,
)
@router.get(
    "/sessions/{session_id}/export",
    summary="The conversation as a file",
    response_class=Response,
    responses=_EXPORT,
    dependencies=[NAMES_SESSION],
)
async def export(request: Request, house: TheHouse, caller: Asking, after: After = None) -> Response:
    """For its owner. JSON Lines, with all that was said and done. A long one comes in parts: as long as there is an `X-Next-Part`,
    ask again with that as `after`. The parts, one behind the other, are the file; `412` says to begin again, as it was changed meanwhile.
    """
    cursor = None if after is None else Cursor.read(after)
    found = await request.app.state.look(part, house.database, caller, cursor)
    headers = version_header(found.session_id, found.version)
    headers["Content-Disposition"] = f'attachment; filename="{found.session_id}.jsonl"'
    if found.next is not None:
        headers["X-Next-Part"] = str(found.next)
    return Response(found.content, media_type=MEDIA_TYPE, headers=headers)


@router.post(
    "/sessions/import",
    summary="Make a conversation of a file",
    status_code=201,
    response_model=SessionShape,
    responses=PROBLEMS,
    openapi_extra=_IMPORT,
)
async def import_(
    request: Request, house: TheHouse, caller: Asking, key: IdempotencyKey = None
) -> JsonAnswer:
    """Of an export: a new conversation of yours with all that it says, under new IDs. All of it or, with the line that is wrong, nothing.
    With an `Idempotency-Key` it may be sent again. The device stays in the conversation that it is in.
    """
    body = await read_body(request, house.settings.max_body_bytes)
    session = await request.app.state.offload(_import, house, caller, body, key)
    headers = {"Location": f"/v1/sessions/{session.id}", **version_header(session.id, session.version)}
    return JsonAnswer(session_shape(session), 201, headers)


def _import(house: House, caller: Caller, body: bytes, key: str | None) -> StoredSession:
    settings = house.settings
    terms = Terms(settings.max_body_bytes, settings.session_ttl_s)
    lines = body.removesuffix(b"\n").split(b"\n")
    session_id = import_session(house.database, caller, lines, terms, key)
    return house.current.look(caller.about(session_id))
