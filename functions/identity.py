"""Identity: who asks, as far as that can be known without a database; and who may see the operators' figures.

    open    the header X-Device-ID alone: whoever knows a device's ID speaks for it
    bound   the device's own token beside it, which names a version that statements compare with the device's row
    jwt     a person's token, which the gateway's authorizer has verified, or which one of ours verifies

What a gateway says of a caller is believed from its event alone: no header can say it.
"""

import hmac
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from core.access import Caller
from core.errors import NoSuchPath, NotAdmin, TokenMissing
from core.house import House
from core.ids import DeviceId
from core.tokens import Person, person_of


class _Shown(HTTPBearer):
    """What is shown, as text. Each thing that one dependency asks of another costs every request as much as a small route."""

    async def __call__(self, request: Request) -> str | None:  # type: ignore[override]  # the library's says its own shape of it
        given = await super().__call__(request)
        return given.credentials.strip() or None if given is not None else None


_SHOWN: Final = _Shown(
    auto_error=False,
    scheme_name="HTTPBearer",
    description="The device's token, or the person's, by ACCESS_MODE; operators show theirs.",
)
Bearer = Annotated[str | None, Depends(_SHOWN)]


async def identify(
    request: Request, device_id: DeviceId, bearer: str | None, *, leaves: bool = False
) -> Caller:
    """Whom a call under /v1 is believed to come from. What only the database knows of them, statements look at. `leaves`: they want
    to be erased.
    """
    house: House = request.state.house
    mode = house.settings.access_mode
    if mode == "open":
        return Caller(device_id)
    if mode == "bound":
        if bearer is None:
            raise TokenMissing
        return Caller(device_id, token_version=house.tokens.device(bearer, device_id))
    who = person(request, house, bearer)
    await request.app.state.look(partial(house.devices.meet, device_id, who, leaves=leaves))
    return Caller(device_id, subject=who.subject)


def person(request: Request, house: House, bearer: str | None) -> Person:
    """Whom the request names where ACCESS_MODE is jwt."""
    claims = _verified_by_the_gateway(request)
    if claims is not None:
        return person_of(claims)
    if bearer is None or house.tokens.user_keys is None:
        raise TokenMissing(
            "This call needs `Authorization: Bearer` with the token of a person who signed in."
        )
    return house.tokens.person(bearer)


def _verified_by_the_gateway(request: Request) -> Mapping[str, Any] | None:
    found: Any = request.scope.get("aws.event")
    for name in ("requestContext", "authorizer", "jwt", "claims"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


# ---- operators


async def _admin(request: Request, bearer: Bearer) -> str | None:
    """Who the operator is for the identity provider. None: whoever has the operators' token."""
    house: House = request.state.house
    by_person = house.settings.access_mode == "jwt"
    if house.settings.admin_token is None and not by_person:
        # As if the path were not there: nobody could be let in.
        raise NoSuchPath
    if _is_admin_token(house, bearer):
        return None
    if not by_person or (bearer is None and _verified_by_the_gateway(request) is None):
        raise NotAdmin
    who = person(request, house, bearer)
    if not who.is_admin:
        raise NotAdmin
    return who.subject


def _is_admin_token(house: House, bearer: str | None) -> bool:
    """In a time that tells nothing of how much of it was right."""
    known = house.settings.admin_token
    return (
        known is not None
        and bearer is not None
        and hmac.compare_digest(bearer.encode(), known.reveal().encode())
    )


# For a router of operators' calls: `dependencies=[Admin]`.
Admin = Depends(_admin)
# For a call that is noted in the audit.
Operator = Annotated[str | None, Admin]
