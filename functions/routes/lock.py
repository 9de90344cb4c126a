"""The active-agent lock: who answers a conversation, until when."""

from typing import Any

from fastapi import APIRouter, Request

from core.access import Caller
from core.house import House
from core.sessions.service import AsOf
from core.store.sessions import StoredSession
from functions.answers import JsonAnswer
from functions.incoming import Asking, TheHouse, read_lock
from functions.matching import IfMatch, Seen, session_answer
from functions.shapes import PROBLEMS, LockBody, SessionShape

router = APIRouter(prefix="/lock", tags=["session"])

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
async def set_lock(request: Request, house: TheHouse, caller: Asking, seen: IfMatch) -> JsonAnswer:
    """From the next message on it answers, until its time is over: `ttl_s` seconds, else as long as the agent says."""
    agent, ttl_s, reason = await read_lock(request, house)
    return session_answer(await request.app.state.look(_set, house, caller, agent, ttl_s, reason, seen))


@router.delete(
    "", summary="Give the conversation back to the manager", response_model=SessionShape, responses=PROBLEMS
)
async def clear_lock(request: Request, house: TheHouse, caller: Asking, seen: IfMatch) -> JsonAnswer:
    return session_answer(await request.app.state.look(_clear, house, caller, seen))


def _set(
    house: House, caller: Caller, agent: str, ttl_s: int | None, reason: str | None, seen: Seen | None
) -> StoredSession:
    as_of = _as_of(house, caller, seen)
    house.sessions.set_session_lock(caller, agent, ttl_s=ttl_s, actor="user", reason=reason, as_of=as_of)
    return house.desk.look(caller)


def _clear(house: House, caller: Caller, seen: Seen | None) -> StoredSession:
    house.sessions.clear_session_lock(caller, actor="user", as_of=_as_of(house, caller, seen))
    return house.desk.look(caller)


def _as_of(house: House, caller: Caller, seen: Seen | None) -> AsOf | None:
    return None if seen is None else lambda: house.desk.version_seen(caller, seen.session)
