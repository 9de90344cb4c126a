"""Turns: send a message, look at what became of it, stop it."""

from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from core.access import Caller, Who
from core.access import caller as whoever
from core.errors import DatabaseUnavailable, LastEventIdWithoutKey
from core.house import House
from core.ids import TurnId
from core.position import Position
from core.sessions.current import Told
from core.shown import Turn
from core.store.claims import Arrival
from functions.answers import JsonAnswer, turn_shape, version_header
from functions.incoming import Asking, IdempotencyKey, TheHouse, prefers_async, read_arrival, wants_events
from functions.server_sent import MEDIA_TYPE, encoded_alone
from functions.shapes import PROBLEMS, STREAM, TurnBody, TurnShape
from functions.streams import Streams

router = APIRouter(prefix="/v1/turns", tags=["turns"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": TurnBody.model_json_schema()}},
    }
}
LastEventId = Annotated[
    str | None, Query(description="As the header Last-Event-ID, for whoever cannot set headers.")
]
LastEvent = Annotated[
    str | None, Header(alias="Last-Event-ID", description="The ID of the last event that the client has.")
]
Wait = Annotated[float, Query(ge=0, le=25, description="Seconds to wait for the turn to end.")]


@router.post(
    "", summary="Send a message", response_model=TurnShape, responses=STREAM | PROBLEMS, openapi_extra=_BODY
)
async def send(request: Request, house: TheHouse, caller: Asking, key: IdempotencyKey) -> Response:
    """`200`: the turn is over. `202`: it goes on; `Location` says where to look, `Retry-After` when.

    The header `Prefer: respond-async` is the same as `wait_s` 0. With `Accept: text/event-stream` the turn is told as it goes on.
    """
    last = _last_event(request, key) if wants_events(request) else None
    arrival, wait_s = await read_arrival(request, house, caller, key)
    if wants_events(request):
        return await _stream(request, house, arrival, wait_s, last)
    turn = await request.app.state.offload(_send, house, arrival, wait_s)
    return _answer(turn, {"Preference-Applied": "respond-async"} if prefers_async(request) else {})


@router.get("/{turn_id}", summary="Look at a turn", response_model=TurnShape, responses=PROBLEMS)
async def look(
    turn_id: UUID, request: Request, house: TheHouse, caller: Asking, wait_s: Wait = 0
) -> JsonAnswer:
    turn = await request.app.state.offload(_look, house, caller, TurnId(turn_id), wait_s)
    return JsonAnswer(turn_shape(turn), headers=_version(turn))


@router.get(
    "/{turn_id}/events",
    summary="Read along",
    response_class=Response,
    responses=STREAM | {204: {"description": "All of it was told"}} | PROBLEMS,
)
async def events(
    turn_id: UUID,
    request: Request,
    house: TheHouse,
    caller: Asking,
    last_event_id: LastEventId = None,
    last_event: LastEvent = None,
) -> Response:
    """The turn from its beginning, or from after the event that is named, as it goes on."""
    streams: Streams = request.app.state.streams
    last = last_event if last_event is not None else last_event_id
    offload = request.app.state.offload if streams.buffers else streams.looking
    reader = await offload(streams.open, caller, TurnId(turn_id), last)
    return await streams.told(reader, partial(_look, house, caller, wait_s=0))


async def _stream(
    request: Request, house: House, arrival: Arrival, wait_s: float, last: str | None
) -> Response:
    """What is wrong before the message is accepted is a problem, as ever; after it the stream begins."""
    streams: Streams = request.app.state.streams
    offload, who = request.app.state.offload, whoever(arrival.who)
    if streams.buffers:
        turn = await offload(_send, house, arrival, wait_s)
        if turn.session_id is None:
            return Response(encoded_alone(turn), media_type=MEDIA_TYPE)
        turn_id, left = turn.id, turn.left
    else:
        try:
            turn_id, left = await offload(streams.begin, arrival)
        except DatabaseUnavailable:
            if not house.turns.stateless_without_database:
                raise
            alone = await offload(house.turns.answer_alone, arrival)
            return Response(encoded_alone(alone), media_type=MEDIA_TYPE)
    reader = await offload(partial(streams.open, who, turn_id, last, strictly=False))
    told = await streams.told(reader, partial(_look, house, who, wait_s=0), waits=False)
    told.headers.update({} if left is None else left.headers)
    return told


def _last_event(request: Request, key: str | None) -> str | None:
    last = request.headers.get("last-event-id")
    if last is not None:
        Position.read(last)
        if key is None:
            raise LastEventIdWithoutKey
    return last


@router.post("/{turn_id}/cancel", summary="Stop a turn", response_model=TurnShape, responses=PROBLEMS)
async def cancel(turn_id: UUID, request: Request, house: TheHouse, caller: Asking) -> JsonAnswer:
    """`200`: the turn is over, cancelled now or ended before. `202`: it stops at its next safe point."""
    return _answer(await request.app.state.offload(_cancel, house, caller, TurnId(turn_id)))


def _send(house: House, arrival: Arrival, wait_s: float) -> Turn:
    return _told(house, arrival.who, house.turns.answer(arrival, wait_s))


def _look(house: House, caller: Caller, turn_id: TurnId, wait_s: float) -> Turn:
    return _told(house, caller, house.turns.look(caller, turn_id, wait_s))


def _cancel(house: House, caller: Caller, turn_id: TurnId) -> Turn:
    turn = house.turns.cancel(caller, turn_id)
    if turn.session_id is not None:
        house.current.changed(caller.device_id, Told(turn.session_id, turn.version), turn.epoch)
    return turn


def _told(house: House, who: Who, turn: Turn) -> Turn:
    asked = whoever(who)
    if turn.session_id is not None and asked.session_id is None:
        house.current.told.note(asked.device_id, Told(turn.session_id, turn.version))
    return turn


def _answer(turn: Turn, headers: dict[str, str] | None = None) -> JsonAnswer:
    """The headers are for a turn that goes on."""
    if turn.is_over:
        return JsonAnswer(turn_shape(turn), 200, {**_version(turn), **_left(turn)})
    going_on = {"Location": f"/v1/turns/{turn.id}", "Retry-After": "1"}
    return JsonAnswer(turn_shape(turn), 202, {**going_on, **_version(turn), **_left(turn), **(headers or {})})


def _left(turn: Turn) -> dict[str, str]:
    return {} if turn.left is None else turn.left.headers


def _version(turn: Turn) -> dict[str, str]:
    return {} if turn.session_id is None else version_header(turn.session_id, turn.version)
