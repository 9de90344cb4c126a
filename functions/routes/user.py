"""The user: everything of theirs is erased."""

from typing import Any

from fastapi import APIRouter, Request

from core.store.erasures import Erasure
from functions.answers import JsonAnswer, moment
from functions.identity import Bearer, identify
from functions.incoming import DeviceHeader, TheHouse
from functions.shapes import PROBLEMS
from functions.shapes_transfer import ErasureShape

router = APIRouter(prefix="/v1/user", tags=["user"])

_BUDGET_S = 20.0
_RETRY_AFTER_S = 5
_ANSWERS: dict[int | str, dict[str, Any]] = {
    **PROBLEMS,
    202: {"description": "There is more to do, and it goes on: send the same again", "model": ErasureShape},
}


@router.delete("", summary="Erase everything of yours", response_model=ErasureShape, responses=_ANSWERS)
async def erase(request: Request, house: TheHouse, device_id: DeviceHeader, bearer: Bearer) -> JsonAnswer:
    """Of this device's user: conversations, what was said in those of others, devices, everything; from database, cache and archive. All
    of their devices are signed out at once. The answer is a receipt of what was removed from where; the same device is shown it
    again, also after all is gone. It cannot be taken back.
    """
    caller = await identify(request, device_id, bearer, leaves=True)
    receipt = await request.app.state.offload(house.erasing.erase, caller, _BUDGET_S)
    if receipt.ended_at is None:
        return JsonAnswer(erasure_shape(receipt), 202, {"Retry-After": str(_RETRY_AFTER_S)})
    return JsonAnswer(erasure_shape(receipt))


def erasure_shape(erasure: Erasure) -> dict[str, Any]:
    removed: dict[str, dict[str, int]] = {"postgres": {}, "elsewhere": {}, "cache": {}, "archive": {}}
    for name, count in sorted(erasure.removed.items()):
        place, _, what = name.partition(".")
        removed[place][what] = count
    return {
        "id": str(erasure.id),
        "user": erasure.user_digest,
        "requested_at": moment(erasure.created_at),
        "completed_at": moment(erasure.ended_at),
        "removed": removed,
    }
