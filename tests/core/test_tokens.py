"""Tokens: what is taken for one, and everything that is not, however it is made."""

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest

from core.errors import LatchkeyError, NotSetUp, TokenExpired, TokenInvalid
from core.ids import DeviceId
from core.settings import Secret
from core.tokens import Person, Tokens, person_of
from tests.doors import (
    AUDIENCE,
    ISSUER,
    NEW_KEY,
    OLD_KEY,
    OTHER_KEY,
    USER_KEY,
    device_token,
    signed,
    user_token,
)

DEVICE = DeviceId(uuid4())


def tokens(*kids: str, user_keys: dict[str, str] | None = None, **more: Any) -> Tokens:
    keys = {"old": OLD_KEY, "new": NEW_KEY}
    users = {"users": USER_KEY} if user_keys is None else user_keys
    given = {"issuer": ISSUER, "audience": AUDIENCE, **more}
    return Tokens(
        {kid: Secret(keys[kid]) for kid in kids or ("old",)},
        600,
        {kid: Secret(key) for kid, key in users.items()},
        given["issuer"],
        given["audience"],
    )


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def tampered(token: str, **claims: Any) -> str:
    header, payload, signature = token.split(".")
    known = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return ".".join([header, segment({**known, **claims}), signature])


def test_what_was_issued_is_taken_and_names_its_version() -> None:
    issued = tokens().issue(DEVICE, 7)
    assert tokens().device(issued.token, DEVICE) == 7
    left_s = (issued.expires_at - datetime.now(UTC)).total_seconds()
    assert 590 < left_s <= 600


def test_keys_are_turned_over_without_a_moment_in_which_a_good_token_fails() -> None:
    before, both, after = tokens("old"), tokens("new", "old"), tokens("new")
    old, new = before.issue(DEVICE, 1).token, both.issue(DEVICE, 2).token
    assert jwt.get_unverified_header(new)["kid"] == "new", "the first one signs"
    assert (both.device(old, DEVICE), both.device(new, DEVICE), after.device(new, DEVICE)) == (1, 2, 2)
    with pytest.raises(TokenInvalid):
        after.device(old, DEVICE)


