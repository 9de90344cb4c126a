"""The active-agent lock of a device's conversation: read it, set it, clear it, clean up what has run out.

A device leads to its connection, that to its user, and both to the state of the conversation, in one statement. Expired
means none, at once, whether or not anybody has cleaned up.

If the database cannot be reached, a setting decides: a clear error, or the stateless answer, which says of itself that
nothing is known. What is never given is an empty lock that looks like a real one.
"""

from dataclasses import dataclass
from datetime import datetime

from core.agents.roster import Roster
from core.deadline import Deadline
from core.errors import DatabaseUnavailable, SessionNotFound, UnknownAgent
from core.ids import DeviceId, SessionId, UserId
from core.store import locks
from core.store.database import Database
from core.store.locks import LockTtl, StoredLock
from core.tries import past_dead_connections

_BATCH = 500


@dataclass(frozen=True, slots=True)
class SessionLock:
    """Who holds a conversation. `agent` None: nobody, so the manager answers."""

    session_id: SessionId | None
    user_id: UserId | None
    agent: str | None
    locked_at: datetime | None
    expires_at: datetime | None
    ttl_s: int
    # The database was away, so nothing of the above is known.
    is_stateless: bool = False


@dataclass(frozen=True, slots=True)
class SessionService:
    database: Database
    roster: Roster
    default_ttl_s: int
    # With the database away: None of the lock is known, and that is said; or DatabaseUnavailable.
    stateless_without_database: bool = False

    def get_session_lock(self, device_id: DeviceId, *, now: datetime | None = None) -> SessionLock:
        try:
            stored = past_dead_connections(lambda: locks.find(self.database, device_id, now=now))
        except DatabaseUnavailable:
            if not self.stateless_without_database:
                raise
            return SessionLock(None, None, None, None, None, self.default_ttl_s, is_stateless=True)
        return _shown(stored)

    def set_session_lock(
        self,
        device_id: DeviceId,
        agent_key: str,
        *,
        ttl_s: int | None = None,
        actor: str = "service",
        reason: str | None = None,
        now: datetime | None = None,
    ) -> SessionLock:
        """From now on the agent answers, until its time is over. `ttl_s`: else as long as the agent says, or the user has."""
        agent = self.roster.agents.get(agent_key)
        if agent is None:
            raise UnknownAgent(
                f"There is no agent {agent_key[:50]!r} here. There are: {', '.join(sorted(self.roster.agents))}."
            )
        ttl = LockTtl(ttl_s, agent.lock_ttl_s, self.default_ttl_s)
        return _shown(
            locks.set_lock(self.database, device_id, agent.key, ttl, actor=actor, reason=reason, now=now)
        )

    def clear_session_lock(
        self,
        device_id: DeviceId,
        *,
        actor: str = "service",
        reason: str | None = None,
        now: datetime | None = None,
    ) -> SessionLock:
        """From now on the manager answers."""
        return _shown(locks.clear_lock(self.database, device_id, actor=actor, reason=reason, now=now))

    def set_user_ttl(self, device_id: DeviceId, ttl_s: int | None) -> None:
        """How long agents keep this user's conversations from now on, where neither the caller nor the agent says. None: as
        the service is set.
        """
        if not locks.set_user_ttl(self.database, device_id, ttl_s):
            raise SessionNotFound

    def cleanup_expired_sessions(
        self, deadline: Deadline | None = None, *, now: datetime | None = None
    ) -> int:
        """Takes expired locks out of the rows, a batch at a time, until none is left or the time is over; tells how many.
        Several may do it at once.
        """
        deadline = deadline or Deadline.never()
        cleaned = 0
        while deadline.left_s():
            batch = locks.clean_up(self.database.by(deadline), _BATCH, now=now)
            cleaned += batch
            if batch < _BATCH:
                break
        return cleaned


def _shown(stored: StoredLock | None) -> SessionLock:
    if stored is None:
        raise SessionNotFound
    return SessionLock(
        session_id=stored.session_id,
        user_id=stored.user_id,
        agent=stored.agent,
        locked_at=stored.locked_at,
        expires_at=stored.expires_at,
        ttl_s=stored.session_ttl,
    )
