"""What comes in: the device, the idempotency key, the body. Bad input ends here, before anything is written."""

import json
import re
from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Request

from core.acceptance import accept
from core.access import Caller
from core.agents.builtin import LONGEST_REASON, clean
from core.answering import LONGEST_WAIT_S
from core.content import dump
from core.digest import digest
from core.errors import (
    BadJson,
    BodyTooLarge,
    DeviceIdMalformed,
    DeviceIdMissing,
    FieldProblem,
    IdempotencyKeyMalformed,
    InvalidRequest,
    InvalidUtf8,
    SessionVersionMalformed,
    ShareLinkMalformed,
)
from core.house import House
from core.ids import DeviceId, SessionId, new_session_id, new_turn_id, new_user_id
from core.policies import OnBusy
from core.rates import address_class
from core.sessions.current import Told
from core.store.claims import Arrival
from functions.identity import Bearer, identify

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TOLD = re.compile(rf"({_UUID.pattern})\.([0-9]{{1,19}})")
# The conversation, and 32 random bytes in base64url.
_LINK = re.compile(rf"({_UUID.pattern})\.([A-Za-z0-9_-]{{43}})")
# Named in `Accept`, and not with the weight 0, which says that it is not wanted.
_EVENTS = re.compile(r"text/event-stream(?!.*;q=0(\.0*)?(;|$))(;.*)?")
_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
_LONGEST_LOCK_S = 31_536_000
_TURN_FIELDS = {"message", "on_busy", "session_id", "wait_s"}


async def _device_header(
    x_device_id: Annotated[
        str | None,
        Header(description="A UUID that the app made once and keeps.", examples=[str(UUID(int=7))]),
    ] = None,
) -> DeviceId:
    if x_device_id is None or not x_device_id.strip():
        raise DeviceIdMissing
    if not _UUID.fullmatch(x_device_id.strip()):
        raise DeviceIdMalformed
    device = UUID(x_device_id.strip())
    if not device.int:
        # What a phone gives to apps that may not know it: thousands of people would share one conversation.
        raise DeviceIdMalformed(
            "X-Device-ID is all zeros, which no device owns. Make a random UUID once and keep it."
        )
    return DeviceId(device)


async def _idempotency_key(
    idempotency_key: Annotated[
        str | None, Header(description="The same key gives the same turn, however often it is sent.")
    ] = None,
) -> str | None:
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise IdempotencyKeyMalformed
    return idempotency_key


async def _seen(
    x_session_version: Annotated[
        str | None,
        Header(
            description="The last one that an answer carried. With it, nothing older than that answer is shown."
        ),
    ] = None,
) -> Told | None:
    if x_session_version is None:
        return None
    found = _TOLD.fullmatch(x_session_version.strip())
    if found is None:
        raise SessionVersionMalformed
    return Told(SessionId(UUID(found[1])), int(found[3]))


async def _asking(
    request: Request,
    device_id: Annotated[DeviceId, Depends(_device_header)],
    bearer: Bearer,
    x_share_link: Annotated[
        str | None, Header(description="A share link's secret, as whoever shares gave it.")
    ] = None,
) -> Caller:
    """Who asks, and which conversation they mean: the one that the path names, or that their link opens, or that they are in."""
    caller = await identify(request, device_id, bearer)
    session_id = _in_path(request)
    if x_share_link is None:
        return caller.about(session_id)
    found = _LINK.fullmatch(x_share_link.strip())
    if found is None:
        raise ShareLinkMalformed
    return replace(
        caller, link=digest(x_share_link.strip()), session_id=session_id or SessionId(UUID(found[1]))
    )


def _in_path(request: Request) -> SessionId | None:
    """However its ID is written there; never the current one in place of one that cannot be read."""
    named = request.path_params.get("session_id")
    try:
        return None if named is None else SessionId(UUID(str(named)))
    except ValueError:
        raise InvalidRequest(errors=(FieldProblem("session_id", "must be a conversation's ID"),)) from None


async def _names_session(session_id: UUID) -> None:
    """Where a path names a conversation: it is declared here, and read by `_asking`."""


async def _house(request: Request) -> House:
    house: House = request.state.house
    return house


# The device that a call names, whether or not it may speak for it: for calls that find that out themselves.
DeviceHeader = Annotated[DeviceId, Depends(_device_header)]
IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
Seen = Annotated[Told | None, Depends(_seen)]
Asking = Annotated[Caller, Depends(_asking)]
NAMES_SESSION = Depends(_names_session)
TheHouse = Annotated[House, Depends(_house)]


async def read_arrival(
    request: Request, house: House, caller: Caller, key: str | None
) -> tuple[Arrival, float]:
    """The message, and how many seconds its client waits for the answer."""
    body = await read_fields(request, house, _TURN_FIELDS, "message")
    settings = house.settings
    content = dump(accept(body["message"], settings.max_message_bytes, settings.max_images))
    on_busy = _on_busy(body.get("on_busy", OnBusy.QUEUE))
    named = _named_session(body.get("session_id"))
    arrival = Arrival(
        device_id=caller.device_id,
        content=content,
        # How long the client waits is not part of what it says: a retry may wait longer.
        body_digest=digest(f"{on_busy} {content}"),
        idempotency_key=key,
        turn_id=new_turn_id(),
        session_id=new_session_id(),
        user_id=new_user_id(),
        on_busy=on_busy,
        caller=caller if named is None else caller.about(named),
        address_class=network(request),
    )
    return arrival, _wait_s(request, body.get("wait_s", LONGEST_WAIT_S))