FORGED: dict[str, Callable[[], str]] = {
    "nothing": lambda: "",
    "no token": lambda: "hello",
    "dots": lambda: "..",
    "signed by nobody": lambda: signed(
        {"aud": "urn:latchkey:device", "sub": str(DEVICE), "ver": 0, "exp": time.time() + 600},
        "",
        kid="old",
        algorithm="none",
        typ="device+jwt",
    ),
    "signed by nobody, under another case": lambda: ".".join(
        [segment({"alg": "NONE", "kid": "old", "typ": "device+jwt"}), segment({"sub": str(DEVICE)}), ""]
    ),
    "another algorithm": lambda: signed(
        {"aud": "urn:latchkey:device", "sub": str(DEVICE), "ver": 0, "exp": time.time() + 600},
        OLD_KEY + OLD_KEY,
        kid="old",
        algorithm="HS512",
        typ="device+jwt",
    ),
    "another key": lambda: device_token(DEVICE, key=OTHER_KEY),
    "a key that is not known": lambda: device_token(DEVICE, kid="stolen"),
    "a kid that is no name": lambda: ".".join(
        [segment({"alg": "HS256", "kid": ["old"]}), segment({}), "AAAA"]
    ),
    "another device's": lambda: device_token(uuid4()),
    "changed to be another device's": lambda: tampered(device_token(uuid4()), sub=str(DEVICE)),
    "changed to be of another version": lambda: tampered(device_token(DEVICE), ver=1),
    "without an end": lambda: device_token(DEVICE, exp=None),
    "of no version": lambda: device_token(DEVICE, ver=None),
    "of a version that is no number": lambda: device_token(DEVICE, ver=True),
    "for another audience": lambda: device_token(DEVICE, aud="somebody else"),
    "from the future": lambda: device_token(DEVICE, iat=time.time() + 3600),
    "ending at infinity": lambda: device_token(DEVICE, exp=float("inf")),
    "a user's": user_token,
    "a user's under the device's key": lambda: user_token(str(DEVICE), key=OLD_KEY, kid="old"),
    "a user's that says it is for devices": lambda: user_token(
        str(DEVICE), key=OLD_KEY, kid="old", aud="urn:latchkey:device", ver=0
    ),
    "too long": lambda: device_token(DEVICE, more="x" * 9_000),
    "nested without end": lambda: base64.urlsafe_b64encode(b"[" * 5_000).decode().rstrip("=") + ".e30.AAAA",
    "not of this alphabet": lambda: "é.é.é",
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_device_token_is_none(kind: str) -> None:
    with pytest.raises(TokenInvalid):
        tokens().device(FORGED[kind](), DEVICE)


def test_a_device_token_ends_by_the_clock_and_only_a_signed_one_is_told_so() -> None:
    ended = device_token(DEVICE, exp=int(time.time()) - 60)
    with pytest.raises(TokenExpired):
        tokens().device(ended, DEVICE)
    with pytest.raises(TokenInvalid):
        tokens().device(device_token(DEVICE, exp=int(time.time()) - 60, key=OTHER_KEY), DEVICE)


def test_without_keys_no_device_token_is_taken() -> None:
    none = Tokens({}, 600, None, None, None)
    with pytest.raises(TokenInvalid):
        none.device(device_token(DEVICE), DEVICE)
    with pytest.raises(TokenInvalid):
        none.device(device_token(DEVICE, kid=None), DEVICE)
    with pytest.raises(NotSetUp):
        none.person(user_token())


# ---- people


def test_a_person_is_who_the_issuer_says() -> None:
    assert tokens().person(user_token("ada")) == Person(f"{ISSUER}|ada")
    org = uuid4()
    admin = tokens().person(user_token("ada", org_id=str(org), latchkey_role="admin"))
    assert admin == Person(f"{ISSUER}|ada", org, True)
    assert tokens().person(user_token("ada", latchkey_role="Admin")).is_admin is False


def test_an_organisation_that_is_no_uuid_is_always_the_same_one() -> None:
    def org(issuer: str, name: object) -> UUID | None:
        return person_of({"iss": issuer, "sub": "ada", "org_id": name}).org_id

    assert org("a", "acme") == org("a", "acme") != org("b", "acme")
    assert org("a", 17) == org("a", "17"), "the gateway makes a text of it"
    assert (org("a", None), org("a", "")) == (None, None)


def test_the_only_key_needs_no_name_and_of_several_one_must_be_named() -> None:
    nameless = user_token("ada", kid=None)
    assert tokens().person(nameless).subject == f"{ISSUER}|ada"
    with pytest.raises(TokenInvalid):
        tokens(user_keys={"users": USER_KEY, "more": NEW_KEY}).person(nameless)


def test_where_neither_issuer_nor_audience_is_set_neither_is_asked_for() -> None:
    anybody = tokens(issuer=None, audience=None)
    assert anybody.person(user_token("ada", aud=None, iss=None)).subject == "|ada"
    assert anybody.person(user_token("ada", aud=["one", "two"])).subject == f"{ISSUER}|ada"


WRONG_PEOPLE: dict[str, Callable[[], str]] = {
    "another issuer": lambda: user_token(iss="https://evil.example.com/"),
    "no issuer": lambda: user_token(iss=None),
    "another audience": lambda: user_token(aud="somebody else"),
    "no audience": lambda: user_token(aud=None),
    "no end": lambda: user_token(exp=None),
    "nobody": lambda: user_token(""),
    "no name": lambda: user_token(sub=None),
    "a number": lambda: user_token(sub=7),
    "another key": lambda: user_token(key=OTHER_KEY),
    "not yet": lambda: user_token(nbf=time.time() + 3600),
    "a name with a NUL": lambda: user_token("a\0b"),
    "half a character": lambda: user_token("a\ud800"),
    "a name that nothing can keep": lambda: user_token("a" * 700),
    "an organisation that is a list": lambda: user_token(org_id=["a"]),
    "an organisation with a NUL": lambda: user_token(org_id="a\0"),
    "a device's": lambda: device_token(DEVICE),
    "a device's under the users' key": lambda: device_token(DEVICE, key=USER_KEY, kid="users", iss=ISSUER),
    "a device's that says it is for people": lambda: device_token(
        DEVICE, key=USER_KEY, kid="users", iss=ISSUER, aud=AUDIENCE
    ),
    "for people and devices": lambda: user_token(aud=[AUDIENCE, "urn:latchkey:device"]),
}


@pytest.mark.parametrize("kind", WRONG_PEOPLE)
def test_a_token_that_names_nobody_here_is_refused(kind: str) -> None:
    with pytest.raises(TokenInvalid):
        tokens().person(WRONG_PEOPLE[kind]())


def test_a_persons_token_ends_by_the_clock() -> None:
    with pytest.raises(TokenExpired):
        tokens().person(user_token(exp=int(time.time()) - 60))


def test_two_issuers_cannot_name_the_same_person() -> None:
    with pytest.raises(TokenInvalid):
        person_of({"iss": "https://a|b", "sub": "c"})
    assert person_of({"iss": "https://a", "sub": "b|c"}).subject == "https://a|b|c"


def test_what_is_said_of_a_wrong_token_quotes_nothing_of_it() -> None:
    def as_a_device(token: str) -> object:
        return tokens().device(token, DEVICE)

    checks: list[tuple[Callable[[], str], Callable[[str], object]]] = [
        *((made, as_a_device) for made in FORGED.values()),
        *((made, tokens().person) for made in WRONG_PEOPLE.values()),
    ]
    for made, check in checks:
        with pytest.raises(LatchkeyError) as caught:
            check(made())
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        assert str(DEVICE) not in caught.value.detail
