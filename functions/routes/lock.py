"""The active-agent lock: who answers the device's conversation, until when."""

from typing import Any

from fastapi import APIRouter, Request

from core.access import Caller
from core.entrance import nothing_for
from core.house import House
from core.sessions.current import Told
from core.store import sessions
from core.store.sessions import StoredSession
from functions.answers import JsonAnswer, session_shape, version_header
from functions.incoming import Asking, TheHouse, read_lock
from functions.shapes import PROBLEMS, LockBody, SessionShape

router = APIRouter(prefix="/v1/session/lock", tags=["session"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": LockBody.model_json_schema()}},
    }
}


@router.put(
    "",
    summary="Let an agent have the conversation",
    response_model=SessionShape,
    responses=PROBLEMS,
    openapi_extra=_BODY,
)
async def set_lock(request: Request, house: TheHouse, caller: Asking) -> JsonAnswer:
    """From the next message on it answers, until its time is over: `ttl_s` seconds, else as long as the agent says."""
    agent, ttl_s, reason = await read_lock(request, house)
    return _answer(await request.app.state.look(_set, house, caller, agent, ttl_s, reason))


@router.delete(
    "", summary="Give the conversation back to the manager", response_model=SessionShape, responses=PROBLEMS
)
async def clear_lock(request: Request, house: TheHouse, caller: Asking) -> JsonAnswer:
    return _answer(await request.app.state.look(_clear, house, caller))


def _set(house: House, caller: Caller, agent: str, ttl_s: int | None, reason: str | None) -> StoredSession:
    house.sessions.set_session_lock(caller, agent, ttl_s=ttl_s, actor="user", reason=reason)
    return _stored(house, caller)


def _clear(house: House, caller: Caller) -> StoredSession:
    house.sessions.clear_session_lock(caller, actor="user")
    return _stored(house, caller)


def _stored(house: House, caller: Caller) -> StoredSession:
    found = sessions.find(house.database, caller)
    if found is None:
        raise nothing_for(house.database, caller)
    house.current.told.note(caller.device_id, Told(found.id, found.version))
    return found


def _answer(session: StoredSession) -> JsonAnswer:
    return JsonAnswer(session_shape(session), headers=version_header(session.id, session.version))
