"""A user's sessions: those that they own or were let into, a new one, and which one the device is in."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request

from core.errors import CursorMalformed
from core.ids import SessionId
from core.store.user_sessions import Listed, Place
from functions.answers import JsonAnswer, moment
from functions.bodies import read_metadata, read_session_id
from functions.incoming import Asking, IdempotencyKey, TheHouse
from functions.matching import session_answer
from functions.shapes import PROBLEMS, SessionShape
from functions.shapes_sharing import BeginBody, EnterBody, ListedPage, body_of

router = APIRouter(tags=["sessions"])

Cursor = Annotated[
    str | None,
    Query(max_length=200, description="`next` of the page before.", json_schema_extra={"format": "cursor"}),
]
Limit = Annotated[int, Query(ge=1, le=100)]


@router.get("/v1/sessions", summary="Your conversations", response_model=ListedPage, responses=PROBLEMS)
async def list_sessions(
    request: Request, house: TheHouse, caller: Asking, cursor: Cursor = None, limit: Limit = 20
) -> JsonAnswer:
    """Those that are yours and those that were shared with you, the newest first. `next` is the cursor of the next page."""
    before = None if cursor is None else _place(cursor)
    listed, more = await request.app.state.look(house.desk.listed, caller, before, limit)
    return JsonAnswer(
        {"items": [_listed_shape(item) for item in listed], "next": _cursor(listed[-1]) if more else None}
    )


@router.post(
    "/v1/sessions",
    summary="Begin a conversation",
    status_code=201,
    response_model=SessionShape,
    responses=PROBLEMS,
    openapi_extra=body_of(BeginBody, required=False),
)
async def begin(request: Request, house: TheHouse, caller: Asking, key: IdempotencyKey) -> JsonAnswer:
    """An empty one, which the device is in from now on. The same `Idempotency-Key` gives the same one, as it is by then."""
    metadata = await read_metadata(request, house, needed=False)
    session = await request.app.state.offload(house.desk.begin, caller, metadata, key)
    return session_answer(session, 201, {"Location": f"/v1/sessions/{session.id}"})


@router.put(
    "/v1/session",
    summary="Enter a conversation",
    response_model=SessionShape,
    responses=PROBLEMS,
    openapi_extra=body_of(EnterBody),
    tags=["session"],
)
async def enter(request: Request, house: TheHouse, caller: Asking) -> JsonAnswer:
    """From now on the device is in it: one of yours, or one that you are a member of. A link alone does not move a device."""
    session_id = await read_session_id(request, house)
    return session_answer(await request.app.state.offload(house.desk.enter, caller, session_id))


def _listed_shape(listed: Listed) -> dict[str, Any]:
    return {
        "id": str(listed.id),
        "role": listed.held_as,
        "active_agent": listed.active_agent,
        "busy": listed.busy,
        "metadata": listed.metadata,
        "created_at": moment(listed.created_at),
        "last_active_at": moment(listed.last_active_at),
        "expires_at": moment(listed.expires_at),
    }


def _cursor(last: Listed) -> str:
    place = f"{last.created_at.isoformat()} {last.id}"
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _place(cursor: str) -> Place:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        at, id_ = base64.urlsafe_b64decode(padded).decode().split(" ")
        created_at = datetime.fromisoformat(at)
        if created_at.tzinfo is None:
            raise CursorMalformed
        return Place(created_at, SessionId(UUID(id_)))
    except (ValueError, binascii.Error):
        raise CursorMalformed from None
