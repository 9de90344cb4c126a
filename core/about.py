"""What is being worked on: known to every line of the log that is written meanwhile, on whatever thread.

A function begins with what it knows (`under`), and what is found out on the way is added for all who work on it (`learn`).
A session is named by a digest of its ID: lines of one conversation are found together, and the log is no list of IDs.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from core.digest import digest
from core.ids import SessionId, TurnId

_about: ContextVar[dict[str, Any] | None] = ContextVar("about", default=None)


def current() -> Mapping[str, Any]:
    return _about.get() or {}


@contextmanager
def under(**known: Any) -> Iterator[None]:
    """What is known from here on, beside what was known before. What is learnt within is forgotten at the end."""
    token = _about.set({**current(), **known})
    try:
        yield
    finally:
        _about.reset(token)


def learn(**found: Any) -> None:
    about = _about.get()
    if about is not None:
        about.update(found)


def learn_turn(session_id: SessionId, turn_id: TurnId, epoch: int | None = None) -> None:
    """The epoch is of the lease that it is worked on under; None: by others."""
    about = _about.get()
    if about is not None:
        about.update(session=short(session_id), turn=str(turn_id))
        if epoch is None:
            about.pop("epoch", None)
        else:
            about["epoch"] = epoch


def short(session_id: SessionId) -> str:
    """In SQL: left(encode(sha256(id::text::bytea), 'hex'), 12)."""
    return digest(str(session_id))[:12]
