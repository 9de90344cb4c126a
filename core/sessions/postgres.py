"""Application sessions in Postgres: the authority that the product itself trusts."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from core.deadline import Deadline
from core.errors import (
    DatabaseConflict,
    DatabaseNotMigrated,
    DatabaseUnavailable,
    StorageUnavailable,
    TooManySessions,
)
from core.ids import SessionId
from core.sessions.storage import Health, NewRecord, Record, Stamp, Swapped
from core.store import application_sessions, endings
from core.store.application_sessions import Outcome, StoredRow, Wanted
from core.store.database import Database, reason
from core.store.endings import EndedSession
from core.tries import again_and_again, past_dead_connections

_log = logging.getLogger(__name__)

# Until those who want the same place at once have each found one.
_PATIENCE_S: Final = 5.0


class PostgresStorage:
    """`ended` is told of each conversation that ended because its application session was deleted."""

    kind = "postgres"

    def __init__(
        self,
        database: Database,
        *,
        ended: Callable[[EndedSession], None] = lambda _: None,
        now: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        self._database = database
        self._ended = ended
        # For tests: else the time is the database's.
        self._now = now

    def create(self, namespace: str, new: NewRecord, most_per_user: int) -> Record:
        (made,) = self.store_many(namespace, [new], most_per_user)
        if made is None:
            raise TooManySessions
        return made

    def store_many(
        self, namespace: str, news: Sequence[NewRecord], most_per_user: int
    ) -> list[Record | None]:
        """One round trip, and more only where others make sessions of the same users at the same moment."""
        wanted = [Wanted(new.session_id, new.user_id, new.body, new.ttl_s) for new in news]

        def attempt() -> list[Outcome] | None:
            found = application_sessions.create(
                self._database, namespace, wanted, most_per_user, now=self._now()
            )
            return found if all(one.row is not None or one.is_full for one in found) else None

        with _told():
            outcomes = again_and_again(Deadline.after(_PATIENCE_S), attempt) if wanted else []
        return [None if one.row is None else replace(_record(one.row), is_new=one.is_new) for one in outcomes]

    def load(
        self,
        namespace: str,
        session_id: UUID,
        *,
        extend: bool,
        certain: bool = False,  # noqa: ARG002 - it always is
    ) -> Record | None:
        with _told():
            row = past_dead_connections(
                lambda: application_sessions.load(
                    self._database, namespace, session_id, extend=extend, now=self._now()
                )
            )
        return None if row is None else _record(row)

    def swap(self, namespace: str, session_id: UUID, seen: Stamp, body: str) -> Swapped:
        """Sent again after its reply was lost it may be refused by itself: whoever asked knows its own body."""
        with _told():
            done, row = past_dead_connections(
                lambda: application_sessions.swap(
                    self._database, namespace, session_id, seen.epoch, seen.version, body, now=self._now()
                )
            )
        return Swapped(done, None if row is None else _record(row))

    def delete(self, namespace: str, session_ids: Sequence[UUID]) -> dict[UUID, int]:
        """One more round trip for each that belongs to a conversation, which ends with it, in every namespace."""
        with _told():
            deleted = past_dead_connections(
                lambda: application_sessions.delete(self._database, namespace, session_ids, now=self._now())
            )
            for one in deleted:
                if one.is_linked:
                    self._end(SessionId(one.session_id))
        return {one.session_id: one.epoch for one in deleted}

    def _end(self, session_id: SessionId) -> None:
        def attempt() -> tuple[EndedSession | None]:
            return (endings.end_session(self._database, session_id),)

        (ended,) = again_and_again(Deadline.after(_PATIENCE_S), attempt)
        if ended is not None:
            self._ended(ended)

    def exists(self, namespace: str, session_id: UUID) -> bool:
        return self.left_s(namespace, session_id) is not None

    def expire(self, namespace: str, session_id: UUID, ttl_s: int) -> Record | None:
        with _told():
            row = past_dead_connections(
                lambda: application_sessions.expire(
                    self._database, namespace, session_id, ttl_s, now=self._now()
                )
            )
        return None if row is None else _record(row)

    def left_s(self, namespace: str, session_id: UUID) -> float | None:
        with _told():
            return past_dead_connections(
                lambda: application_sessions.left_s(self._database, namespace, session_id, now=self._now())
            )

    def of_user(self, namespace: str, user_id: UUID) -> list[UUID]:
        with _told():
            return past_dead_connections(
                lambda: application_sessions.of_user(self._database, namespace, user_id, now=self._now())
            )

    def clean_up(self, namespace: str, user_id: UUID | None, limit: int) -> int:
        with _told():
            return past_dead_connections(
                lambda: application_sessions.clean_up(
                    self._database, namespace, user_id, limit, now=self._now()
                )
            )

    def health(self) -> Health:
        try:
            with _told():
                sessions, size_bytes = past_dead_connections(
                    lambda: application_sessions.extent(self._database)
                )
        except StorageUnavailable:
            return Health(self.kind, is_well=False)
        return Health(self.kind, is_well=True, sessions=sessions, size_bytes=size_bytes)

    def close(self) -> None:
        """The database is not ours to close."""


@contextmanager
def _told() -> Iterator[None]:
    """What the driver says is for the log."""
    try:
        yield
    except (DatabaseUnavailable, DatabaseConflict, DatabaseNotMigrated) as error:
        _log.warning("sessions in Postgres: %s: %s", error.code, reason(error))
        raise StorageUnavailable from error


def _record(row: StoredRow) -> Record:
    return Record(
        session_id=row.session_id,
        user_id=row.user_id,
        epoch=row.epoch,
        version=row.version,
        body=row.body,
        ttl_s=row.idle_ttl,
        created_at=row.created_at,
        last_active_at=row.last_active_at,
    )
