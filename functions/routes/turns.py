"""Turns: send a message, look at what became of it."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request

from core.deadline import Deadline
from core.ids import TurnId
from core.turn import Turn
from functions.answers import JsonAnswer, turn_shape
from functions.incoming import Device, IdempotencyKey, TheHouse, read_arrival
from functions.shapes import PROBLEMS, TurnBody, TurnShape

router = APIRouter(prefix="/v1/turns", tags=["turns"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": TurnBody.model_json_schema()}},
    }
}


@router.post("", summary="Send a message", response_model=TurnShape, responses=PROBLEMS, openapi_extra=_BODY)
async def send(request: Request, house: TheHouse, device: Device, key: IdempotencyKey) -> JsonAnswer:
    deadline = Deadline.after(house.settings.turn_budget_s)
    arrival = await read_arrival(request, house, device, key)
    return _answer(await request.app.state.offload(house.turns.answer, arrival, deadline))


@router.get("/{turn_id}", summary="Look at a turn", response_model=TurnShape, responses=PROBLEMS)
async def look(turn_id: UUID, request: Request, house: TheHouse, device: Device) -> JsonAnswer:
    return _answer(await request.app.state.offload(house.turns.find, device, TurnId(turn_id)), looking=True)


def _answer(turn: Turn, *, looking: bool = False) -> JsonAnswer:
    """200 for a turn that is over, or that was only looked at; 202 for one that somebody else is still answering."""
    if turn.is_over or looking:
        return JsonAnswer(turn_shape(turn))
    return JsonAnswer(turn_shape(turn), 202, {"Location": f"/v1/turns/{turn.id}", "Retry-After": "1"})
