"""Importing: what was read of a file becomes a conversation of the caller's, under IDs of its own.

Application sessions are what a team's own code wrote and believes; a file that a client sends could say anything there. They are
stored only for whoever runs the service (`trusted`).
"""

from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID, uuid5

from core.access import Caller
from core.deadline import Deadline
from core.entrance import nothing_for
from core.errors import IdempotencyKeyReused, SessionNotFound
from core.ids import SOMEBODY, SessionId, UserId, new_session_id, new_user_id
from core.store import imports
from core.store.database import Database
from core.store.imports import Importing
from core.transfer import reading
from core.transfer.reading import Draft, Fields
from core.tries import again_and_again, past_dead_connections
from core.values import dataclass

_PATIENCE_S: Final = 5.0
_SOMEBODY: Final = str(SOMEBODY)
_CANCELLED: Final = {"code": "turn_cancelled", "detail": "The turn was cancelled."}


@dataclass(frozen=True, slots=True)
class Terms:
    """What imports are held to."""

    max_message_bytes: int
    idle_ttl_s: int
    # Whoever runs the service vouches for the file.
    trusted: bool = False


def import_session(
    database: Database, caller: Caller, file: Iterable[bytes], terms: Terms, key: str | None = None
) -> SessionId:
    """The same key gives the same conversation, however often it is sent."""
    draft = reading.read(file, terms.max_message_bytes)

    def met() -> UserId | None:
        found = imports.owner(database, caller, new_user_id())
        if found is not None:
            return found
        barred = nothing_for(database, caller)
        if isinstance(barred, SessionNotFound):
            # Another request of this device made its user.
            return None
        raise barred

    return store(database, again_and_again(Deadline.after(_PATIENCE_S), met), draft, terms, key)


def store(
    database: Database, user_id: UserId, draft: Draft, terms: Terms, key: str | None = None
) -> SessionId:
    session_id = new_session_id() if key is None else SessionId(uuid5(user_id, f"import {key}"))
    importing = _importing(session_id, user_id, draft, terms)

    def attempt() -> SessionId | None:
        if imports.store(database, importing):
            return session_id
        found = imports.found(database, session_id)
        if found is None:
            return None
        if found != (user_id, importing.source):
            raise IdempotencyKeyReused("This Idempotency-Key came before with another file.")
        return session_id

    return again_and_again(Deadline.after(_PATIENCE_S), lambda: past_dead_connections(attempt))


def _importing(session_id: SessionId, user_id: UserId, draft: Draft, terms: Terms) -> Importing:
    rows = {kind: [_placed(session_id, user_id, row) for row in found] for kind, found in draft.rows.items()}
    for nth, row in enumerate(rows["audit"]):
        row["nth"] = nth
    for row in rows["turn"]:
        if row["ended_at"] is None:
            row["error"] = _CANCELLED
        # NULL is the owner.
        row["sent_by"] = _SOMEBODY if row["sent_by"] == _SOMEBODY else None
    if not terms.trusted:
        rows["application_session"] = []
    source = f"{draft.session['id']} {draft.digest}"
    counted = (
        row["after"].get(name, 0) for row in rows["revision"] for name in ("rewrites", "undone_rewrites")
    )
    rewrites = max(counted, default=0)
    return Importing(session_id, user_id, draft.session, rows, source, terms.idle_ttl_s, rewrites)


_OWN_IDS: Final = ("turn_id", "joined_to", "source_id")
_PEOPLE: Final = ("sent_by", "decided_by", "created_by", "by")


def _placed(session_id: SessionId, user_id: UserId, row: Fields) -> dict[str, Any]:
    """With IDs of its own. Those of tool calls stay: they stand in what was said."""
    placed = dict(row)
    for name in _OWN_IDS:
        if placed.get(name) is not None:
            placed[name] = _own(session_id, placed[name])
    if "effect" not in placed and "id" in placed:
        placed["id"] = _own(session_id, placed["id"])
    for name in _PEOPLE:
        if placed.get(name) is not None:
            placed[name] = str(user_id) if placed[name] == "owner" else _SOMEBODY
    return placed


def _own(session_id: SessionId, id_: str) -> str:
    return str(uuid5(session_id, str(UUID(id_))))
