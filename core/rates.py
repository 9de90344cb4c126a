"""Rates: what a sender is charged for a new message, and what they are told of it."""

import hashlib
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from math import ceil, floor

from core.errors import RateExceeded
from core.store import rates
from core.store.database import Database
from core.store.rates import Ahead, Bucket, Charge
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Left:
    """Of the bucket that has the least left."""

    limit: int
    remaining: int
    # Until it is full again.
    reset_s: int

    @property
    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_s),
        }


@dataclass(frozen=True, slots=True)
class Rates:
    """None: as many as they like."""

    device: Bucket | None = None
    address: Bucket | None = None

    @classmethod
    def of(cls, device: tuple[int, int], address: tuple[int, int]) -> "Rates":
        """Each as so many a minute, where 0 is without end, and so many at once."""
        return cls(*(Bucket(*given) if given[0] else None for given in (device, address)))

    def charge(self, address_class: str | None) -> Charge | None:
        """None: nothing is charged, so nothing need be looked up."""
        address = None if address_class is None else self.address
        return None if self.device is address is None else Charge(self.device, address, address_class)

    def take(self, database: Database, address_class: str | None) -> None:
        """A place of the network's bucket, for what no device is charged for; or RateExceeded."""
        if self.address is None or address_class is None:
            return
        wait_s = rates.take(database, address_class, self.address)
        if wait_s is not None:
            raise RateExceeded(retry_after_s=max(1, ceil(wait_s)))


def left(charge: Charge, ahead: Ahead, *, charged: bool) -> Left:
    states = [
        _left(bucket, ahead_s + (bucket.every_s if charged else 0))
        for bucket, ahead_s in _each(charge, ahead)
    ]
    return min(states, key=lambda state: (state.remaining, -state.reset_s))


def exceeded(charge: Charge, ahead: Ahead) -> RateExceeded:
    wait_s = max(ahead_s - bucket.room_s for bucket, ahead_s in _each(charge, ahead))
    return RateExceeded(retry_after_s=max(1, ceil(wait_s)))


def _each(charge: Charge, ahead: Ahead) -> list[tuple[Bucket, float]]:
    pairs = ((charge.device, ahead.device_s), (charge.address, ahead.address_s))
    return [(bucket, ahead_s) for bucket, ahead_s in pairs if bucket is not None]


def _left(bucket: Bucket, ahead_s: float) -> Left:
    # A hair more than it is, for what is left is reckoned from a difference of times.
    free = (bucket.burst * bucket.every_s - ahead_s) / bucket.every_s + 1e-6
    return Left(bucket.burst, max(0, floor(free)), max(0, ceil(ahead_s - 1e-6)))


def address_class(host: str | None) -> str | None:
    """Of the network that an address belongs to: a digest, from which the address cannot be told. None: it is no address."""
    try:
        address: IPv4Address | IPv6Address = ip_address((host or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    network = ip_network((address, 24 if address.version == 4 else 56), strict=False)
    return hashlib.sha256(str(network).encode()).hexdigest()[:32]
