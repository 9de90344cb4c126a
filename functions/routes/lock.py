"""The active-agent lock: who answers the device's conversation, until when."""

from typing import Any

from fastapi import APIRouter, Request

from core.errors import SessionNotFound
from core.house import House
from core.ids import DeviceId
from core.sessions.current import Told
from core.store import sessions
from core.store.sessions import StoredSession
from functions.answers import JsonAnswer, session_shape, version_header
from functions.incoming import Device, TheHouse, read_lock
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
async def set_lock(request: Request, house: TheHouse, device: Device) -> JsonAnswer:
    """From the next message on it answers, until its time is over: `ttl_s` seconds, else as long as the agent says."""
    agent, ttl_s, reason = await read_lock(request, house)
    return _answer(await request.app.state.look(_set, house, device, agent, ttl_s, reason))


@router.delete(
    "", summary="Give the conversation back to the manager", response_model=SessionShape, responses=PROBLEMS
)
async def clear_lock(request: Request, house: TheHouse, device: Device) -> JsonAnswer:
    return _answer(await request.app.state.look(_clear, house, device))


def _set(house: House, device: DeviceId, agent: str, ttl_s: int | None, reason: str | None) -> StoredSession:
    house.sessions.set_session_lock(device, agent, ttl_s=ttl_s, actor="user", reason=reason)
    return _stored(house, device)


def _clear(house: House, device: DeviceId) -> StoredSession:
    house.sessions.clear_session_lock(device, actor="user")
    return _stored(house, device)


def _stored(house: House, device: DeviceId) -> StoredSession:
    found = sessions.find(house.database, device)
    if found is None:
        raise SessionNotFound
    house.current.told.note(device, Told(found.id, found.version))
    return found


def _answer(session: StoredSession) -> JsonAnswer:
    return JsonAnswer(session_shape(session), headers=version_header(session.id, session.version))
