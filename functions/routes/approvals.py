"""Approvals: what waits for a person, and what they decide."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request

from core.access import Caller
from core.entrance import nothing_of
from core.house import House
from core.sessions.current import Told
from core.store import approvals
from core.store.asked import Approval
from functions.answers import JsonAnswer, approval_shape, version_header
from functions.deciding import Decided, read_decision
from functions.incoming import Asking, TheHouse
from functions.shapes import PROBLEMS, ApprovalShape, ApprovalsShape, DecisionBody

router = APIRouter(prefix="/v1/approvals", tags=["approvals"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": DecisionBody.model_json_schema()}},
    }
}
Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("", summary="What waits for your decision", response_model=ApprovalsShape, responses=PROBLEMS)
async def waiting(request: Request, house: TheHouse, caller: Asking, limit: Limit = 50) -> JsonAnswer:
    """Of the newest conversation first. Each with the exact arguments of its call, for a person to see."""
    found = await request.app.state.look(_waiting, house, caller, limit)
    return JsonAnswer({"items": [approval_shape(approval) for approval in found]})


@router.post(
    "/{approval_id}",
    summary="Decide",
    response_model=ApprovalShape,
    responses=PROBLEMS,
    openapi_extra=_BODY,
)
async def decide(approval_id: UUID, request: Request, house: TheHouse, caller: Asking) -> JsonAnswer:
    """`approve` (with the `input_digest` of what the person was shown) or `deny` a call; of an outcome that nobody knows,
    say that it `happened` or that it `did_not_happen`. The same again changes nothing.
    """
    decided = await read_decision(request, house)
    approval = await request.app.state.offload(_decide, house, caller, approval_id, decided)
    return JsonAnswer(approval_shape(approval), headers=version_header(approval.session_id, approval.version))


def _waiting(house: House, caller: Caller, limit: int) -> list[Approval]:
    found = approvals.pending(house.database, caller, limit)
    if not found:
        nothing_of(house.database, caller)
    return found


def _decide(house: House, caller: Caller, approval_id: UUID, decided: Decided) -> Approval:
    approval = house.turns.decide(
        caller,
        approval_id,
        yes=decided.yes,
        kind=decided.kind,
        shown=decided.shown,
        note=decided.note,
    )
    house.current.changed(caller.device_id, Told(approval.session_id, approval.version), approval.epoch)
    return approval
