"""Devices: an app registers its own, signs it in, and sees and signs out the others of its user."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from core.devices import Welcome
from core.errors import FieldProblem, InvalidRequest
from core.house import House
from core.ids import DeviceId
from functions.answers import JsonAnswer, moment
from functions.identity import Bearer, identify, person
from functions.incoming import Asking, DeviceHeader, TheHouse, network, read_fields
from functions.shapes import PROBLEMS
from functions.shapes_devices import (
    LONGEST_SECRET,
    LONGEST_TOKEN,
    SHORTEST_SECRET,
    DevicesShape,
    SecretBody,
    SignedInShape,
    SignInBody,
    WelcomeShape,
)

router = APIRouter(prefix="/v1/devices", tags=["devices"])


def _takes(body: type[SecretBody | SignInBody], *, required: bool = True) -> dict[str, Any]:
    content = {"application/json": {"schema": body.model_json_schema()}}
    return {"requestBody": {"required": required, "content": content}}


@router.post(
    "",
    summary="Register this device",
    response_model=WelcomeShape,
    responses=PROBLEMS,
    openapi_extra=_takes(SecretBody),
)
async def register(request: Request, house: TheHouse, device_id: DeviceHeader, bearer: Bearer) -> JsonAnswer:
    """The app makes a secret of 32 random bytes once, keeps it beside the device's ID, and sends it here for a token: the
    first time, when its token's time is over, and whenever an answer was lost. The same secret gives the same device; with
    another one the ID is taken. Where no tokens are asked for, `token` is null.
    """
    subject = None
    if house.settings.access_mode == "jwt":
        subject = (await identify(request, device_id, bearer)).subject
    secret = await _read_text(request, house, "secret", SHORTEST_SECRET, LONGEST_SECRET)
    welcome = await request.app.state.look(
        house.devices.register, device_id, secret, subject, network(request)
    )
    return JsonAnswer({**_welcome(welcome), "mode": house.settings.access_mode})


@router.post(
    "/link",
    summary="Sign this device in",
    response_model=SignedInShape,
    responses=PROBLEMS,
    openapi_extra=_takes(SignInBody, required=False),
)
async def sign_in(request: Request, house: TheHouse, device_id: DeviceHeader, bearer: Bearer) -> JsonAnswer:
    """It is the person's from now on, and what was said from it anonymously becomes theirs: `sessions` are those that came
    along. From a device of another person nothing comes along. All or nothing, and it may be sent again. Where
    `Authorization` names the person already, `user_token` is not needed; but a device that talked before anybody was named, and has a
    secret, sends that. The device's token is a new one; the one before is worth nothing.
    """
    by_person = house.settings.access_mode == "jwt"
    version = None
    if by_person:
        who = person(request, house, bearer)
    else:
        version = (await identify(request, device_id, bearer)).token_version
    body = await read_fields(request, house, {"user_token", "secret"}, None if by_person else "user_token")
    secret = _text(body, "secret", SHORTEST_SECRET, LONGEST_SECRET) if "secret" in body else None
    if not by_person:
        who = house.tokens.person(_text(body, "user_token", 1, LONGEST_TOKEN))
    signed = await request.app.state.offload(house.devices.sign_in, device_id, version, who, secret)
    sessions = [str(session_id) for session_id in signed.sessions]
    return JsonAnswer({**_welcome(signed.welcome), "sessions": sessions})


@router.get("", summary="Your devices", response_model=DevicesShape, responses=PROBLEMS)
async def list_devices(request: Request, house: TheHouse, caller: Asking) -> JsonAnswer:
    """This one first, then the newest, those that were signed out too; at most 200."""
    found = await request.app.state.look(house.devices.listed, caller)
    items = [
        {
            "id": str(device.id),
            "created_at": moment(device.created_at),
            "is_current": device.id == caller.device_id,
            "revoked_at": moment(device.revoked_at),
        }
        for device in found
    ]
    return JsonAnswer({"items": items})


@router.delete("/{device_id:uuid}", summary="Sign a device out", status_code=204, responses=PROBLEMS)
async def sign_out(device_id: UUID, request: Request, house: TheHouse, caller: Asking) -> Response:
    """For good: its tokens are worth nothing from now on, and it leaves its conversation, which stays. To come back, its app
    makes a new ID. Any device of the user may do this, the device itself too.
    """
    await request.app.state.offload(house.devices.sign_out, caller, DeviceId(device_id))
    return Response(status_code=204)


def _welcome(welcome: Welcome) -> dict[str, Any]:
    return {
        "device_id": str(welcome.device_id),
        "user_id": str(welcome.user_id),
        "token": welcome.token,
        "expires_at": moment(welcome.expires_at),
    }


async def _read_text(request: Request, house: House, name: str, least: int, most: int) -> str:
    return _text(await read_fields(request, house, {name}, name), name, least, most)


def _text(body: dict[str, Any], name: str, least: int, most: int) -> str:
    given = body[name]
    if not isinstance(given, str) or not least <= len(given) <= most:
        raise InvalidRequest(errors=(FieldProblem(name, f"must be a text of {least} to {most} characters"),))
    return given
