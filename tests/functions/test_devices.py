"""Devices over HTTP: registered by a secret, listed, and signed out; and who is asked for what in each mode."""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from core.digest import digest
from core.settings import Secret, Settings, SettingsError
from functions.app import build_app
from functions.shapes_devices import DevicesShape, WelcomeShape
from tests.conversations import everything, in_the_way, wait_for_locks
from tests.databases import run
from tests.doors import (
    NEW_KEY,
    OLD_KEY,
    OTHER_KEY,
    SECRET,
    Door,
    device_token,
    new_device,
    opened,
    problem,
    settings_of,
    user_token,
)

OTHER_SECRET = "t" * 43


@pytest.fixture
def bound(settings: Settings) -> Iterator[Door]:
    with opened(settings_of(settings, "bound")) as door:
        yield door


def users(url: str) -> int:
    ((count,),) = run(url, "SELECT count(*) FROM users")
    return int(count)


# ---- registration


def test_a_registered_device_speaks_with_its_token_and_nobody_without(bound: Door, database_url: str) -> None:
    device = new_device()
    welcome = bound.register(device)
    WelcomeShape.model_validate(welcome)
    assert (welcome["device_id"], welcome["mode"]) == (str(device), "bound")
    assert bound.say(device, welcome["token"])["status"] == "completed"
    kept = run(database_url, "SELECT secret_digest, user_id::text FROM connections")
    assert kept == [(digest(SECRET), welcome["user_id"])]
    before = everything(database_url)
    assert problem(bound.call("POST", "/v1/turns", device, json={"message": "Hi"})) == (401, "token_missing")
    assert problem(bound.call("GET", "/v1/session", device, "x")) == (401, "token_invalid")
    assert problem(bound.call("GET", "/v1/session", new_device(), welcome["token"])) == (401, "token_invalid")
    assert everything(database_url) == before


def test_the_same_secret_gives_the_same_device_again(bound: Door, database_url: str) -> None:
    device = new_device()
    first, second = bound.register(device), bound.register(device)
    assert first["user_id"] == second["user_id"]
    assert users(database_url) == 1
    assert bound.call("GET", "/v1/devices", device, second["token"]).status_code == 200
    assert bound.call("GET", "/v1/devices", device, first["token"]).status_code == 200


def test_another_secret_finds_the_device_taken_and_changes_nothing(bound: Door, database_url: str) -> None:
    device = new_device()
    bound.register(device)
    before = everything(database_url)
    taken = bound.call("POST", "/v1/devices", device, json={"secret": OTHER_SECRET})
    assert problem(taken) == (409, "device_taken")
    assert everything(database_url) == before


def test_of_two_who_register_one_id_at_once_one_has_it(bound: Door, database_url: str) -> None:
    for _ in range(5):
        device = new_device()
        with ThreadPoolExecutor(8) as pool:
            secrets = [f"{number}" * 40 for number in range(8)]
            answers = list(
                pool.map(
                    lambda secret, to=device: bound.call("POST", "/v1/devices", to, json={"secret": secret}),
                    secrets,
                )
            )
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
        (won,) = (
            secret for secret, answer in zip(secrets, answers, strict=True) if answer.status_code == 200
        )
        assert run(
            database_url, "SELECT secret_digest FROM connections WHERE device_id = %s", str(device)
        ) == [(digest(won),)]
    assert users(database_url) == 5, "who lost left no user behind"


def test_of_two_who_give_one_device_its_first_secret_at_once_one_does(
    settings: Settings, database_url: str
) -> None:
    device = new_device()
    with opened(settings_of(settings, "open")) as door:
        door.say(device)
    with opened(settings_of(settings, "bound")) as door, ThreadPoolExecutor(2) as pool:
        held = f"SELECT FROM connections WHERE device_id = '{device}' FOR UPDATE"
        with in_the_way(database_url, held):
            calls = [
                pool.submit(door.call, "POST", "/v1/devices", device, json={"secret": secret})
                for secret in (SECRET, OTHER_SECRET)
            ]
            wait_for_locks(database_url, 2)
        assert sorted(call.result().status_code for call in calls) == [200, 409]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid_request"),
        ({"secret": "short"}, 422, "invalid_request"),
        ({"secret": "x" * 201}, 422, "invalid_request"),
        ({"secret": 7}, 422, "invalid_request"),
        ({"secret": SECRET, "more": 1}, 422, "invalid_request"),
    ],
)
def test_what_is_no_secret_is_refused(
    bound: Door, database_url: str, body: object, status: int, code: str
) -> None:
    assert problem(bound.call("POST", "/v1/devices", new_device(), json=body)) == (status, code)
    assert users(database_url) == 0


