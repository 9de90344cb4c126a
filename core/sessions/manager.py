"""Application sessions for a team: typed, never overwritten unseen, gone when nobody uses them.

    desk = SessionManager(Desk, storage, namespace="desk")
    session = desk.create(user_id=user)
    desk.update(session.id, lambda s: s.with_state(Desk(tickets=s.state.tickets + 1)))

A manager is for one kind of state in one namespace, and for any number of threads. What storage it stands on changes no answer.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic
from uuid import UUID, uuid4

from core.deadline import Deadline
from core.digest import digest
from core.errors import SessionTaken
from core.figures import Figures
from core.ids import SessionId, UserId, new_session_id
from core.sessions.codec import Body, Codec
from core.sessions.lanes import Lanes
from core.sessions.session import NewSession, Session, State
from core.sessions.storage import Health, NewRecord, Record, Storage
from core.sessions.updating import Change, Updating, shown

DEFAULT_TTL_S: Final = 1_800
MOST_PER_USER: Final = 100
LONGEST_TTL_S: Final = 31_536_000

_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.-]{1,50}")
_UPDATE_S: Final = 10.0
_BATCH: Final = 500


class SessionManager(Generic[State]):
    """`new_state` makes the state of a session that is given none; its type is the state's, unless `state_type` says.

    `shares_storage`: others stand on it too, so it is closed by whoever made it.
    """

    def __init__(
        self,
        new_state: Callable[[], State],
        storage: Storage,
        *,
        namespace: str,
        default_ttl_s: int = DEFAULT_TTL_S,
        most_per_user: int = MOST_PER_USER,
        extend_on_read: bool = True,
        state_type: Any = None,
        figures: Figures | None = None,
        shares_storage: bool = False,
    ) -> None:
        if not _NAMESPACE.fullmatch(namespace):
            raise ValueError(f"the namespace {namespace!r}; accepted: 1 to 50 of A-Z a-z 0-9 _ . -")
        self._new_state = new_state
        self._storage = storage
        self._namespace = namespace
        self._default_ttl_s = _checked(default_ttl_s)
        self._most_per_user = most_per_user
        self._extend_on_read = extend_on_read
        self._codec = Codec(namespace, new_state, state_type)
        self._shares_storage = shares_storage
        self._lanes = Lanes()
        self._figures = figures or Figures()

    def create(
        self,
        id: SessionId | None = None,
        *,
        user_id: UserId | None = None,
        org_id: UUID | None = None,
        workspace_path: str | None = None,
        mcp_client_ids: Iterable[str] = (),
        system_prompt: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        state: State | None = None,
        ttl_s: int | None = None,
    ) -> Session[State]:
        """One that exists is returned as it is. SessionTaken: it is another user's. TooManySessions: this user has no place left."""
        new = NewSession(
            id=id,
            user_id=user_id,
            org_id=org_id,
            workspace_path=workspace_path,
            mcp_client_ids=tuple(mcp_client_ids),
            system_prompt=system_prompt,
            metadata=metadata or {},
            state=state,
            ttl_s=ttl_s,
        )
        record = self._storage.create(self._namespace, self._written(new), self._most_per_user)
        if not _is_theirs(record, user_id):
            raise SessionTaken
        self._count("created", record.is_new)
        return self._shown(record)

    def get(self, id: SessionId) -> Session[State] | None:
        record = self._storage.load(self._namespace, id, extend=self._extend_on_read)
        return None if record is None else self._shown(record)

    def update(
        self,
        id: SessionId,
        change: Change[State],
        *,
        key: str | None = None,
        within_s: float = _UPDATE_S,
    ) -> Session[State]:
        """Stores what `change` makes of the session, which may be called several times: whenever somebody else was quicker.

        What it raises goes through, and nothing is stored. With a key, an update that was stored is not stored a second time, as
        long as it is among the last ones of its session: for tools, `context.idempotency_key`.
        """
        name = uuid4().hex[:16] if key is None else digest(key)[:16]
        deadline = Deadline.after(within_s)
        with self._lanes.turn(id, deadline) as (lane, left):
            updating = Updating(
                self._storage,
                self._codec,
                self._namespace,
                id,
                change,
                name,
                self._extend_on_read,
                deadline,
                lane,
            )
            try:
                return updating.run(left)
            finally:
                self._count("updates", 1)
                self._count("conflicts", updating.refusals)

    def delete(self, id: SessionId) -> bool:
        """False: it was not there, or a lost reply hides that it was."""
        return self.delete_many([id]) == 1

    def delete_many(self, ids: Iterable[SessionId]) -> int:
        """How many of them were there."""
        chosen = list(dict.fromkeys(ids))
        deleted = len(self._storage.delete(self._namespace, chosen)) if chosen else 0
        self._count("deleted", deleted)
        return deleted

    def store_many(self, news: Iterable[NewSession[State]]) -> list[Session[State] | None]:
        """`create` for each, in order and in one round trip. None: its user has no place left, or it is another user's."""
        wanted = [self._written(new) for new in news]
        records = self._storage.store_many(self._namespace, wanted, self._most_per_user)
        self._count("created", sum(record is not None and record.is_new for record in records))
        return [
            None if record is None or not _is_theirs(record, new.user_id) else self._shown(record)
            for new, record in zip(wanted, records, strict=True)
        ]

    def exists(self, id: SessionId) -> bool:
        """Extends nothing."""
        return self._storage.exists(self._namespace, id)

    def set_ttl(self, id: SessionId, ttl_s: int) -> bool:
        """From now on it lives so long without anybody using it. False: there is none."""
        return self._storage.expire(self._namespace, id, _checked(ttl_s)) is not None

    def get_ttl(self, id: SessionId) -> float | None:
        """In how many seconds it is gone, if nobody uses it; extends nothing."""
        return self._storage.left_s(self._namespace, id)

    @property
    def default_ttl_s(self) -> int:
        """For sessions made from now on."""
        return self._default_ttl_s

    @default_ttl_s.setter
    def default_ttl_s(self, ttl_s: int) -> None:
        self._default_ttl_s = _checked(ttl_s)

    def list_for_user(self, user_id: UserId) -> list[SessionId]:
        """Those that are there, the oldest first."""
        return [SessionId(one) for one in self._storage.of_user(self._namespace, user_id)]

    def cleanup_expired(self, user_id: UserId | None = None, deadline: Deadline | None = None) -> int:
        """Takes away what is left of expired sessions, a batch at a time; tells how many. Nobody sees them before that either."""
        deadline, cleaned = deadline or Deadline.never(), 0
        while deadline.left_s():
            batch = self._storage.clean_up(self._namespace, user_id, _BATCH)
            cleaned += batch
            if batch < _BATCH:
                break
        self._count("expired", cleaned)
        return cleaned

    def health(self) -> Health:
        return self._storage.health()

    def close(self) -> None:
        if not self._shares_storage:
            self._storage.close()

    def _written(self, new: NewSession[State]) -> NewRecord:
        text, _ = self._codec.write(
            Body(
                state=self._new_state() if new.state is None else new.state,
                org_id=new.org_id,
                workspace_path=new.workspace_path,
                mcp_client_ids=tuple(new.mcp_client_ids),
                system_prompt=new.system_prompt,
                metadata=dict(new.metadata),
            )
        )
        ttl_s = self._default_ttl_s if new.ttl_s is None else _checked(new.ttl_s)
        return NewRecord(new.id or new_session_id(), new.user_id, text, ttl_s)

    def _count(self, what: str, how_many: int) -> None:
        if how_many:
            self._figures.count(f"sessions.{what}", by=how_many)

    def _shown(self, record: Record) -> Session[State]:
        return shown(record, self._codec.read(record.body))


def _is_theirs(record: Record, user_id: UUID | None) -> bool:
    return user_id is None or record.user_id in (None, user_id)


def _checked(ttl_s: int) -> int:
    if isinstance(ttl_s, bool) or not isinstance(ttl_s, int) or not 0 < ttl_s <= LONGEST_TTL_S:
        raise ValueError(f"a TTL of {ttl_s!r}; accepted: a whole number of seconds from 1 to {LONGEST_TTL_S}")
    return ttl_s
