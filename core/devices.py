"""Devices: they are registered, signed in and signed out, and given their tokens.

A device's secret is 32 random bytes or more that the app made and keeps. It is sent for a token, and again for a fresh one,
and is told to nobody else; so a lost reply, a token whose time is over and a key that was taken away are mended by the same call.
It is kept as a digest. A password would need a slow one; what is random already can be guessed no faster for a quick one.
"""

import time
from collections import OrderedDict
from dataclasses import field
from datetime import datetime
from threading import Lock
from typing import Final

from core.access import Caller
from core.deadline import Deadline
from core.digest import digest
from core.entrance import nothing_for, nothing_of
from core.errors import (
    DatabaseNotConfigured,
    DatabaseUnavailable,
    DeviceBarred,
    DeviceNotFound,
    DeviceTaken,
)
from core.ids import DeviceId, SessionId, UserId, new_user_id
from core.rates import Rates
from core.sessions.current import CurrentSessions, Told
from core.store import devices, sign_ins
from core.store.database import Database
from core.store.devices import StoredDevice
from core.store.sign_ins import Wish
from core.tokens import Person, Tokens
from core.tries import again_and_again, past_dead_connections
from core.values import dataclass

_WITHIN_S: Final = 5.0
_MOST_LISTED: Final = 200
# How long it is believed that a device was met. Its row is looked at in any case: this is only about making it.
_MET_FOR_S: Final = 60.0
_MOST_MET: Final = 10_000


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a device is answered that registers or signs in. No token: none is asked for here."""

    device_id: DeviceId
    user_id: UserId
    token: str | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class SignedInDevice:
    welcome: Welcome
    # The conversations that came along.
    sessions: tuple[SessionId, ...]


class _Met:
    """Devices that this process met lately, and as whose."""

    def __init__(self) -> None:
        self._until: OrderedDict[tuple[DeviceId, Person], float] = OrderedDict()
        self._lock = Lock()

    def has(self, device_id: DeviceId, person: Person) -> bool:
        with self._lock:
            return self._until.get((device_id, person), 0.0) > time.monotonic()

    def note(self, device_id: DeviceId, person: Person) -> None:
        with self._lock:
            self._until[(device_id, person)] = time.monotonic() + _MET_FOR_S
            self._until.move_to_end((device_id, person))
            while len(self._until) > _MOST_MET:
                self._until.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Devices:
    # None: there are no devices.
    _database: Database | None
    tokens: Tokens
    mode: str
    current: CurrentSessions
    rates: Rates = field(default_factory=Rates)
    _met: _Met = field(default_factory=_Met)

    @property
    def database(self) -> Database:
        if self._database is None:
            raise DatabaseNotConfigured
        return self._database

    def register(
        self,
        device_id: DeviceId,
        secret: str,
        subject: str | None = None,
        address_class: str | None = None,
    ) -> Welcome:
        """The same again gives the same device, and a fresh token. Charged to the network that it comes from, whatever comes
        of it: a secret is not to be guessed at.
        """
        self.rates.take(self.database, address_class)
        user_id, secret_digest = new_user_id(), digest(secret)
        found = again_and_again(
            Deadline.after(_WITHIN_S),
            lambda: devices.register(self.database, device_id, secret_digest, user_id, subject=subject),
        )
        # First whether the secret is theirs: of a stranger's device nobody learns how it stands.
        if not found.is_theirs:
            raise DeviceTaken
        if found.is_barred:
            raise DeviceBarred
        return self._welcome(device_id, found.user_id, found.token_version)

    def meet(self, device_id: DeviceId, person: Person, *, leaves: bool = False) -> None:
        """Before a call of a person's device: it may be its first. Where the database is away, the call itself says so. `leaves`:
        they are to be erased, and may have been.
        """
        if not leaves and self._met.has(device_id, person):
            return
        user_id, leaving = new_user_id(), digest(str(device_id)) if leaves else None
        try:
            again_and_again(
                Deadline.after(_WITHIN_S),
                lambda: (
                    devices.meet(
                        self.database, device_id, person.subject, person.org_id, user_id, leaving=leaving
                    )
                    or None
                ),
            )
        except (DatabaseNotConfigured, DatabaseUnavailable):
            return
        if not leaves:
            self._met.note(device_id, person)

    def sign_in(
        self, device_id: DeviceId, token_version: int | None, person: Person, secret: str | None = None
    ) -> SignedInDevice:
        """Where people are named, nothing but its secret says that a device is theirs; so what it said as nobody's goes to who has it."""
        mark = f"device {digest(str(device_id))[:16]}"
        secret_digest = None if secret is None else digest(secret)
        wish = Wish(
            device_id,
            token_version,
            person.subject,
            person.org_id,
            new_user_id(),
            mark,
            self.mode == "jwt",
            secret_digest,
        )
        deadline = Deadline.after(_WITHIN_S)

        def once() -> tuple[UserId, int] | None:
            signed = sign_ins.sign_in(self.database, wish, deadline)
            if signed is None:
                raise DeviceBarred
            for moved in signed.changed:
                self.current.changed(device_id, Told(moved.session_id, moved.version), moved.epoch)
            return signed.user_id, signed.token_version

        user_id, version = again_and_again(deadline, once)
        came = past_dead_connections(lambda: sign_ins.came_along(self.database, user_id, mark))
        return SignedInDevice(self._welcome(device_id, user_id, version), tuple(came))

    def listed(self, who: Caller) -> list[StoredDevice]:
        found = past_dead_connections(lambda: devices.of_user(self.database, who, _MOST_LISTED))
        if not found:
            nothing_of(self.database, who)
        return found

    def sign_out(self, who: Caller, device_id: DeviceId) -> None:
        def once() -> devices.SignedOut | None:
            attempt = devices.sign_out(self.database, who, device_id)
            if attempt is None:
                raise nothing_for(self.database, who, DeviceNotFound)
            return attempt.out

        out = again_and_again(Deadline.after(_WITHIN_S), once)
        if out.session_id is not None:
            self.current.changed(device_id, Told(out.session_id, out.version), out.epoch)

    def _welcome(self, device_id: DeviceId, user_id: UserId, version: int) -> Welcome:
        if self.mode != "bound":
            return Welcome(device_id, user_id, None, None)
        issued = self.tokens.issue(device_id, version)
        return Welcome(device_id, user_id, issued.token, issued.expires_at)
