"""One conversation, as operators see it, without what was said in it; and what they do to it."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from core.errors import FieldProblem, InvalidRequest, SessionNotFound
from core.house import House
from core.ids import SessionId, TurnId
from core.operating import Done
from core.store import lookups, seen
from core.store.database import Database
from core.store.lookups import Found
from core.store.seen import Seen, Window
from functions.answers import JsonAnswer
from functions.answers_seen import done_shape, found_shape, seen_shape
from functions.identity import Admin, Operator
from functions.incoming import TheHouse, is_uuid, read_fields
from functions.shapes import PROBLEMS
from functions.shapes_seen import CancelBody, DoneShape, FoundShape, SeenSessionShape

router = APIRouter(prefix="/v1/admin", tags=["admin"], dependencies=[Admin])

_MOST_FOUND = 20
_HIGHEST = 2**63 - 1
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {"application/json": {"schema": CancelBody.model_json_schema()}},
    }
}
_NAMED = "/sessions/{session_id}"
Before = Annotated[int | None, Query(ge=0, le=_HIGHEST, description="A turn's seq: those before it.")]
AuditBefore = Annotated[
    int | None, Query(ge=0, le=_HIGHEST, description="The id of a line of the audit: those before it.")
]
Turns = Annotated[int, Query(ge=1, le=100, description="How many turns, the last ones.")]
Beginning = Annotated[
    str,
    Query(
        min_length=4,
        max_length=36,
        pattern="^[0-9a-fA-F]{4}[0-9a-fA-F-]*$",
        description="A conversation's ID or the beginning of one, or a user's ID.",
    ),
]


@router.get("/search", summary="Find conversations by an ID", response_model=FoundShape, responses=PROBLEMS)
async def search(request: Request, house: TheHouse, q: Beginning) -> JsonAnswer:
    """At most 20. A turn's ID, or the digest that lines of the log carry, finds nothing: docs/operators.md says how to get from those
    to a conversation.
    """
    found, more = await request.app.state.look(_find, house.database, q)
    return JsonAnswer(found_shape(found, more=more))


@router.get(
    _NAMED,
    summary="One conversation, without what was said in it",
    response_model=SeenSessionShape,
    responses=PROBLEMS,
)
async def see(
    request: Request,
    house: TheHouse,
    session_id: UUID,
    turns: Turns = 50,
    before: Before = None,
    audit_before: AuditBefore = None,
) -> JsonAnswer:
    """Its lock, its lease, its last turns with what was done in them, and the last lines of its audit, without their reasons; also when
    its time is over, until it is cleaned up.
    """
    window = Window(turns, before, audit_before)
    return JsonAnswer(seen_shape(await request.app.state.look(_see, house.database, session_id, window)))


@router.delete(
    f"{_NAMED}/lock", summary="Have the manager answer", response_model=DoneShape, responses=PROBLEMS
)
async def clear_lock(request: Request, house: TheHouse, session_id: UUID, operator: Operator) -> JsonAnswer:
    """From the next message on. Sent again it clears what was set since."""
    return JsonAnswer(await request.app.state.offload(_clear_lock, house, session_id, operator))


@router.post(
    f"{_NAMED}/cancel",
    summary="Stop its turns",
    response_model=DoneShape,
    responses=PROBLEMS,
    openapi_extra=_BODY,
)
async def cancel(request: Request, house: TheHouse, session_id: UUID, operator: Operator) -> JsonAnswer:
    """One, or all that have not ended: those that have not begun are over with it, one that has stops at its next safe point."""
    turn_id = await _read_turn_id(request, house)
    return JsonAnswer(await request.app.state.offload(_cancel, house, session_id, turn_id, operator))


@router.post(f"{_NAMED}/recover", summary="Go on with it now", response_model=DoneShape, responses=PROBLEMS)
async def recover(request: Request, house: TheHouse, session_id: UUID, operator: Operator) -> JsonAnswer:
    """What the clean-up does each minute, for this conversation: a turn that nobody has in hand is gone on with."""
    return JsonAnswer(await request.app.state.offload(_recover, house, session_id, operator))


@router.delete(_NAMED, summary="End a conversation", status_code=204, responses=PROBLEMS)
async def end(request: Request, house: TheHouse, session_id: UUID, operator: Operator) -> Response:
    """As its owner would: it goes with all that was said in it, and with its audit. `404` where there is none."""
    await request.app.state.offload(house.operating.end, SessionId(session_id), operator)
    return Response(status_code=204)


async def _read_turn_id(request: Request, house: House) -> TurnId | None:
    given = (await read_fields(request, house, {"turn_id"})).get("turn_id")
    if given is None:
        return None
    if not is_uuid(given):
        raise InvalidRequest(errors=(FieldProblem("turn_id", "must be a turn's ID"),))
    return TurnId(UUID(given))


def _find(database: Database, beginning: str) -> tuple[list[Found], bool]:
    return lookups.find(database, beginning.replace("-", ""), _MOST_FOUND)


def _see(database: Database, session_id: UUID, window: Window) -> Seen:
    found = seen.see(database, SessionId(session_id), window)
    if found is None:
        raise SessionNotFound("There is no conversation of this ID; perhaps it has ended and was cleaned up.")
    return found


def _clear_lock(house: House, session_id: UUID, operator: str | None) -> dict[str, Any]:
    return _told(house, session_id, house.operating.clear_lock(SessionId(session_id), operator))


def _cancel(house: House, session_id: UUID, turn_id: TurnId | None, operator: str | None) -> dict[str, Any]:
    return _told(house, session_id, house.operating.cancel(SessionId(session_id), turn_id, operator))


def _recover(house: House, session_id: UUID, operator: str | None) -> dict[str, Any]:
    return _told(house, session_id, house.operating.recover(SessionId(session_id), operator))


def _told(house: House, session_id: UUID, done: Done) -> dict[str, Any]:
    return done_shape(done, _see(house.database, session_id, Window()))
