"""Devices: who a device belongs to, the secret that it gets its tokens for, and which of its tokens still count.

What can go wrong, and why it cannot:

* *Two register one ID with different secrets.* The row has one key, and a secret is written only where none is: of several at
  once one is, and the others find it there.
* *A device is signed out while it is at something.* Its tokens' version moves on in the same statement as the version of the
  conversation that it is in, so what was let in before writes nothing after.
* *It went to another conversation at that moment.* Then it is not signed out at the version of one that it is not in any more:
  nothing is written, and the caller reads anew.
* *A device is erased, and its ID is registered again.* Its tokens begin with a version that nobody can have been given before.

Sessions are locked before the devices that are in them, as everywhere.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text

from core.access import Who, named
from core.ids import DeviceId, SessionId, UserId
from core.store.database import Database
from core.store.fence import CLOCK
from core.store.visitors import ASKER
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Registered:
    user_id: UserId
    token_version: int
    # It was signed out, or is another person's.
    is_barred: bool
    # The secret is the one that it was registered with.
    is_theirs: bool


@dataclass(frozen=True, slots=True)
class StoredDevice:
    id: DeviceId
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class SignedOut:
    """The conversation that it was in, with its new version. None: it was in none, or was signed out before."""

    session_id: SessionId | None
    version: int
    epoch: int


# The first version of a device's tokens. Of one that was erased nothing is known any more, and what was signed for it then names a
# version that its row had: it must not count for whoever registers the ID anew.
_FIRST_VERSION: Final = "CASE WHEN EXISTS (SELECT FROM erasures) THEN CAST(1 + floor(random() * 1000000000) AS integer) ELSE 0 END"

# Meets the device, with a user of its own, if it is new; else gives it the secret if it never had one and may still speak; else
# tells how it stands. No row: somebody else was at it at the same moment.
_REGISTER: Final = text(f"""
WITH {CLOCK},
known AS MATERIALIZED (
    SELECT c.user_id, c.token_version, c.secret_digest, c.revoked_at IS NOT NULL
        OR CAST(:subject AS text) IS NOT NULL AND u.subject IS DISTINCT FROM :subject AS is_barred
    FROM connections c JOIN users u ON u.id = c.user_id WHERE c.device_id = :device_id
),
met AS (
    INSERT INTO connections (device_id, user_id, secret_digest, token_version, created_at)
    SELECT :device_id, :user_id, :secret_digest, {_FIRST_VERSION}, at FROM clock WHERE NOT EXISTS (SELECT FROM known)
    ON CONFLICT (device_id) DO NOTHING
    RETURNING user_id, token_version
),
guest AS (
    INSERT INTO users (id, created_at) SELECT user_id, at FROM met, clock
),
given AS (
    UPDATE connections c SET secret_digest = :secret_digest FROM known k
    WHERE c.device_id = :device_id AND k.secret_digest IS NULL AND NOT k.is_barred
      AND c.secret_digest IS NULL AND c.revoked_at IS NULL
    RETURNING c.user_id, c.token_version
)
SELECT user_id, token_version, false AS is_barred, true AS is_theirs FROM met
UNION ALL SELECT user_id, token_version, false, true FROM given
UNION ALL SELECT user_id, token_version, is_barred, COALESCE(secret_digest = :secret_digest, is_barred) FROM known
    WHERE secret_digest IS NOT NULL OR is_barred
