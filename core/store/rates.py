"""Rates: how many messages a device, and all devices of a network, may send. A bucket is one time: until when what was sent has
used it up (GCRA). Each message moves that on by `every_s`; one that finds it more than `room_s` ahead of now has no room.

What can go wrong, and why it cannot:

* *Two messages take the last place at once.* Who charges writes the bucket's row, and Postgres has whoever comes second look at
  it once more, as it is by then. Of two that are a network's first at the same moment the index refuses one, which tries again.
* *A message is charged, and then it is not taken; or taken, and not charged.* The conversation's row is locked first, at the
  version that was read, then the network's, then the device's. Whoever has all three writes all of it, and whoever lacks one
  writes nothing. All statements lock them in this order, so none waits for another in a circle.
* *A retry.* It finds its turn and is charged nothing.

The clock is the database's; a bucket that is full again is the same as none, and is swept.
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import text

from core.store.database import Database, Row
from core.store.fence import CLOCK
from core.values import dataclass

# Where a bucket is never empty.
_NO_END_S: Final = 1e9


@dataclass(frozen=True, slots=True)
class Bucket:
    """So many a minute, and so many at once."""

    per_minute: int
    burst: int

    @property
    def every_s(self) -> float:
        return 60 / self.per_minute

    @property
    def room_s(self) -> float:
        return (self.burst - 1) * self.every_s


@dataclass(frozen=True, slots=True)
class Charge:
    """What a new message is charged to. None: there is no end to it, or it is not known which network it came from."""

    device: Bucket | None
    address: Bucket | None
    address_class: str | None

    def named(self) -> dict[str, Any]:
        return {
            "device_every_s": self.device.every_s if self.device else 0.0,
            "device_room_s": self.device.room_s if self.device else _NO_END_S,
            "address_class": self.address_class if self.address else None,
            "address_every_s": self.address.every_s if self.address else 0.0,
            "address_room_s": self.address.room_s if self.address else _NO_END_S,
        }


@dataclass(frozen=True, slots=True)
class Ahead:
    """How far ahead of now each bucket was, before the message was charged."""

    device_s: float
    address_s: float


# Part of a claim, of its `device`: how the buckets stand, as of what it has read.
RATE: Final = """
rate AS MATERIALIZED (
    SELECT d.rate_at AS device_at, r.rate_at AS address_at,
        COALESCE(d.rate_at > at + make_interval(secs => :device_room_s), false)
        OR COALESCE(r.rate_at > at + make_interval(secs => :address_room_s), false) AS is_over
    FROM device d CROSS JOIN clock LEFT JOIN address_rates r ON r.class = :address_class
),
"""
# The network's bucket under its lock, where `%s` says that the message is one to be charged; and whether it has room.
PURSE: Final = """
purse AS MATERIALIZED (
    SELECT r.rate_at FROM address_rates r WHERE r.class = :address_class AND (%s) FOR UPDATE OF r
),
"""
ADDRESS_HAS_ROOM: Final = "NOT EXISTS (SELECT FROM purse CROSS JOIN clock WHERE purse.rate_at > at + make_interval(secs => :address_room_s))"
# Of the row `connections` as `c` that is being updated, at the time of a `clock`.
DEVICE_HAS_ROOM: Final = (
    "(c.rate_at IS NULL OR c.rate_at <= clock.at + make_interval(secs => :device_room_s))"
)
DEVICE_CHARGED: Final = "rate_at = GREATEST(c.rate_at, clock.at) + make_interval(secs => :device_every_s)"
# Charges the network for what `%s` says was taken. A bucket that was not there could not be locked: if another message has begun
# it meanwhile, the index refuses a second one, all of this is taken back, and it is tried again.
ADDRESS_CHARGED: Final = """
address AS MATERIALIZED (
    SELECT CAST(:address_class AS text) AS class, at + make_interval(secs => :address_every_s) AS rate_at FROM clock
    WHERE CAST(:address_class AS text) IS NOT NULL AND (%s)
),
address_charged AS (
    UPDATE address_rates r SET rate_at = GREATEST(r.rate_at + make_interval(secs => :address_every_s), a.rate_at)
    FROM address a, purse WHERE r.class = a.class
),
address_begun AS (
    INSERT INTO address_rates (class, rate_at) SELECT class, rate_at FROM address WHERE NOT EXISTS (SELECT FROM purse)
)
"""
AHEAD: Final = """
    GREATEST(EXTRACT(EPOCH FROM rate.device_at - at), 0) AS device_ahead_s,
    GREATEST(EXTRACT(EPOCH FROM rate.address_at - at), 0) AS address_ahead_s, rate.is_over AS is_over_rate"""


def read_ahead(row: Row) -> Ahead:
    return Ahead(float(row["device_ahead_s"] or 0), float(row["address_ahead_s"] or 0))


# Takes a place of the network's bucket if there is one; else tells how long until there is. Of several at once one takes the
# last.
_TAKE: Final = text(f"""
WITH {CLOCK},
taken AS (
    INSERT INTO address_rates AS r (class, rate_at)
    SELECT :address_class, at + make_interval(secs => :every_s) FROM clock
    ON CONFLICT (class) DO UPDATE
    SET rate_at = GREATEST(r.rate_at + make_interval(secs => :every_s), EXCLUDED.rate_at)
    WHERE r.rate_at <= EXCLUDED.rate_at + make_interval(secs => :room_s - :every_s)
    RETURNING r.rate_at
)
SELECT EXISTS (SELECT FROM taken) AS is_taken,
    EXTRACT(EPOCH FROM (SELECT r.rate_at FROM address_rates r WHERE r.class = :address_class) - at) - :room_s AS wait_s
FROM clock
""")


def take(
    database: Database, address_class: str, bucket: Bucket, *, now: datetime | None = None
) -> float | None:
    """None: it was taken. Else how many seconds until there is room. Sent twice it takes two."""
    given = {
        "address_class": address_class,
        "every_s": bucket.every_s,
        "room_s": bucket.room_s,
        "now": now,
    }
    row = database.row(_TAKE, given)
    if row is None or row["is_taken"]:
        return None
    # Who took the last place at the same moment is not in what was read.
    return max(float(row["wait_s"] or 0), bucket.every_s)


# Forgets buckets that are full again, which are the same as none. Several at once take different ones, and one that is being
# charged stays.
_CLEAN_UP: Final = text("""
WITH full_again AS (
    SELECT class FROM address_rates
    WHERE rate_at <= COALESCE(CAST(:now AS timestamptz), now())
    ORDER BY rate_at LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
DELETE FROM address_rates r USING full_again f WHERE r.class = f.class
RETURNING r.class
""")


def clean_up(database: Database, limit: int, *, now: datetime | None = None) -> int:
    return len(database.rows(_CLEAN_UP, {"limit": limit, "now": now}))
