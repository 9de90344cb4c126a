"""The active-agent lock of a device's conversation: read it, set it, clear it; the end of a conversation; and the clean-up of
what has run out.

A device leads to its connection, that to its user, and both to the state of the conversation, in one statement. Expired
means none, at once, whether or not anybody has cleaned up; and so it is with a conversation that nobody uses.

If the database cannot be reached, a setting decides: a clear error, or the stateless answer, which says of itself that
nothing is known. What is never given is an empty lock that looks like a real one.
"""

from collections.abc import Callable
from datetime import datetime

from core.access import Role, Who, caller
from core.agents.roster import Roster
from core.deadline import Deadline
from core.entrance import demand, nothing_for
from core.errors import DatabaseUnavailable, DeviceBarred, SessionNotFound, UnknownAgent
from core.ids import DeviceId, SessionId, UserId
from core.sessions.current import CurrentSessions, Told
from core.store import endings, expired, locks
from core.store.database import Database
from core.store.endings import EndedSession
from core.store.locks import LockTtl, StoredLock
from core.tries import again_and_again, past_dead_connections
from core.values import dataclass

_BATCH = 500
# Conversations go with all that was said in them, so fewer at once.
_BATCH_OF_SESSIONS = 50
# How long a change is tried that others are quicker than.
_PATIENCE_S = 5.0


# The version of the conversation as whoever changes its lock has seen it; it raises what they are told if it is not that any more.
AsOf = Callable[[], int]


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
class CleanedUp:
    locks: int
    sessions: int
    # Those that belonged to no conversation.
    application_sessions: int


@dataclass(frozen=True, slots=True)
class SessionService:
    database: Database
    roster: Roster
    default_ttl_s: int
    # With the database away: None of the lock is known, and that is said; or DatabaseUnavailable.
    stateless_without_database: bool = False
    # Who is told of a change before anybody else is.
    current: CurrentSessions | None = None

    def get_session_lock(self, who: Who, *, now: datetime | None = None) -> SessionLock:
        try:
            stored = past_dead_connections(lambda: locks.find(self.database, who, now=now))
        except DatabaseUnavailable:
            if not self.stateless_without_database:
                raise
            return SessionLock(None, None, None, None, None, self.default_ttl_s, is_stateless=True)
        return _shown(self._there(who, stored))

    def set_session_lock(
        self,
        who: Who,
        agent_key: str,
        *,
        ttl_s: int | None = None,
        actor: str = "service",
        reason: str | None = None,
        as_of: AsOf | None = None,
        now: datetime | None = None,
    ) -> SessionLock:
        """From now on the agent answers, until its time is over. `ttl_s`: else as long as the agent says, or the user has."""
        agent = self.roster.agents.get(agent_key)
        if agent is None:
            raise UnknownAgent(
                f"There is no agent {agent_key[:50]!r} here. There are: {', '.join(sorted(self.roster.agents))}."
            )
        ttl = LockTtl(ttl_s, agent.lock_ttl_s, self.default_ttl_s)
        return self._changed(
            who,
            lambda: locks.set_lock(
                self.database,
                who,
                agent.key,
                ttl,
                actor=actor,
                reason=reason,
                as_of=as_of and as_of(),
                now=now,
            ),
        )

    def clear_session_lock(
        self,
        who: Who,
        *,
        actor: str = "service",
        reason: str | None = None,
        as_of: AsOf | None = None,
        now: datetime | None = None,
    ) -> SessionLock:
        """From now on the manager answers."""
        return self._changed(
            who,
            lambda: locks.clear_lock(
                self.database, who, actor=actor, reason=reason, as_of=as_of and as_of(), now=now
            ),
        )

    def set_user_ttl(self, device_id: DeviceId, ttl_s: int | None) -> None:
        """How long agents keep this user's conversations from now on, where neither the caller nor the agent says. None: as
        the service is set.
        """
        if not locks.set_user_ttl(self.database, device_id, ttl_s):
            raise SessionNotFound

    def end_session(self, who: Who) -> EndedSession | None:
        """Ends the conversation that they mean, with all that belongs to it; whoever is at work on it writes nothing more.
        The device and its user stay. None: the device is in none.
        """
        ended: list[EndedSession | None] = again_and_again(
            Deadline.after(_PATIENCE_S), lambda: [endings.end(self.database, who)]
        )
        asked = caller(who)
        if ended[0] is None and (
            isinstance(why := nothing_for(self.database, who), DeviceBarred) or asked.session_id
        ):
            raise why
        if self.current is not None:
            if ended[0] is None:
                self.current.nowhere(asked.device_id)
            else:
                self.current.ended(asked.device_id, ended[0])
        return ended[0]

    def cleanup_expired_sessions(
        self, deadline: Deadline | None = None, *, now: datetime | None = None
    ) -> CleanedUp:
        """Takes expired locks out of the rows, and ends conversations and application sessions that nobody uses, a batch at a
        time, until none is left or the time is over. Several may do it at once.
        """
        deadline = deadline or Deadline.never()
        database = self.database.by(deadline)
        return CleanedUp(
            _all(deadline, _BATCH, lambda: locks.clean_up(database, _BATCH, now=now)),
            _all(
                deadline,
                _BATCH_OF_SESSIONS,
                lambda: len(expired.clean_up(database, _BATCH_OF_SESSIONS, now=now)),
            ),
            _all(deadline, _BATCH, lambda: expired.clean_up_alone(database, _BATCH, now=now)),
        )

    def _changed(self, who: Who, change: Callable[[], StoredLock | None]) -> SessionLock:
        changed = again_and_again(Deadline.after(_PATIENCE_S), lambda: self._there(who, change()))
        demand(changed.held_as, Role.EDITOR)
        if self.current is not None:
            self.current.changed(
                caller(who).device_id, Told(changed.session_id, changed.version), changed.epoch
            )
        return _shown(changed)

    def _there(self, who: Who, stored: StoredLock | None) -> StoredLock:
        if stored is None:
            raise nothing_for(self.database, who)
        return stored


def _all(deadline: Deadline, batch: int, clean_up: Callable[[], int]) -> int:
    cleaned = 0
    while deadline.left_s():
        done = clean_up()
        cleaned += done
        if done < batch:
            break
    return cleaned


def _shown(stored: StoredLock) -> SessionLock:
    return SessionLock(
        session_id=stored.session_id,
        user_id=stored.user_id,
        agent=stored.agent,
        locked_at=stored.locked_at,
        expires_at=stored.expires_at,
        ttl_s=stored.session_ttl,
    )