def network(request: Request) -> str | None:
    """The class of the address that it came from, as rates know it: never the address itself. None: that is not known."""
    return address_class(request.client.host if request.client else None)


async def read_fields(
    request: Request, house: House, taken: set[str], needed: str | None = None
) -> dict[str, Any]:
    """A body that is one JSON object with these fields and no others. Where none is needed, there may be no body."""
    sent = await read_body(request, house.settings.max_body_bytes)
    body = {} if not sent and needed is None else parse_json(sent)
    if not isinstance(body, dict):
        such = needed or min(taken)
        raise InvalidRequest(f'The body must be a JSON object such as {{"{such}": ...}}; nothing was stored.')
    problems = [
        FieldProblem(field[:64], f"is not a field of this call; it takes: {', '.join(sorted(taken))}")
        for field in body
        if field not in taken
    ]
    if needed is not None and needed not in body:
        problems.append(FieldProblem(needed, "is missing"))
    if problems:
        raise InvalidRequest(errors=tuple(problems))
    return body


def is_uuid(given: object) -> bool:
    return isinstance(given, str) and _UUID.fullmatch(given) is not None


async def read_lock(request: Request, house: House) -> tuple[str, int | None, str | None]:
    """Whom the caller wants to hold the conversation, for how many seconds, and why."""
    body = await read_fields(request, house, {"agent", "ttl_s", "reason"}, "agent")
    agent, ttl_s, reason = body["agent"], body.get("ttl_s"), body.get("reason")
    problems = []
    if not isinstance(agent, str):
        problems.append(FieldProblem("agent", "must be an agent's key"))
    ttl_s = None if ttl_s is None else whole(ttl_s, 1, _LONGEST_LOCK_S)
    if ttl_s is None and body.get("ttl_s") is not None:
        problems.append(
            FieldProblem("ttl_s", f"must be a whole number of seconds from 1 to {_LONGEST_LOCK_S}")
        )
    if reason is not None and not (isinstance(reason, str) and len(reason) <= LONGEST_REASON):
        problems.append(FieldProblem("reason", f"must be a text of at most {LONGEST_REASON} characters"))
    if problems:
        raise InvalidRequest(errors=tuple(problems))
    return agent, ttl_s, None if reason is None else clean(reason, LONGEST_REASON)


def _named_session(given: object) -> SessionId | None:
    if given is None:
        return None
    if not isinstance(given, str) or not _UUID.fullmatch(given):
        raise InvalidRequest(errors=(FieldProblem("session_id", "must be a conversation's ID"),))
    return SessionId(UUID(given))


def whole(given: object, least: int, most: int) -> int | None:
    """A whole number as JSON has it, where 60.0 is one too. None: it is none, or not between these."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not least <= given <= most:
        return None
    return int(given) if given == int(given) else None


def _on_busy(given: object) -> str:
    if given not in list(OnBusy):
        raise InvalidRequest(errors=(FieldProblem("on_busy", f"must be one of: {', '.join(OnBusy)}"),))
    return str(given)


def _wait_s(request: Request, given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= LONGEST_WAIT_S:
        raise InvalidRequest(
            errors=(FieldProblem("wait_s", f"must be a number of seconds from 0 to {LONGEST_WAIT_S:g}"),)
        )
    return 0.0 if prefers_async(request) else float(given)


def prefers_async(request: Request) -> bool:
    preferences = ",".join(request.headers.getlist("prefer")).lower().split(",")
    return any(preference.partition(";")[0].strip() == "respond-async" for preference in preferences)


def wants_events(request: Request) -> bool:
    accepted = ",".join(request.headers.getlist("accept")).lower().replace(" ", "").split(",")
    return any(_EVENTS.fullmatch(media) for media in accepted)


def parse_json(body: bytes) -> Any:
    """Strictly: no NaN, no field twice, nothing that Python reads and JSON does not know."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidUtf8(f"The body is not valid UTF-8 at byte {error.start}; nothing was stored.") from None
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise BadJson(
            f"Not JSON at line {error.lineno}, column {error.colno}: {error.msg}. Nothing was stored."
        ) from None
    except RecursionError:
        raise BadJson("The JSON is nested too deeply; nothing was stored.") from None
    except ValueError:
        raise BadJson("The JSON holds a number that is too long to read; nothing was stored.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise BadJson("The JSON has an object with the same field twice; nothing was stored.")
    return fields


def _no_constant(name: str) -> None:
    raise BadJson(f"{name} is not JSON; nothing was stored.")


async def read_body(request: Request, max_bytes: int) -> bytes:
    """At most so much is ever held, whatever Content-Length claims."""
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > max_bytes:
            raise BodyTooLarge(f"The body has more than {max_bytes} bytes; nothing was stored.")
    return bytes(received)
