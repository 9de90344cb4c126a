"""Bodies of calls about conversations and their people, as they come in. Bad input ends here, before anything is written."""

import re
from typing import Any
from uuid import UUID

from fastapi import Request

from core.access import Role
from core.digest import digest
from core.editing import Metadata, checked
from core.errors import FieldProblem, InvalidRequest
from core.house import House
from core.ids import SessionId
from functions.incoming import read_fields, whole

_UUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_LINK = re.compile(rf"({_UUID})\.[A-Za-z0-9_-]{{43}}")
SHORTEST_LINK_S, LONGEST_LINK_S, USUAL_LINK_S = 60, 31_536_000, 604_800


async def read_metadata(request: Request, house: House, *, needed: bool) -> Metadata:
    body = await read_fields(request, house, {"metadata"}, "metadata" if needed else None)
    return checked(body.get("metadata", {}))


async def read_session_id(request: Request, house: House) -> SessionId:
    given = (await read_fields(request, house, {"session_id"}, "session_id"))["session_id"]
    if not isinstance(given, str) or not re.fullmatch(_UUID, given):
        raise _wrong("session_id", "must be a conversation's ID")
    return SessionId(UUID(given))


async def read_role(request: Request, house: House) -> Role:
    body = await read_fields(request, house, {"role"}, "role")
    return _role(body, tuple(Role))


async def read_link(request: Request, house: House) -> tuple[Role, int]:
    """What a new link is to be good for, and for how long."""
    body = await read_fields(request, house, {"role", "ttl_s"}, "role")
    ttl_s = whole(body.get("ttl_s", USUAL_LINK_S), SHORTEST_LINK_S, LONGEST_LINK_S)
    if ttl_s is None:
        problem = f"must be a whole number of seconds from {SHORTEST_LINK_S} to {LONGEST_LINK_S}"
        raise _wrong("ttl_s", problem)
    return _role(body, (Role.VIEWER, Role.EDITOR)), ttl_s


async def read_secret(request: Request, house: House) -> tuple[SessionId, str]:
    """The conversation that a link opens, and the link's digest."""
    given = (await read_fields(request, house, {"link"}, "link"))["link"]
    found = _LINK.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise _wrong("link", "must be a link as it was given: `session.secret`")
    return SessionId(UUID(found[1])), digest(found[0])


def _role(body: dict[str, Any], taken: tuple[Role, ...]) -> Role:
    if body["role"] not in list(taken):
        raise _wrong("role", f"must be one of: {', '.join(taken)}")
    return Role(body["role"])


def _wrong(field: str, problem: str) -> InvalidRequest:
    return InvalidRequest(errors=(FieldProblem(field, problem),))
