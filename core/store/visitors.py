"""Visitors: who asks, which conversation they mean, and what they are in it. The fragments that every statement on behalf of a
caller begins with.

What can go wrong, and why it cannot: somebody is put out of a conversation, or their device's token is taken back, while they
are at it. What they read, they read in the statement that looked whether they may. What they write goes out at the version of the
session's row that was read when they were let in; whoever puts them out counts that version up. So nothing is written for
somebody who was put out before.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.access import Role, Who, named
from core.ids import DeviceId, SessionId, UserId
from core.store.alive import ALIVE
from core.store.database import Database
from core.store.fence import CLOCK
from core.values import dataclass

RANKS: Final = "ARRAY[" + ", ".join(f"'{role}'" for role in Role) + "]"

# The device's connection, unless the device's token was taken back or it belongs to another than the user's token says. A device
# that is not known yet may be there for a link's sake, where no token is asked for. One row, or none: then they are barred.
ASKER: Final = """
asker AS MATERIALIZED (
    SELECT c.user_id, c.session_id, c.token_version, c.rate_at, u.org_id
    FROM (SELECT) AS one LEFT JOIN connections c ON c.device_id = :device_id LEFT JOIN users u ON u.id = c.user_id
    WHERE c.revoked_at IS NULL
      AND (CAST(:token_version AS integer) IS NULL OR c.token_version = :token_version)
      AND (CAST(:subject AS text) IS NULL OR u.subject = :subject)
)
"""

# What an `asker` (as `a`) is in the conversation `s`, at the time of a `clock`; NULL: nothing, so it is not there for them.
HELD_AS: Final = f"""CASE
    WHEN s.org_id IS NOT NULL AND s.org_id IS DISTINCT FROM a.org_id THEN NULL
    WHEN s.user_id = a.user_id THEN 'owner'
    ELSE (SELECT way.role FROM (
        SELECT b.role FROM members b WHERE b.session_id = s.id AND b.user_id = a.user_id
        UNION ALL
        SELECT l.role FROM share_links l
        WHERE l.session_id = s.id AND l.digest = :link AND l.revoked_at IS NULL AND l.expires_at > clock.at) AS way
    ORDER BY array_position({RANKS}, way.role::text) DESC LIMIT 1) END"""

# The same of whoever shows no link, which costs less to plan.
HELD_WITHOUT_LINK: Final = """CASE
    WHEN s.org_id IS NOT NULL AND s.org_id IS DISTINCT FROM a.org_id THEN NULL
    WHEN s.user_id = a.user_id THEN 'owner'
    ELSE (SELECT b.role FROM members b WHERE b.session_id = s.id AND b.user_id = a.user_id) END"""

# The conversation that they mean, if it is alive and there for them: one row, or none. With ASKER and a `clock` before it. Of its
# row no more is copied than is asked for here: join it again for the rest.
ITS: Final = f"""
its AS MATERIALIZED (
    SELECT s.id, s.user_id AS owner_id, s.org_id, s.version, s.lease_epoch, a.user_id, held.role AS held_as
    FROM asker a CROSS JOIN clock
    JOIN conversation_states s ON s.id = COALESCE(CAST(:session_id AS uuid), a.session_id) AND {ALIVE}
    CROSS JOIN LATERAL (SELECT {HELD_AS} AS role) AS held
    WHERE held.role IS NOT NULL
)
"""

# All conversations that are alive and there for them, each with what they are in it. With ASKER and a `clock` before it.
THEIRS: Final = f"""
theirs AS (
    SELECT s.id, a.user_id, held.role AS held_as
    FROM asker a CROSS JOIN clock
    CROSS JOIN LATERAL (
        SELECT o.id FROM conversation_states o WHERE o.user_id = a.user_id
        UNION
        SELECT b.session_id FROM members b WHERE b.user_id = a.user_id
        UNION
        SELECT CAST(:session_id AS uuid) WHERE CAST(:link AS text) IS NOT NULL
    ) AS way
    JOIN conversation_states s ON s.id = way.id AND {ALIVE}
    CROSS JOIN LATERAL (SELECT {HELD_AS} AS role) AS held
    WHERE held.role IS NOT NULL
)
"""

# Of a `held_as`: enough for what takes an editor.
EDITS: Final = "held_as IN ('editor', 'owner')"

# The beginning of a statement on behalf of a caller: `clock`, `asker` and `its`. Its parameters: `named(who)`, and `now`.
VISIT: Final = f"WITH {CLOCK}, {ASKER}, {ITS}"
# And of one about whatever is theirs: `clock`, `asker` and `theirs`.
VISITS: Final = f"WITH {CLOCK}, {ASKER}, {THEIRS}"


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody in a conversation. Writes on their behalf name this version."""

    session_id: SessionId
    # None: they came by a link, from a device that nobody knows yet.
    user_id: UserId | None
    owner_id: UserId
    held_as: Role
    version: int
    epoch: int


# Read from one snapshot.
_FIND: Final = text(f"{VISIT} SELECT id, user_id, owner_id, held_as, version, lease_epoch FROM its")


def find(database: Database, who: Who, *, now: datetime | None = None) -> Visit | None:
    row = database.row(_FIND, {**named(who), "now": now})
    if row is None:
        return None
    return Visit(
        SessionId(row["id"]),
        row["user_id"],
        row["owner_id"],
        Role(row["held_as"]),
        row["version"],
        row["lease_epoch"],
    )


# Makes an unknown device known, with a user of its own and in no conversation: for one that comes by a link. Sent twice, or at
# once, it makes one.
_MEET: Final = text(f"""
WITH {CLOCK},
met AS (
    INSERT INTO connections (device_id, user_id, created_at) SELECT :device_id, :user_id, at FROM clock
    ON CONFLICT (device_id) DO NOTHING
    RETURNING user_id
)
INSERT INTO users (id, created_at) SELECT user_id, at FROM met, clock
RETURNING id
""")


def meet(database: Database, device_id: DeviceId, user_id: UserId, *, now: datetime | None = None) -> None:
    database.rows(_MEET, {"device_id": device_id, "user_id": user_id, "now": now})


_IS_BARRED: Final = text(f"WITH {ASKER} SELECT true FROM asker")


def is_barred(database: Database, who: Who) -> bool:
    """Their device was signed out, or is another's."""
    return database.row(_IS_BARRED, named(who)) is None
