"""Erasures: all of a user goes, and a receipt stays that names nobody.

What can go wrong, and why it cannot:

* *It dies anywhere.* The receipt is begun along with the barring of all of the user's devices, and says whose it is until it is
  ended; whoever goes on finds what is left. What was removed is counted in the statement that removes it, so nothing is counted
  twice or not at all.
* *Two go on with it at once.* A conversation is taken at the version that was read, so one of the two finds nothing more to do.
* *Something new of theirs appears meanwhile.* Their devices are barred from the first statement on; the user's row goes last, and
  only when no conversation hangs on it.
* *It stands in a conversation of somebody else.* Turns say who sent them, forks included. See `traces.py`.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, text

from core.access import Who, named
from core.content import dump
from core.ids import SessionId, UserId
from core.store import endings
from core.store.database import Database, Row
from core.store.endings import EndedSession
from core.store.fence import CLOCK
from core.store.visitors import ASKER
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Erasure:
    id: UUID
    # None: it is over.
    user_id: UserId | None
    user_digest: str
    # By where it was, with a dot between: `postgres.messages`.
    removed: Mapping[str, int]
    created_at: datetime
    ended_at: datetime | None


_FIELDS: Final = "e.id, e.user_id, e.user_digest, e.removed, e.created_at, e.ended_at"


def noted(sets: str = "", also: str = "") -> str:
    """Adds what `tally` counted to the receipt, as its row stands under its lock. The last of a statement's parts."""
    return f"""
noted AS (
    UPDATE erasures e
    SET {sets} removed = COALESCE((SELECT jsonb_object_agg(n.key, n.total) FROM (
        SELECT b.key, sum(CAST(b.value AS bigint)) AS total
        FROM (SELECT * FROM jsonb_each_text(e.removed) UNION ALL SELECT * FROM jsonb_each_text(k.counts)) AS b
        WHERE b.value <> '0' GROUP BY b.key) AS n), '{{}}')
    FROM tally k WHERE e.id = :erasure_id {also}
    RETURNING {_FIELDS}
)
"""


# Begins an erasure for the caller's user, and bars all of their devices and signs them out of their account, all or nothing; of two
# at once one does. Nothing for whom nobody knows, or who is barred, or whose user is another since a sign-in of that moment.
_BEGIN: Final = text(f"""
WITH {CLOCK}, {ASKER},
whose AS MATERIALIZED (
    SELECT u.id AS user_id FROM asker a JOIN users u ON u.id = a.user_id FOR UPDATE OF u
),
begun AS (
    INSERT INTO erasures (id, user_id, user_digest, device_digest, created_at)
    SELECT gen_random_uuid(), a.user_id, encode(sha256(convert_to(CAST(a.user_id AS text), 'UTF8')), 'hex'), :device_digest, at
    FROM whose a, clock
    ON CONFLICT (user_id) WHERE user_id IS NOT NULL DO NOTHING
    RETURNING id, user_id
),
barred AS (
    UPDATE connections c SET revoked_at = COALESCE(c.revoked_at, at), token_version = c.token_version + 1
    FROM begun, clock WHERE c.user_id = begun.user_id
)
UPDATE users u SET subject = NULL FROM begun WHERE u.id = begun.user_id
RETURNING u.id
""")


def begin(database: Database, who: Who, device_digest: str, *, now: datetime | None = None) -> bool:
    return database.row(_BEGIN, {**named(who), "device_digest": device_digest, "now": now}) is not None


# The last receipt that a device asked for.
_OF_DEVICE: Final = text(f"""
SELECT {_FIELDS} FROM erasures e WHERE e.device_digest = :device_digest ORDER BY e.created_at DESC LIMIT 1
""")


def of_device(database: Database, device_digest: str) -> Erasure | None:
    return _erasure(database.row(_OF_DEVICE, {"device_digest": device_digest}))


