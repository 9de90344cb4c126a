"""Who a request is believed to come from: what a gateway says of it, and what nobody but a gateway can say; and operators."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from core.house import build_house
from core.settings import Secret, Settings
from functions.app import build_app
from tests.doors import (
    ISSUER,
    OTHER_KEY,
    Door,
    device_token,
    new_device,
    opened,
    problem,
    settings_of,
    user_token,
)

TOKEN = "a" * 40
CLAIMS = {"iss": ISSUER, "sub": "ada", "org_id": "acme", "exp": "1"}


def event(claims: object) -> dict[str, Any]:
    return {"requestContext": {"requestId": "r", "authorizer": {"jwt": {"claims": claims, "scopes": None}}}}


@contextmanager
def behind_a_gateway(settings: Settings, given: object) -> Iterator[Door]:
    house = build_house(settings)
    app = build_app(house, one_at_a_time=True)

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["aws.event"] = given
        await app(scope, receive, send)

    try:
        with TestClient(gateway) as client:
            yield Door(client, house)
    finally:
        house.close()


def test_what_the_gateways_authorizer_says_is_believed(settings: Settings) -> None:
    """It has verified the token, the end of its time too; here there may be no key to do it with."""
    nobodys = replace(settings_of(settings, "jwt"), jwt_keys=None)
    with behind_a_gateway(nobodys, event(CLAIMS)) as door:
        device = new_device()
        turn = door.say(device)
        assert door.call("GET", f"/v1/turns/{turn['id']}", new_device()).status_code == 200, "the same person"
    with behind_a_gateway(nobodys, event({**CLAIMS, "sub": "bob"})) as door:
        assert problem(door.call("GET", "/v1/session", device)) == (401, "device_barred")
        assert problem(door.call("GET", f"/v1/turns/{turn['id']}", new_device())) == (404, "turn_not_found")
    with behind_a_gateway(nobodys, event({"iss": ISSUER})) as door:
        assert problem(door.call("GET", "/v1/session", device)) == (401, "token_invalid")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"requestContext": {}},
        {"requestContext": {"authorizer": None}},
        {"requestContext": {"authorizer": {"jwt": None}}},
        {"requestContext": {"authorizer": {"jwt": {"claims": None}}}},
        {"requestContext": {"authorizer": {"jwt": {"claims": ["sub", "ada"]}}}},
        {"requestContext": {"authorizer": {"lambda": {"claims": CLAIMS}}}},
        {"requestContext": {"authorizer": {"claims": CLAIMS}}},
        {"headers": {"authorizer": {"jwt": {"claims": CLAIMS}}}, "requestContext": {}},
    ],
)
def test_a_gateway_that_has_verified_nobody_lets_nobody_in(settings: Settings, given: dict[str, Any]) -> None:
    with behind_a_gateway(settings_of(settings, "jwt"), given) as door:
        assert problem(door.call("GET", "/v1/session", new_device())) == (401, "token_missing")
        forged = door.call("GET", "/v1/session", new_device(), user_token(key=OTHER_KEY))
        assert problem(forged) == (401, "token_invalid")
        assert door.call("GET", "/v1/devices", new_device(), user_token()).status_code == 200


def test_no_header_can_say_what_a_gateway_says(settings: Settings) -> None:
    with opened(settings_of(settings, "jwt")) as door:
        for name in ("X-Amzn-Request-Context", "X-Apigateway-Event", "aws.event"):
            answer = door.call("GET", "/v1/session", new_device(), headers={name: str(event(CLAIMS))})
            assert problem(answer) == (401, "token_missing")


def test_claims_of_a_gateway_let_no_device_in_that_has_to_show_its_own_token(settings: Settings) -> None:
    with behind_a_gateway(settings_of(settings, "bound"), event(CLAIMS)) as door:
        assert problem(door.call("GET", "/v1/session", new_device())) == (401, "token_missing")


def test_where_nobody_can_verify_a_person_none_is_believed(settings: Settings) -> None:
    with opened(replace(settings_of(settings, "jwt"), jwt_keys=None)) as door:
        assert problem(door.call("GET", "/v1/session", new_device(), user_token())) == (401, "token_missing")
    with opened(replace(settings_of(settings, "open"), jwt_keys=None)) as door:
        assert problem(door.link(new_device(), None, user_token())) == (404, "not_set_up")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic eA==", "Token x", "bearer"])
def test_what_is_no_bearer_token_is_none_at_all(settings: Settings, header: str) -> None:
    with opened(settings_of(settings, "bound")) as door:
        answer = door.call("GET", "/v1/session", new_device(), headers={"Authorization": header})
        assert problem(answer) == (401, "token_missing")


def test_a_device_signs_in_by_the_token_that_the_call_itself_carries(settings: Settings) -> None:
    """Where people are named no body is needed; the device comes from a time when nobody was."""
    device = new_device()
    with opened(settings_of(settings, "open")) as door:
        turn = door.say(device)
    with opened(settings_of(settings, "jwt")) as door:
        ada = user_token("ada")
        assert problem(door.call("GET", "/v1/session", device, ada)) == (401, "device_barred")
        signed = door.call("POST", "/v1/devices/link", device, ada)
        assert signed.status_code == 200
        assert signed.json()["sessions"] == [turn["session_id"]]
        assert signed.json()["token"] is None
        assert door.call("GET", "/v1/session", device, ada).json()["id"] == turn["session_id"]
        assert problem(door.call("POST", "/v1/devices/link", device)) == (401, "token_missing")


def test_a_bound_device_signs_in_and_goes_on_with_its_new_token(settings: Settings) -> None:
    phone, laptop = new_device(), new_device()
    with opened(settings_of(settings, "bound")) as door:
        tokens = {device: door.register(device)["token"] for device in (phone, laptop)}
        turn = door.say(phone, tokens[phone])
        first = door.link(laptop, tokens[laptop], user_token("ada")).json()
        signed = door.link(phone, tokens[phone], user_token("ada")).json()
        assert signed["user_id"] == first["user_id"]
        assert signed["sessions"] == [turn["session_id"]]
        assert problem(door.call("GET", "/v1/session", phone, tokens[phone])) == (401, "device_barred")
        assert door.call("GET", "/v1/session", phone, signed["token"]).json()["id"] == turn["session_id"]
        again = door.link(phone, tokens[phone], user_token("ada"))
        assert again.json()["sessions"] == signed["sessions"], "the answer was lost, and it is sent again"
        assert door.call("GET", "/v1/session", phone, again.json()["token"]).status_code == 200
        for wrong in (user_token(key=OTHER_KEY), device_token(phone), "x"):
            assert problem(door.link(phone, signed["token"], wrong)) == (401, "token_invalid")
        assert problem(door.link(phone, None, user_token("ada"))) == (401, "token_missing")


# ---- operators


def shown(door: Door, token: str | None = None) -> tuple[int, str | None]:
    answer = door.call("GET", "/v1/admin/overview", token=token)
    return (200, None) if answer.status_code == 200 else problem(answer)


@pytest.mark.parametrize("mode", ["open", "bound"])
def test_without_a_token_for_operators_their_calls_are_not_there(settings: Settings, mode: str) -> None:
    with opened(settings_of(settings, mode)) as door:
        nowhere = door.call("GET", "/v1/nowhere").json()
        for token in (None, TOKEN, user_token(latchkey_role="admin")):
            answer = door.call("GET", "/v1/admin/overview", token=token)
            assert {**answer.json(), "request_id": 0} == {**nowhere, "request_id": 0}


@pytest.mark.parametrize("mode", ["open", "bound", "jwt"])
def test_operators_show_their_token_and_nothing_else_will_do(settings: Settings, mode: str) -> None:
    with opened(settings_of(settings, mode, admin_token=Secret(TOKEN))) as door:
        assert shown(door, TOKEN) == (200, None)
        assert shown(door) == (401, "not_admin")
        wrong = (TOKEN[:-1], TOKEN + "a", TOKEN.upper())
        refused = (401, "not_admin" if mode != "jwt" else "token_invalid")
        assert {shown(door, token) for token in wrong} == {refused}


def test_a_person_is_an_operator_if_their_token_says_so(settings: Settings) -> None:
    with opened(settings_of(settings, "jwt")) as door:
        assert shown(door, user_token(latchkey_role="admin")) == (200, None)
        assert shown(door, user_token()) == (401, "not_admin")
        assert shown(door, user_token(latchkey_role="admin", key=OTHER_KEY)) == (401, "token_invalid")
        assert shown(door, user_token(latchkey_role="admin", exp=1)) == (401, "token_expired")
    with opened(settings_of(settings, "bound", admin_token=Secret(TOKEN))) as door:
        assert shown(door, user_token(latchkey_role="admin")) == (401, "not_admin")
