"""Locks: which agent holds a conversation, since when, until when; and who said so, in the audit.

What can go wrong, and why it cannot: a caller, a turn and a cleanup may change one lock at once. Each change is one UPDATE of
the session's row along with its line in the audit, so they come one after the other, and the audit tells them in that order.
A lock whose time is over is no lock to whoever reads it, whether or not it was cleaned up. A change from outside extends the
conversation's time, and is made on behalf of somebody, so it is made only at the version that was read with it: else one that was ended
meanwhile, or that another has begun anew, would live on; or somebody would change it who was put out of it.
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import TextClause, text

from core.access import Role, Who, named
from core.errors import DatabaseConflict
from core.ids import DeviceId, SessionId, UserId
from core.store.alive import USED
from core.store.database import Database, Row
from core.store.revision import LOCK_END
from core.store.visitors import EDITS, VISIT
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class StoredLock:
    session_id: SessionId
    # Whose conversation it is.
    user_id: UserId
    # What whoever asks is in it. A viewer changes nothing.
    held_as: Role
    # None: nobody holds it, so the manager answers.
    agent: str | None
    locked_at: datetime | None
    expires_at: datetime | None
    session_ttl: int
    # Of the session's row, as it was read or with what was changed.
    epoch: int
    version: int


@dataclass(frozen=True, slots=True)
class LockTtl:
    """How long a lock lasts: as whoever sets it says, else the agent, else the user, else the setting."""

    given_s: int | None
    agents_s: int | None
    default_s: int

    def named(self) -> dict[str, Any]:
        return {"ttl_s": self.given_s, "agent_ttl_s": self.agents_s, "default_ttl_s": self.default_s}


# Of the row `conversation_states` (as `s`) that is being updated.
TTL: Final = """COALESCE(CAST(:ttl_s AS integer), CAST(:agent_ttl_s AS integer),
    (SELECT u.session_ttl FROM users u WHERE u.id = s.user_id), CAST(:default_ttl_s AS integer))"""


@dataclass(frozen=True, slots=True)
class Relock:
    """A change of the lock by whoever works on the conversation. `agent` None: nobody holds it any more."""

    agent: str | None
    ttl: LockTtl
    actor: str
    action: str
    reason: str
    # Who held it, where nobody does any more.
    of: str | None = None


# What a step of a holder adds to what it sets of the session's row, and notes of it in the audit.
RELOCK: Final = f""",
        active_agent = CASE WHEN :relocks THEN :relock_agent ELSE active_agent END,
        locked_at = CASE WHEN NOT :relocks THEN locked_at WHEN CAST(:relock_agent AS text) IS NOT NULL THEN at END,
        session_ttl = CASE WHEN :relocks AND CAST(:relock_agent AS text) IS NOT NULL THEN {TTL} ELSE session_ttl END
"""
NOTED: Final = """
noted AS (
    INSERT INTO audit_log (session_id, at, actor, action, agent, until, reason, turn_id)
    SELECT :session_id, at, :relock_actor, :relock_action, :relock_of,
        CASE WHEN CAST(:relock_agent AS text) IS NOT NULL THEN at + make_interval(secs => held.session_ttl) END,
        :relock_reason, :turn_id
    FROM held, clock WHERE :relocks
)
"""
_NOBODY: Final = LockTtl(None, None, 1)


def named_relock(change: Relock | None) -> dict[str, Any]:
    given = change or Relock(None, _NOBODY, "", "", "")
    return {
        "relocks": change is not None,
        "relock_agent": given.agent,
        "relock_of": given.agent or given.of,
        "relock_actor": given.actor,
        "relock_action": given.action,
        "relock_reason": given.reason,
        **given.ttl.named(),
    }


_LIVE: Final = """
    CASE WHEN k.until > clock.at THEN s.active_agent END AS agent,
    CASE WHEN k.until > clock.at THEN s.locked_at END AS locked_at,
    CASE WHEN k.until > clock.at THEN k.until END AS expires_at
"""
# The lock of the conversation that the caller means: device, connection, user and state in one look.
_FIND: Final = text(f"""
{VISIT}
SELECT s.id AS session_id, s.user_id, its.held_as, s.session_ttl, s.lease_epoch AS epoch, s.version, {_LIVE}
FROM its CROSS JOIN clock JOIN conversation_states s ON s.id = its.id
CROSS JOIN LATERAL (SELECT s.locked_at + make_interval(secs => s.session_ttl) AS until) AS k
""")


def find(database: Database, who: Who, *, now: datetime | None = None) -> StoredLock | None:
    """None: it is not there for them."""
    row = database.row(_FIND, {**named(who), "now": now})
    return None if row is None else _stored(row)


# Only as of a version that whoever changes it has seen, if they say so.
_AS_OF: Final = "COALESCE(its.version = CAST(:as_of AS bigint), true)"

# Sets the lock, notes it and extends the conversation's time, at once, at the version that was read with the role. Of several at once the last one holds,
# and each is in the audit.
_SET: Final = text(f"""
{VISIT},
met AS (
    UPDATE conversation_states s
    SET active_agent = :agent, locked_at = at, session_ttl = {TTL}, version = s.version + 1, last_active_at = {USED}
    FROM its, clock
    WHERE s.id = its.id AND s.version = its.version AND {EDITS} AND {_AS_OF}
    RETURNING s.id, its.user_id, s.version, s.active_agent, s.locked_at, s.session_ttl, at + make_interval(secs => s.session_ttl) AS until
),
noted AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action, agent, until, reason)
    SELECT id, locked_at, :actor, user_id, 'lock_set', active_agent, until, :reason FROM met
)
SELECT its.id AS session_id, its.owner_id AS user_id, its.held_as, met.active_agent AS agent, met.locked_at,
    met.until AS expires_at, met.session_ttl, its.lease_epoch AS epoch, met.version, met.id IS NOT NULL AS is_done