# Those that nobody ended for so long, oldest first.
_UNENDED: Final = text(f"""
SELECT {_FIELDS} FROM erasures e
WHERE e.user_id IS NOT NULL AND e.created_at < COALESCE(CAST(:now AS timestamptz), now()) - make_interval(secs => :for_s)
ORDER BY e.created_at LIMIT :limit
""")


def unended(database: Database, for_s: float, limit: int, *, now: datetime | None = None) -> list[Erasure]:
    rows = database.rows(_UNENDED, {"for_s": for_s, "limit": limit, "now": now})
    return [_read(row) for row in rows]


# Some of the user's conversations, alive or not, and what lies beside each.
_OWN: Final = text("""
SELECT s.id AS session_id, s.lease_epoch, s.version, true AS is_gone, CAST(ARRAY[] AS uuid[]) AS device_ids,
    (SELECT json_agg(json_build_array(p.namespace, p.epoch)) FROM application_sessions p WHERE p.session_id = s.id) AS beside
FROM conversation_states s WHERE s.user_id = :user_id ORDER BY s.id LIMIT :limit
""")


def own(database: Database, user_id: UserId, limit: int) -> list[EndedSession]:
    """As they will be, once they have gone."""
    rows = database.rows(_OWN, {"user_id": user_id, "limit": limit})
    return [ended for row in rows if (ended := endings.ended_by(row)) is not None]


# What goes with a conversation's row.
_CHILDREN: Final = (
    "turns",
    "messages",
    "tool_calls",
    "approvals",
    "audit_log",
    "todos",
    "compactions",
    "revisions",
    "members",
    "share_links",
    "partials",
)
_COUNTED: Final = ", ".join(
    f"'postgres.{table}', (SELECT count(*) FROM gone g JOIN {table} t ON t.session_id = g.id)"
    for table in _CHILDREN
)

# Ends a conversation as every other is ended, and counts what went.
_ERASE: Final = endings.ending_with(f"""
tally AS (
    SELECT jsonb_build_object('postgres.conversation_states', (SELECT count(*) FROM gone),
        'postgres.application_sessions', (SELECT count(*) FROM with_it), {_COUNTED}) AS counts
),
{noted()}
""")


def erase(database: Database, erasure_id: UUID, session_id: SessionId) -> EndedSession | None:
    """None: there is none. A DatabaseConflict: somebody committed at the same moment."""
    given = {"erasure_id": erasure_id, "session_id": session_id, "now": None}
    return endings.ended_by(database.row(_ERASE, given))


# Some of the application sessions of a user that belong to no conversation of theirs.
_ERASE_BESIDE: Final = text(f"""
WITH due AS MATERIALIZED (
    SELECT p.session_id, p.namespace FROM application_sessions p WHERE p.user_id = :user_id
    ORDER BY p.session_id, p.namespace LIMIT :limit FOR UPDATE OF p
),
gone AS (
    DELETE FROM application_sessions p USING due d WHERE p.session_id = d.session_id AND p.namespace = d.namespace
    RETURNING p.session_id, p.namespace, p.epoch
),
tally AS (
    SELECT jsonb_build_object('postgres.application_sessions', count(*)) AS counts FROM gone
),
{noted()}
SELECT session_id, namespace, epoch FROM gone
""")


def erase_beside(database: Database, erasure: Erasure, limit: int) -> list[tuple[SessionId, tuple[str, int]]]:
    """Each with its namespace and epoch."""
    given = {"erasure_id": erasure.id, "user_id": erasure.user_id, "limit": limit}
    rows = database.rows(_ERASE_BESIDE, given)
    return [(SessionId(row["session_id"]), (row["namespace"], row["epoch"])) for row in rows]


_NOTE: Final = text(f"""
WITH tally AS (SELECT CAST(:counts AS jsonb) AS counts), {noted()} SELECT id FROM noted
""")


def note(database: Database, erasure_id: UUID, counts: Mapping[str, int]) -> None:
    """Of what is not in Postgres: counted when it is done, so whoever dies in between has not counted it."""
    database.row(_NOTE, {"erasure_id": erasure_id, "counts": dump(dict(counts))})


