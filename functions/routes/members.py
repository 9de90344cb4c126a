"""Members of a conversation: who is in it beside its owner, and as what."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from core.ids import UserId
from core.store.members import Member
from functions.answers import JsonAnswer, moment
from functions.bodies import read_role
from functions.incoming import Asking, TheHouse
from functions.matching import IfMatch, members_tag
from functions.shapes import PROBLEMS
from functions.shapes_sharing import MemberBody, MembersShape, body_of

router = APIRouter(prefix="/members", tags=["members"])


@router.get("", summary="Who is in it", response_model=MembersShape, responses=PROBLEMS)
async def list_members(request: Request, house: TheHouse, caller: Asking) -> JsonAnswer:
    """The owner, and the members in the order in which they came."""
    return _answer(await request.app.state.look(house.sharing.members, caller))


@router.put(
    "/{user_id}",
    summary="Let somebody in, or change what they are",
    response_model=MembersShape,
    responses=PROBLEMS,
    openapi_extra=body_of(MemberBody),
)
async def let_in(
    user_id: UUID, request: Request, house: TheHouse, caller: Asking, seen: IfMatch
) -> JsonAnswer:
    """For its owners. Of an organisation's conversation: only its own people. The same again changes nothing."""
    role = await read_role(request, house)
    as_seen = None if seen is None else seen.members
    return _answer(
        await request.app.state.offload(house.sharing.let_in, caller, UserId(user_id), role, as_seen)
    )


@router.delete("/{user_id}", summary="Put somebody out, or leave", status_code=204, responses=PROBLEMS)
async def put_out(
    user_id: UUID, request: Request, house: TheHouse, caller: Asking, seen: IfMatch
) -> Response:
    """At once: nothing is written on their behalf any more, and their devices leave it. `204` also for who is no member."""
    as_seen = None if seen is None else seen.members
    await request.app.state.offload(house.sharing.put_out, caller, UserId(user_id), as_seen)
    return Response(status_code=204)


def _answer(members: list[Member]) -> JsonAnswer:
    return JsonAnswer(
        {"items": [_shape(member) for member in members]}, headers={"ETag": members_tag(members)}
    )


def _shape(member: Member) -> dict[str, Any]:
    return {
        "user_id": str(member.user_id),
        "role": member.role,
        "is_owner": member.is_owner,
        "since": moment(member.since),
    }
