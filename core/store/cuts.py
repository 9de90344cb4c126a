"""Cuts: after which messages a conversation can be cut, so that what is before is whole.

A message is such a place if no turn goes on behind it: the last one of a turn that has ended, or one that came between two
turns. Where two conversations are to be the same up to a message, or one is to be told no further, it is cut there.

What can go wrong, and why it cannot: a turn goes on while somebody looks. Whoever cuts names the version that was read along
with the place, and each step of a turn counts it up.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.ids import SessionId
from core.store.database import Database
from core.store.fence import CLOCK
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where a conversation can be cut, at and around one message; as of a version."""

    version: int
    message_seq: int
    # The places nearest to the message: before it or there, there or behind it, and the last of all. None: there is none.
    before: int | None
    after: int | None
    newest: int | None
    # How many messages behind it the model is told, without what became of calls of turns before it.
    told_behind: int
    has_open_turn: bool
    is_held: bool

    @property
    def is_busy(self) -> bool:
        return self.has_open_turn or self.is_held


# No turn goes on behind the message `m`.
_IS_CUT: Final = """NOT EXISTS (SELECT FROM turns t WHERE t.session_id = m.session_id AND t.first_seq <= m.seq
    AND (t.ended_at IS NULL OR t.last_seq > m.seq))"""

# Read from one snapshot. Each place is looked for from the message on, so few are looked at.
_AROUND: Final = text(f"""
WITH {CLOCK}
SELECT s.version, s.message_seq, COALESCE(s.lease_expires_at > clock.at, false) AS is_held,
    COALESCE((SELECT true FROM turns o WHERE o.session_id = s.id AND o.ended_at IS NULL LIMIT 1), false) AS has_open_turn,
    (SELECT m.seq FROM messages m WHERE m.session_id = s.id AND m.seq <= :seq AND {_IS_CUT} ORDER BY m.seq DESC LIMIT 1) AS before,
    (SELECT m.seq FROM messages m WHERE m.session_id = s.id AND m.seq >= :seq AND {_IS_CUT} ORDER BY m.seq LIMIT 1) AS after,
    (SELECT m.seq FROM messages m WHERE m.session_id = s.id AND {_IS_CUT} ORDER BY m.seq DESC LIMIT 1) AS newest,
    (SELECT count(*) FROM messages m WHERE m.session_id = s.id AND m.seq > :seq AND NOT m.left_out
        AND NOT EXISTS (SELECT FROM turns t WHERE t.session_id = s.id AND t.id = m.turn_id AND t.last_seq <= :seq)) AS told_behind
FROM conversation_states s CROSS JOIN clock WHERE s.id = :session_id
""")


def around(
    database: Database, session_id: SessionId, seq: int, *, now: datetime | None = None
) -> Cuts | None:
    """None: the conversation is gone."""
    row = database.row(_AROUND, {"session_id": session_id, "seq": seq, "now": now})
    return None if row is None else Cuts(**row)
