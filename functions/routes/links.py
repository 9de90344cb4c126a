"""Share links: ways into a conversation for whoever has their secret."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from core.access import Caller
from core.house import House
from core.ids import SessionId
from core.store.links import Link
from core.store.sessions import StoredSession
from functions.answers import JsonAnswer, moment
from functions.bodies import read_link, read_secret
from functions.incoming import Asking, TheHouse
from functions.matching import session_answer
from functions.shapes import PROBLEMS, SessionShape
from functions.shapes_sharing import JoinBody, LinkBody, LinksShape, NewLinkShape, body_of

router = APIRouter(prefix="/v1/links", tags=["links"])
of_session = APIRouter(prefix="/links", tags=["links"])


@of_session.get("", summary="The links that are good now", response_model=LinksShape, responses=PROBLEMS)
async def list_links(request: Request, house: TheHouse, caller: Asking) -> JsonAnswer:
    """For its owners, the newest first, without their secrets."""
    found = await request.app.state.look(house.sharing.links, caller)
    return JsonAnswer({"items": [_shape(link) for link in found]})


@of_session.post(
    "",
    summary="Make a link",
    status_code=201,
    response_model=NewLinkShape,
    responses=PROBLEMS,
    openapi_extra=body_of(LinkBody),
)
async def make_link(request: Request, house: TheHouse, caller: Asking) -> JsonAnswer:
    """For its owners. `link` is told this once: whoever has it sends it as `X-Share-Link`, or joins by it."""
    role, ttl_s = await read_link(request, house)
    made = await request.app.state.offload(house.sharing.make_link, caller, role, ttl_s)
    where = {"Location": f"{request.url.path}/{made.link.id}"}
    return JsonAnswer({**_shape(made.link), "link": made.secret}, 201, where)


@of_session.delete("/{link_id}", summary="Take a link back", status_code=204, responses=PROBLEMS)
async def revoke_link(link_id: UUID, request: Request, house: TheHouse, caller: Asking) -> Response:
    """At once: nobody reads or writes by it any more. Who has joined by it stays a member."""
    await request.app.state.offload(house.sharing.revoke_link, caller, link_id)
    return Response(status_code=204)


@router.post(
    "/join",
    summary="Join by a link",
    response_model=SessionShape,
    responses=PROBLEMS,
    openapi_extra=body_of(JoinBody),
)
async def join(request: Request, house: TheHouse, caller: Asking) -> JsonAnswer:
    """Your user is a member from now on, as what the link says, and never as less than before. The device stays where it is:
    `PUT /v1/session` enters.
    """
    session_id, link = await read_secret(request, house)
    return session_answer(await request.app.state.offload(_join, house, caller, session_id, link))


def _join(house: House, caller: Caller, session_id: SessionId, link: str) -> StoredSession:
    by_itself = Caller(caller.device_id, caller.token_version, caller.subject)
    house.sharing.join(by_itself, session_id, link)
    return house.desk.look(by_itself.about(session_id))


def _shape(link: Link) -> dict[str, Any]:
    return {
        "id": str(link.id),
        "role": link.role,
        "created_at": moment(link.created_at),
        "expires_at": moment(link.expires_at),
    }