def test_a_device_from_an_open_service_is_given_its_first_secret_when_that_becomes_bound(
    settings: Settings, database_url: str
) -> None:
    device = new_device()
    with opened(settings_of(settings, "open")) as door:
        turn = door.say(device)
    with opened(settings_of(settings, "bound")) as door:
        welcome = door.register(device)
        assert door.call("GET", "/v1/session", device, welcome["token"]).json()["id"] == turn["session_id"]
        assert problem(door.call("POST", "/v1/devices", device, json={"secret": OTHER_SECRET})) == (
            409,
            "device_taken",
        )
    other = new_device()
    with opened(settings_of(settings, "open")) as door:
        door.say(other)
    run(database_url, "UPDATE connections SET revoked_at = now() WHERE device_id = %s", str(other))
    with opened(settings_of(settings, "bound")) as door:
        assert problem(door.call("POST", "/v1/devices", other, json={"secret": SECRET})) == (
            401,
            "device_barred",
        )


def test_a_new_key_signs_while_the_old_one_still_checks(settings: Settings) -> None:
    device, other = new_device(), new_device()
    before = settings_of(settings, "bound")
    with opened(before) as door:
        old = door.register(device)["token"]
    both = replace(before, device_token_keys={"new": Secret(NEW_KEY), "old": Secret(OLD_KEY)})
    with opened(both) as door:
        assert door.call("GET", "/v1/devices", device, old).status_code == 200
        new = door.register(other)["token"]
    with opened(replace(before, device_token_keys={"new": Secret(NEW_KEY)})) as door:
        assert problem(door.call("GET", "/v1/devices", device, old)) == (401, "token_invalid")
        assert door.call("GET", "/v1/devices", other, new).status_code == 200
        assert door.call("GET", "/v1/devices", device, door.register(device)["token"]).status_code == 200


def test_a_token_whose_time_is_over_is_renewed_by_the_secret(bound: Door) -> None:
    device = new_device()
    bound.register(device)
    over = device_token(device, exp=int(time.time()) - 60)
    assert problem(bound.call("GET", "/v1/devices", device, over)) == (401, "token_expired")
    assert bound.call("GET", "/v1/devices", device, bound.register(device)["token"]).status_code == 200


