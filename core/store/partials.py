"""Partials: what the model is saying at this moment, for those who read along where no Redis carries it.

What can go wrong, and why it does not matter: a function that was frozen in the middle of this writes it an hour later. It is
written only while the session's row names its epoch, and never over one of a later epoch; and a reader believes only what names
the epoch of the row that it reads along with it. A partial is of no use once its message is stored, and nothing is read from it
but what is being said: lost or late, it costs the reader a moment.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.ids import SessionId, TurnId
from core.store.database import Database
from core.store.fence import CLOCK
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class StoredPartial:
    session_id: SessionId
    # The grant that it is said under, and the message that it will be.
    epoch: int
    turn_id: TurnId
    seq: int
    agent: str
    # JSON text.
    content: str


# Puts down what is being said, if the epoch is still the row's, in the place of what was said before under it or an earlier one.
# Sent twice it says the same.
_PUT: Final = text(f"""
WITH {CLOCK}
INSERT INTO partials AS p (session_id, epoch, turn_id, seq, agent, content, updated_at)
SELECT s.id, :epoch, :turn_id, :seq, :agent, :content, at
FROM conversation_states s CROSS JOIN clock
WHERE s.id = :session_id AND s.lease_epoch = :epoch AND s.lease_expires_at IS NOT NULL
ON CONFLICT (session_id) DO UPDATE SET epoch = EXCLUDED.epoch, turn_id = EXCLUDED.turn_id, seq = EXCLUDED.seq,
    agent = EXCLUDED.agent, content = EXCLUDED.content, updated_at = EXCLUDED.updated_at
WHERE p.epoch <= EXCLUDED.epoch
RETURNING p.session_id
""")


def put(database: Database, partial: StoredPartial, *, now: datetime | None = None) -> bool:
    """False: the epoch has passed; nothing was written."""
    given = {field: getattr(partial, field) for field in StoredPartial.__slots__}
    return database.row(_PUT, {**given, "now": now}) is not None


# Takes away what was said up to an epoch; what somebody says under a later one stays.
_FORGET: Final = text("""
DELETE FROM partials WHERE session_id = :session_id AND epoch <= :epoch RETURNING session_id
""")


def forget(database: Database, session_id: SessionId, epoch: int) -> None:
    database.row(_FORGET, {"session_id": session_id, "epoch": epoch})


# What its speaker did not take away, oldest first; several at once take different ones.
_CLEAN_UP: Final = text(f"""
WITH {CLOCK},
old AS (
    SELECT p.session_id FROM partials p, clock WHERE p.updated_at < at - make_interval(secs => :kept_s)
    ORDER BY p.updated_at LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
DELETE FROM partials p USING old WHERE p.session_id = old.session_id RETURNING p.session_id
""")


def clean_up(database: Database, limit: int, *, kept_s: int, now: datetime | None = None) -> int:
    return len(database.rows(_CLEAN_UP, {"limit": limit, "kept_s": kept_s, "now": now}))
