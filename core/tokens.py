"""Tokens: what a device shows to speak for itself, and what a person shows to say who they are. Checked without a database.

What can go wrong, and why it cannot:

* *A token that nobody signed, or that was changed.* One algorithm is taken, whatever the token itself asks for, and the key is
  ours: the token's `kid` only says which of ours it is.
* *One kind shown as the other.* Each kind has a type and an audience of its own, and is refused as the other, even if somebody
  gave both the same keys.
* *A device's token shown by another device.* It names its device, and the one that shows it is compared with that.
* *A key that became known.* It is taken out of the settings, and all that it signed is worth nothing.
* *A device that was signed out.* Its token goes on being well signed; the version that it names is compared with the device's
  row by whichever statement does what was asked for.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid5

from core.errors import LatchkeyError, NotSetUp, TokenExpired, TokenInvalid
from core.ids import DeviceId
from core.settings import Secret, Settings
from core.values import dataclass

Keys = Mapping[str, Secret]

_ALGORITHM: Final = "HS256"
# What clocks of two machines may differ by.
_LEEWAY_S: Final = 10
_DEVICE_TYPE: Final = "device+jwt"
_DEVICE_AUDIENCE: Final = "urn:latchkey:device"
# More than any header of a gateway carries. What is longer is not even taken apart.
_LONGEST: Final = 8_192
# What users.subject holds.
_LONGEST_SUBJECT: Final = 600
_ORGANISATIONS: Final = UUID("5e0c5a53-9f0e-5b6e-8f43-6f4d1f1c7a10")


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a user's token names."""

    # Issuer and name: two issuers may give the same name to two people.
    subject: str
    org_id: UUID | None = None
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class Issued:
    token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Tokens:
    device_keys: Keys
    device_ttl_s: int
    # None: nobody here can tell a user's token from a made-up one.
    user_keys: Keys | None
    issuer: str | None
    audience: str | None

    @classmethod
    def by(cls, settings: Settings) -> "Tokens":
        return cls(
            settings.device_token_keys or {},
            settings.device_token_ttl_s,
            settings.jwt_keys,
            settings.jwt_issuer,
            settings.jwt_audience,
        )

    # ---- a device's

    def issue(self, device_id: DeviceId, version: int, *, now_s: float | None = None) -> Issued:
        """Signed by the first key: the others only check what they signed before."""
        import jwt

        kid, key = next(iter(self.device_keys.items()))
        begun = int(time.time() if now_s is None else now_s)
        ends = begun + self.device_ttl_s
        claims = {"aud": _DEVICE_AUDIENCE, "sub": str(device_id), "ver": version, "iat": begun, "exp": ends}
        token = jwt.encode(claims, key.reveal(), _ALGORITHM, headers={"kid": kid, "typ": _DEVICE_TYPE})
        return Issued(token, datetime.fromtimestamp(ends, UTC))

    def device(self, token: str, device_id: DeviceId) -> int:
        """The version that it names; it is the caller's to compare that with the row."""
        header, claims = _read(token, self.device_keys, audience=_DEVICE_AUDIENCE, issuer=None)
        version = claims.get("ver")
        if header.get("typ") != _DEVICE_TYPE or claims["sub"] != str(device_id) or type(version) is not int:
            raise TokenInvalid
        return version

    # ---- a person's

    def person(self, token: str) -> Person:
        if self.user_keys is None:
            raise NotSetUp("Nobody can sign in here: whoever runs this service has set no JWT_KEYS.")
        header, claims = _read(token, self.user_keys, audience=self.audience, issuer=self.issuer)
        if header.get("typ") == _DEVICE_TYPE or _DEVICE_AUDIENCE in _listed(claims.get("aud")):
            raise TokenInvalid("This is a device's token, and a person's is asked for.")
        return person_of(claims)


def person_of(claims: Mapping[str, Any]) -> Person:
    """Of claims that were verified, here or by the gateway, which makes a text of each."""
    issuer, name = claims.get("iss") or "", claims.get("sub")
    if not isinstance(issuer, str) or "|" in issuer or not isinstance(name, str) or not name:
        raise TokenInvalid("The token names nobody: it needs `sub`, and an `iss` without `|` in it.")
    subject = f"{issuer}|{name}"
    if len(subject) > _LONGEST_SUBJECT or not subject.isprintable():
        raise TokenInvalid("The token names somebody by more than is kept of a name.")
    return Person(subject, _org_id(issuer, claims.get("org_id")), claims.get("latchkey_role") == "admin")


def _org_id(issuer: str, named: object) -> UUID | None:
    """A UUID as it is; any other name as one that is always the same for it. None: of no organisation."""
    if named is None or named == "":
        return None
    if isinstance(named, bool) or not isinstance(named, str | int):
        raise TokenInvalid("The token's `org_id` is neither a text nor a number.")
    if not str(named).isprintable():
        raise TokenInvalid("The token's `org_id` holds what cannot be read.")
    try:
        return UUID(str(named))
    except ValueError:
        return uuid5(_ORGANISATIONS, f"{issuer}|{named}")


def _read(
    token: str, keys: Keys, *, audience: str | None, issuer: str | None
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Its header and its claims, if one of the keys signed both."""
    import jwt

    if len(token) > _LONGEST:
        raise TokenInvalid
    try:
        found = jwt.decode_complete(
            token,
            _key(jwt.get_unverified_header(token), keys),
            algorithms=[_ALGORITHM],
            audience=audience,
            issuer=issuer,
            leeway=_LEEWAY_S,
            options={"require": ["exp", "sub"], "verify_aud": audience is not None},
        )
    except jwt.ExpiredSignatureError:
        # Only what was well signed is told that its time is over.
        raise TokenExpired from None
    except LatchkeyError:
        raise
    except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
        # Whatever else a stranger can write into one. What the library says of it may quote it.
        raise TokenInvalid from None
    return found["header"], found["payload"]


def _key(header: Mapping[str, Any], keys: Keys) -> str:
    """By its name; of an issuer that names none, the only one that there is."""
    kid = header.get("kid")
    key = keys.get(kid) if kid is not None else next(iter(keys.values())) if len(keys) == 1 else None
    if key is None:
        raise TokenInvalid
    return key.reveal()


def _listed(audience: object) -> list[object]:
    return audience if isinstance(audience, list) else [audience]