def test_a_network_registers_only_so_many_devices(settings: Settings, database_url: str) -> None:
    few = settings_of(settings, "bound", rate_address_per_minute=1, rate_address_burst=3)
    with opened(few) as door:
        near = Door(TestClient(door.client.app, client=("203.0.113.7", 50_000)), door.house)
        answers = [near.call("POST", "/v1/devices", new_device(), json={"secret": SECRET}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert problem(answers[3]) == (429, "rate_exceeded")
    assert int(answers[3].headers["retry-after"]) > 0
    assert users(database_url) == 3


# ---- the list, and signing out


def together(door: Door, url: str, count: int = 2) -> list[tuple[UUID, str]]:
    """Registered devices of one user."""
    found = []
    for _ in range(count):
        device = new_device()
        found.append((device, door.register(device)["token"]))
    run(url, "UPDATE connections SET user_id = (SELECT user_id FROM connections ORDER BY device_id LIMIT 1)")
    return found


def test_a_user_sees_their_devices_and_nobody_elses(bound: Door, database_url: str) -> None:
    (one, token), (other, _) = together(bound, database_url)
    stranger = new_device()
    strangers = bound.register(stranger)["token"]
    listed = bound.call("GET", "/v1/devices", one, token).json()
    DevicesShape.model_validate(listed)
    assert [(item["id"], item["is_current"]) for item in listed["items"]] == [
        (str(one), True),
        (str(other), False),
    ]
    alone = bound.call("GET", "/v1/devices", stranger, strangers).json()["items"]
    assert [item["id"] for item in alone] == [str(stranger)]


def test_a_device_that_was_signed_out_reaches_nothing_any_more(bound: Door, database_url: str) -> None:
    (one, token), (other, others) = together(bound, database_url)
    turn = bound.say(other, others)
    assert bound.call("GET", "/v1/session", other, others).status_code == 200
    version = run(database_url, "SELECT version FROM conversation_states")[0][0]
    for _ in range(2):
        assert bound.call("DELETE", f"/v1/devices/{other}", one, token).status_code == 204
    assert run(database_url, "SELECT version FROM conversation_states") == [(version + 1,)], "once"
    before = everything(database_url)
    for method, path in (
        ("GET", "/v1/session"),
        ("GET", "/v1/session/messages"),
        ("GET", f"/v1/turns/{turn['id']}"),
        ("GET", "/v1/devices"),
        ("DELETE", f"/v1/devices/{one}"),
        ("PUT", "/v1/session/lock"),
    ):
        body = {"json": {"agent": "manager"}} if method == "PUT" else {}
        answer = bound.call(method, path, other, others, **body)
        assert problem(answer) == (401, "device_barred"), (method, path)
    assert problem(bound.call("POST", "/v1/devices", other, json={"secret": SECRET})) == (
        401,
        "device_barred",
    )
    assert problem(bound.link(other, others, user_token())) == (401, "device_barred")
    later = device_token(other, 1)
    assert problem(bound.call("GET", "/v1/devices", other, later)) == (401, "device_barred")
    assert everything(database_url) == before
    listed = bound.call("GET", "/v1/devices", one, token).json()["items"]
    assert [item["revoked_at"] is None for item in listed] == [True, False]


def test_only_the_users_own_devices_can_be_signed_out(bound: Door, database_url: str) -> None:
    mine, theirs = new_device(), new_device()
    token = bound.register(mine)["token"]
    bound.register(theirs)
    before = everything(database_url)
    answers = [bound.call("DELETE", f"/v1/devices/{id_}", mine, token) for id_ in (theirs, uuid4())]
    assert [problem(answer) for answer in answers] == [(404, "device_not_found")] * 2
    bodies = [{**answer.json(), "request_id": None} for answer in answers]
    assert bodies[0] == bodies[1], "another's is not there"
    assert everything(database_url) == before


def test_a_device_that_changes_its_conversation_is_signed_out_of_the_one_it_is_in(
    bound: Door, database_url: str
) -> None:
    (one, token), (other, others) = together(bound, database_url)
    for _ in range(6):
        bound.say(other, others)
        with ThreadPoolExecutor(2) as pool:
            ended = pool.submit(bound.call, "DELETE", "/v1/session", other, others)
            out = pool.submit(bound.call, "DELETE", f"/v1/devices/{other}", one, token)
            assert out.result().status_code == 204
            assert ended.result().status_code in (204, 401)
        revoked = "SELECT revoked_at IS NOT NULL, session_id FROM connections WHERE device_id = %s"
        assert run(database_url, revoked, str(other)) == [(True, None)]
        run(database_url, "UPDATE connections SET revoked_at = NULL, token_version = 0")


# ---- modes


def test_an_open_door_asks_for_no_token_and_gives_none(settings: Settings) -> None:
    with opened(settings_of(settings, "open")) as door:
        device = new_device()
        welcome = door.register(device)
        assert (welcome["token"], welcome["expires_at"], welcome["mode"]) == (None, None, "open")
        door.say(device)
        door.say(device, "whatever a proxy put here")


def test_a_bound_door_is_not_opened_without_keys(settings: Settings) -> None:
    with (
        pytest.raises(SettingsError, match="DEVICE_TOKEN_KEYS is not set"),
        opened(replace(settings_of(settings, "bound"), device_token_keys=None)),
    ):
        pass
    assert callable(build_app)


def test_where_people_are_named_their_devices_need_no_registration(
    settings: Settings, database_url: str
) -> None:
    with opened(settings_of(settings, "jwt")) as door:
        one, other = new_device(), new_device()
        turn = door.say(one, user_token("ada"))
        door.say(other, user_token("ada"))
        assert users(database_url) == 1, "two devices of one person"
        assert problem(door.call("GET", "/v1/session", one)) == (401, "token_missing")
        assert problem(door.call("GET", "/v1/session", one, user_token("bob"))) == (401, "device_barred")
        assert problem(door.call("GET", "/v1/session", one, device_token(one))) == (401, "token_invalid")
        stranger = door.call("GET", f"/v1/turns/{turn['id']}", new_device(), user_token("bob"))
        assert problem(stranger) == (404, "turn_not_found")
        seen = door.call("GET", f"/v1/turns/{turn['id']}", other, user_token("ada"))
        assert seen.status_code == 200, "a person's conversations are theirs from every device of theirs"


def test_a_persons_first_calls_from_many_devices_at_once_make_one_user(
    settings: Settings, database_url: str
) -> None:
    with opened(settings_of(settings, "jwt")) as door, ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(door.call, "GET", "/v1/devices", new_device(), user_token("ada")) for _ in range(16)
        ]
        assert {call.result().status_code for call in calls} == {200}
    assert users(database_url) == 1


def test_a_persons_organisation_follows_their_token(settings: Settings, database_url: str) -> None:
    orgs = [uuid4(), uuid4()]
    with opened(settings_of(settings, "jwt")) as door:
        device = new_device()
        for org in orgs:
            door.call("GET", "/v1/devices", device, user_token("ada", org_id=str(org)))
            assert run(database_url, "SELECT org_id::text FROM users") == [(str(org),)]


def test_a_database_that_is_away_is_said_to_be_so_to_people_too(settings: Settings) -> None:
    nowhere = replace(
        settings_of(settings, "jwt"), database_url=Secret("postgresql+psycopg2://u:p@127.0.0.1:1/x")
    )
    with opened(nowhere) as door:
        answer = door.call("GET", "/v1/session", new_device(), user_token())
        assert problem(answer) == (503, "database_unavailable")


# ---- nothing of it in a log


def test_no_token_secret_or_device_is_ever_logged(
    bound: Door, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    device = new_device()
    token = bound.register(device)["token"]
    shown = [
        token,
        user_token(),
        device_token(device, key=OTHER_KEY),
        device_token(device, exp=1),
        device_token(uuid4()),
        "garbage-that-was-shown",
    ]
    for one in shown:
        bound.call("GET", "/v1/session", device, one)
        bound.link(device, token, one)
        bound.call("POST", "/v1/devices", device, one, json={"secret": OTHER_SECRET})
        bound.call("POST", "/v1/devices", device, one, json={"secret": 7, "token": one})
    away = replace(
        settings_of(settings, "bound"), database_url=Secret("postgresql+psycopg2://u:p@127.0.0.1:1/x")
    )
    with opened(away) as door:
        door.call("POST", "/v1/devices", device, token, json={"secret": SECRET})
        door.call("GET", "/v1/devices", device, token)
    assert "database_unavailable" in caplog.text, "something was logged"
    secrets = {SECRET, OTHER_SECRET, digest(SECRET), str(device), device.hex, *shown}
    assert not [secret for secret in secrets if secret in caplog.text]


def test_what_was_signed_before_an_erasure_counts_for_nobody_who_comes_after(bound: Door) -> None:
    device = new_device()
    before = bound.register(device)["token"]
    assert bound.call("DELETE", "/v1/user", device, before).status_code == 200
    after = bound.register(device, OTHER_SECRET)["token"]
    bound.say(device, after)
    assert problem(bound.call("GET", "/v1/session", device, before)) == (401, "device_barred")
    assert bound.call("GET", "/v1/session", device, after).status_code == 200


def test_who_knows_an_id_alone_gets_nothing_of_what_was_said_from_it(
    bound: Door, settings: Settings, database_url: str
) -> None:
    """A service that was `bound` is `jwt` from now on."""
    device = new_device()
    bound.say(device, bound.register(device)["token"])
    before = everything(database_url)
    with opened(settings_of(settings, "jwt")) as door:
        for given in ({}, {"json": {"secret": OTHER_SECRET}}):
            taken = door.call("POST", "/v1/devices/link", device, user_token("mallory"), **given)
            assert problem(taken) == (409, "device_taken")
        assert everything(database_url) == before
        signed = door.call("POST", "/v1/devices/link", device, user_token("ada"), json={"secret": SECRET})
        assert len(signed.json()["sessions"]) == 1


def test_where_people_are_named_too_a_receipt_is_shown_again(settings: Settings, database_url: str) -> None:
    """The reply was lost, and another process is asked."""
    shared, own = new_device(), new_device()
    receipts: list[str] = []
    for _ in range(3):
        with opened(settings_of(settings, "jwt")) as door:
            if not receipts:
                door.say(shared, user_token("ada"))
                door.say(own, user_token("bob"))
            receipts.append(door.call("DELETE", "/v1/user", shared, user_token("ada")).json()["id"])
    assert len(set(receipts)) == 1
    assert users(database_url) == 1
    with opened(settings_of(settings, "jwt")) as door:
        bobs = door.call("DELETE", "/v1/user", shared, user_token("bob")).json()
    assert bobs["id"] not in receipts, "of somebody else who has the device now"
    assert users(database_url) == 0