FROM its LEFT JOIN met ON true
""")


def set_lock(
    database: Database,
    who: Who,
    agent: str,
    ttl: LockTtl,
    *,
    actor: str,
    reason: str | None,
    as_of: int | None = None,
    now: datetime | None = None,
) -> StoredLock | None:
    """None: it is not there for them. Sent twice it holds from the second time on. A DatabaseConflict: somebody committed at
    the same moment.
    """
    given = {**named(who), "agent": agent, "actor": actor, "reason": reason, "as_of": as_of, "now": now}
    return changed(database.row(_SET, {**given, **ttl.named()}))


# Clears the lock and notes it, at once, at the version that was read with the role. Where there is none it changes and notes nothing.
def clearing(visit: str, extends: str) -> TextClause:
    return text(f"""
{visit},
held AS MATERIALIZED (
    SELECT s.id, s.active_agent, its.user_id FROM its JOIN conversation_states s ON s.id = its.id AND s.version = its.version
    WHERE {EDITS} AND {_AS_OF}
    FOR UPDATE OF s
),
met AS (
    UPDATE conversation_states s
    SET active_agent = NULL, locked_at = NULL, version = s.version + 1{extends}
    FROM held h, clock WHERE s.id = h.id AND h.active_agent IS NOT NULL
    RETURNING s.id, h.user_id, s.version, h.active_agent
),
noted AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action, agent, reason)
    SELECT id, at, :actor, user_id, 'lock_cleared', active_agent, :reason FROM met, clock
)
SELECT its.id AS session_id, its.owner_id AS user_id, its.held_as, NULL AS agent, NULL AS locked_at, NULL AS expires_at,
    s.session_ttl, its.lease_epoch AS epoch, COALESCE(met.version, its.version) AS version, h.id IS NOT NULL AS is_done,
    met.id IS NOT NULL AS was_held
FROM its JOIN conversation_states s ON s.id = its.id LEFT JOIN held h ON true LEFT JOIN met ON true
""")


# By whoever is in it; it extends the conversation's time.
_CLEAR: Final = clearing(VISIT, f", last_active_at = {USED}")


def clear_lock(
    database: Database,
    who: Who,
    *,
    actor: str,
    reason: str | None,
    as_of: int | None = None,
    now: datetime | None = None,
) -> StoredLock | None:
    """None: it is not there for them. A DatabaseConflict: somebody committed at the same moment."""
    given = {**named(who), "actor": actor, "reason": reason, "as_of": as_of, "now": now}
    return changed(database.row(_CLEAR, given))


def changed(row: Row | None) -> StoredLock | None:
    """None: it is not there for them. A DatabaseConflict: it was not changed, for somebody committed at the same moment."""
    if row is None:
        return None
    stored = _stored(row)
    if not row["is_done"] and stored.held_as is not Role.VIEWER:
        raise DatabaseConflict
    return stored


def _stored(row: Row) -> StoredLock:
    fields = {field: row[field] for field in StoredLock.__slots__}
    return StoredLock(**{**fields, "held_as": Role(row["held_as"])})


# How long agents keep the conversations of the device's user from now on; locks that stand are left as they are.
_SET_USER_TTL: Final = text("""
UPDATE users u SET session_ttl = :ttl_s FROM connections c
WHERE c.device_id = :device_id AND u.id = c.user_id
RETURNING u.id
""")


def set_user_ttl(database: Database, device_id: DeviceId, ttl_s: int | None) -> bool:
    """False: the device is not known. Of several at once the last one holds."""
    return database.row(_SET_USER_TTL, {"device_id": device_id, "ttl_s": ttl_s}) is not None


# Takes away locks whose time is over, those first that ran out first, and notes each. Several at once take different
# ones, and one that is being renewed is left alone.
_CLEAN_UP: Final = text(f"""
WITH due AS (
    SELECT id, active_agent, locked_at + make_interval(secs => session_ttl) AS until
    FROM conversation_states
    WHERE locked_at IS NOT NULL
      AND {LOCK_END} <= COALESCE(CAST(:now AS timestamptz), now()) AT TIME ZONE 'UTC'
    ORDER BY {LOCK_END} LIMIT :limit
    FOR UPDATE SKIP LOCKED
),
met AS (
    UPDATE conversation_states s
    SET active_agent = NULL, locked_at = NULL, version = version + 1
    FROM due WHERE s.id = due.id
    RETURNING s.id, due.active_agent, due.until
)
INSERT INTO audit_log (session_id, at, actor, action, agent, until)
SELECT id, COALESCE(CAST(:now AS timestamptz), now()), 'system', 'lock_expired', active_agent, until FROM met
RETURNING session_id
""")


def clean_up(database: Database, limit: int, *, now: datetime | None = None) -> int:
    return len(database.rows(_CLEAN_UP, {"limit": limit, "now": now}))
