"""A conversation, the device's current one or the one that the path names: how it stands, and what was said in it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from core.access import Caller, Role
from core.entrance import enter
from core.errors import FieldProblem, InvalidRequest
from core.sessions.current import ENDED
from core.store import audit, messages, todos
from core.store.audit import Note
from core.store.database import Database
from core.store.messages import Page
from core.store.todos import Todo
from functions.answers import (
    JsonAnswer,
    note_shape,
    page_shape,
    todo_shape,
    version_header,
)
from functions.bodies import read_metadata
from functions.incoming import Asking, Seen, TheHouse
from functions.matching import IfMatch, session_answer
from functions.shapes import PROBLEMS, AuditShape, MessagesShape, SessionShape, TodosShape
from functions.shapes_sharing import EditBody, body_of

router = APIRouter(tags=["session"])

_BODY = body_of(EditBody)
_HIGHEST = 2**63 - 1
Seq = Annotated[
    int | None, Query(ge=0, le=_HIGHEST, description="A message's seq: those before it, or after it.")
]
Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("", summary="How the conversation stands", response_model=SessionShape, responses=PROBLEMS)
async def look(request: Request, house: TheHouse, caller: Asking, seen: Seen) -> JsonAnswer:
    """Whoever looks uses it: it lives on for as long as it would without being used, until `expires_at`. Answered from the cache where there is one, and never older than what this client was told: send `X-Session-Version` back as the
    last answer carried it.
    """
    return session_answer(await request.app.state.offload(house.current.look, caller, seen))


@router.patch(
    "",
    summary="Change its metadata",
    response_model=SessionShape,
    responses=PROBLEMS,
    openapi_extra=_BODY,
)
async def edit(request: Request, house: TheHouse, caller: Asking, seen: IfMatch) -> JsonAnswer:
    """A JSON merge patch: what it names is set, what it names as null is taken away. With `If-Match`, only if nobody has edited the
    conversation since: else `412`.
    """
    part = await read_metadata(request, house, needed=True)
    return session_answer(
        await request.app.state.offload(house.desk.edit, caller, part, None if seen is None else seen.session)
    )


@router.delete("", summary="End the conversation", status_code=204, responses=PROBLEMS)
async def end(request: Request, house: TheHouse, caller: Asking) -> Response:
    """It goes with all that was said in it; the device and its user stay. `204` also where there is none, so it can be sent
    again.
    """
    ended = await request.app.state.offload(house.sessions.end_session, caller)
    headers = None if ended is None else version_header(ended.session_id, ENDED)
    return Response(status_code=204, headers=headers)


@router.get(
    "/messages", summary="What was said, oldest first", response_model=MessagesShape, responses=PROBLEMS
)
async def read(
    request: Request,
    house: TheHouse,
    caller: Asking,
    before: Seq = None,
    after: Seq = None,
    limit: Limit = 50,
) -> JsonAnswer:
    """From the beginning, or the page before or after a message. `next` goes where the cursor of this call went."""
    if before is not None and after is not None:
        raise InvalidRequest(errors=(FieldProblem("before", "goes without `after`"),))
    page = await request.app.state.look(_page, house.database, caller, before, after, limit)
    return JsonAnswer(page_shape(page, backwards=before is not None))


@router.get("/todos", summary="What the agent has to do", response_model=TodosShape, responses=PROBLEMS)
async def list_todos(request: Request, house: TheHouse, caller: Asking) -> JsonAnswer:
    items = await request.app.state.look(_todos, house.database, caller)
    return JsonAnswer({"items": [todo_shape(item) for item in items]})


@router.get(
    "/audit",
    summary="Who changed what of the conversation",
    response_model=AuditShape,
    responses=PROBLEMS,
)
async def read_audit(
    request: Request, house: TheHouse, caller: Asking, after: Seq = None, limit: Limit = 50
) -> JsonAnswer:
    """From the beginning, or after a note's `id`. `next` is what to give as `after` for the next page."""
    notes, more = await request.app.state.look(_notes, house.database, caller, after or 0, limit)
    return JsonAnswer({"items": [note_shape(n) for n in notes], "next": notes[-1].id if more else None})


def _todos(database: Database, caller: Caller) -> list[Todo]:
    found = todos.of(database, caller)
    if not found:
        enter(database, caller)
    return found


def _notes(database: Database, caller: Caller, after: int, limit: int) -> tuple[list[Note], bool]:
    notes, more = audit.page(database, caller, after, limit)
    if not notes:
        enter(database, caller, Role.EDITOR)
    return notes, more


def _page(database: Database, caller: Caller, before: int | None, after: int | None, limit: int) -> Page:
    if before is not None:
        page = messages.page_before(database, caller, before, limit)
    else:
        page = messages.page_after(database, caller, after or 0, limit)
    if not page.items:
        enter(database, caller)
    return page