@cache
def _end() -> TextClause:
    """Removes the user, with all that hangs on their row, and ends the receipt, all or nothing, once no conversation is theirs. Not
    made at import, as what hangs on a user is known only when all agents are there.
    """
    hanging = _hanging_on_users()
    counted = ", ".join(
        f"'postgres.{table}', (SELECT count(*) FROM {table} t, leaving l WHERE t.{column} = l.id)"
        for table, column in sorted(hanging.items())
    )
    also = """AND e.user_id = :user_id
        AND (EXISTS (SELECT FROM leaving) OR NOT EXISTS (SELECT FROM users u WHERE u.id = :user_id))"""
    return text(f"""
WITH leaving AS MATERIALIZED (
    SELECT u.id FROM users u
    WHERE u.id = :user_id AND NOT EXISTS (SELECT FROM conversation_states s WHERE s.user_id = u.id)
    FOR UPDATE OF u
),
spent AS (
    DELETE FROM spending p USING leaving l WHERE p.scope = 'user' AND p.id = l.id RETURNING p.id
),
gone AS (
    DELETE FROM users u USING leaving l WHERE u.id = l.id RETURNING u.id
),
tally AS (
    SELECT jsonb_build_object('postgres.users', (SELECT count(*) FROM gone),
        'postgres.spending', (SELECT count(*) FROM spent), {counted}) AS counts
),
{noted("ended_at = now(), user_id = NULL,", also)}
SELECT * FROM noted
""")


def _hanging_on_users() -> dict[str, str]:
    """The tables whose rows go with a user's, and the column that names the user in each."""
    from core.store.tables import metadata, users

    found = {users.name: "id"}
    for table in metadata.sorted_tables:
        for constraint in table.foreign_key_constraints:
            held = [e for e in constraint.elements if e.column.table.name in found]
            for element in held:
                if element.column.name == found[element.column.table.name]:
                    found[table.name] = element.parent.name
    for name in ("users", "conversation_states", *_CHILDREN):
        if name != "members":
            found.pop(name, None)
    return found


def end(database: Database, erasure: Erasure) -> Erasure | None:
    """None: a conversation of theirs is still there, or somebody else has ended it."""
    return _erasure(database.row(_end(), {"erasure_id": erasure.id, "user_id": erasure.user_id}))


# As it stands.
_FIND: Final = text(f"SELECT {_FIELDS} FROM erasures e WHERE e.id = :id")


def find(database: Database, erasure_id: UUID) -> Erasure | None:
    return _erasure(database.row(_FIND, {"id": erasure_id}))


# Whether anybody was erased in the last so many seconds; and who of these people was. A receipt names nobody, so it is looked up by the
# digest: whoever is only not known here was not erased.
_LATELY: Final = text("""
SELECT 1 FROM erasures e WHERE e.ended_at > COALESCE(CAST(:now AS timestamptz), now()) - make_interval(secs => :for_s) LIMIT 1
""")
_AMONG: Final = text("""
SELECT DISTINCT w.id FROM unnest(CAST(:ids AS uuid[])) AS w(id)
JOIN erasures e ON e.user_digest = encode(sha256(convert_to(CAST(w.id AS text), 'UTF8')), 'hex')
WHERE e.ended_at IS NOT NULL
""")


def any_ended(database: Database, for_s: float, *, now: datetime | None = None) -> bool:
    return database.row(_LATELY, {"for_s": for_s, "now": now}) is not None


def erased(database: Database, people: Collection[UserId]) -> list[UserId]:
    return [UserId(row["id"]) for row in database.rows(_AMONG, {"ids": [str(id_) for id_ in people]})]


def _erasure(row: Row | None) -> Erasure | None:
    return None if row is None else _read(row)


def _read(row: Row) -> Erasure:
    fields: dict[str, Any] = dict(row)
    return Erasure(**fields)