""")


def register(
    database: Database,
    device_id: DeviceId,
    secret_digest: str,
    user_id: UserId,
    *,
    subject: str | None = None,
    now: datetime | None = None,
) -> Registered | None:
    """`user_id`: whom it gets if it is new; `subject`: whose it must be, where people are named. None: try again."""
    given = {"device_id": device_id, "secret_digest": secret_digest, "user_id": user_id, "subject": subject}
    row = database.row(_REGISTER, {**given, "now": now})
    return None if row is None else Registered(**row)


# Lets a device that nobody knows be the person's, who is made if they are new; and keeps the person's organisation as their
# token has it. A device that is known is left as it is: whoever asks from it is held against its row. Nothing is written where
# all is so already. False: somebody else made the person at the same moment.
_MEET: Final = text(f"""
WITH {CLOCK},
known AS MATERIALIZED (
    SELECT u.subject FROM connections c JOIN users u ON u.id = c.user_id WHERE c.device_id = :device_id
),
person AS MATERIALIZED (
    SELECT id, org_id FROM users WHERE subject = :subject
),
erased AS MATERIALIZED (
    SELECT FROM erasures e WHERE e.device_digest = :leaving LIMIT 1
),
made AS (
    INSERT INTO users (id, subject, org_id, created_at)
    SELECT :user_id, :subject, :org_id, at FROM clock
    WHERE NOT EXISTS (SELECT FROM person) AND NOT EXISTS (SELECT FROM known) AND NOT EXISTS (SELECT FROM erased)
    ON CONFLICT (subject) WHERE subject IS NOT NULL DO NOTHING
    RETURNING id
),
moved AS (
    UPDATE users u SET org_id = :org_id FROM person p
    WHERE u.id = p.id AND p.org_id IS DISTINCT FROM CAST(:org_id AS uuid)
),
met AS (
    INSERT INTO connections (device_id, user_id, created_at)
    SELECT :device_id, w.id, at FROM (SELECT id FROM person UNION ALL SELECT id FROM made) AS w, clock
    WHERE NOT EXISTS (SELECT FROM known)
    ON CONFLICT (device_id) DO NOTHING
    RETURNING true
)
SELECT EXISTS (SELECT FROM known) OR EXISTS (SELECT FROM met)
    OR EXISTS (SELECT FROM erased) AND NOT EXISTS (SELECT FROM person) AS is_met
""")


def meet(
    database: Database,
    device_id: DeviceId,
    subject: str,
    org_id: UUID | None,
    user_id: UserId,
    *,
    leaving: str | None = None,
    now: datetime | None = None,
) -> bool:
    """`leaving`: the device's digest, where its person is about to be erased. Nobody is made anew who was erased from it."""
    given = {"device_id": device_id, "subject": subject, "org_id": org_id, "user_id": user_id}
    given |= {"leaving": leaving, "now": now}
    row = database.row(_MEET, given)
    return row is not None and bool(row["is_met"])


# Read from one snapshot.
_LISTED: Final = text(f"""
WITH {ASKER}
SELECT c.device_id AS id, c.created_at, c.revoked_at FROM asker a JOIN connections c ON c.user_id = a.user_id
ORDER BY c.device_id <> :device_id, c.created_at DESC, c.device_id LIMIT :limit
""")


def of_user(database: Database, who: Who, limit: int) -> list[StoredDevice]:
    """The one that asks first, then the newest."""
    rows = database.rows(_LISTED, {**named(who), "limit": limit})
    return [StoredDevice(DeviceId(row["id"]), row["created_at"], row["revoked_at"]) for row in rows]


# Takes back all tokens of a device of the asker's user, and takes it out of its conversation, which counts its version up: both
# or neither. Of several at once one does it. One that was signed out stays so.
_SIGN_OUT: Final = text(f"""
WITH {CLOCK}, {ASKER},
target AS MATERIALIZED (
    SELECT c.device_id, c.user_id, c.session_id, c.revoked_at FROM asker a JOIN connections c ON c.user_id = a.user_id
    WHERE c.device_id = :gone_id
),
left_behind AS (
    UPDATE conversation_states s SET version = s.version + 1 FROM target t
    WHERE s.id = t.session_id AND t.revoked_at IS NULL
    RETURNING s.id, s.version, s.lease_epoch
),
out AS (
    UPDATE connections c SET revoked_at = at, token_version = c.token_version + 1, session_id = NULL
    FROM target t LEFT JOIN left_behind l ON true, clock
    WHERE c.device_id = t.device_id AND t.revoked_at IS NULL AND c.revoked_at IS NULL AND c.user_id = t.user_id
      AND c.session_id IS NOT DISTINCT FROM t.session_id AND l.id IS NOT DISTINCT FROM t.session_id
    RETURNING c.device_id
)
SELECT t.revoked_at IS NOT NULL OR o.device_id IS NOT NULL AS is_out, l.id, l.version, l.lease_epoch
FROM target t LEFT JOIN left_behind l ON true LEFT JOIN out o ON true
""")


@dataclass(frozen=True, slots=True)
class Attempt:
    """None of `out`: somebody else was at it at the same moment."""

    out: SignedOut | None


def sign_out(
    database: Database, who: Who, device_id: DeviceId, *, now: datetime | None = None
) -> Attempt | None:
    """None: the asker's user has no such device."""
    row = database.row(_SIGN_OUT, {**named(who), "gone_id": device_id, "now": now})
    if row is None:
        return None
    if not row["is_out"]:
        return Attempt(None)
    return Attempt(SignedOut(row["id"], row["version"] or 0, row["lease_epoch"] or 0))
