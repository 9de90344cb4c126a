"""Records: a whole conversation as it is stored, for whoever has to judge it, and the mending of one.

What can go wrong, and why it cannot: a conversation is mended by one statement, at the version that it was judged at and
only while nobody holds it. It counts the epoch up, so that a holder that slept meanwhile can write nothing any more, and
`rewrites`, so that what processes remember of it counts no more.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text

from core.content import Compaction
from core.ids import SessionId, TurnId
from core.store.approvals import WITHDRAWN, WITHDRAWN_BY
from core.store.database import Database
from core.store.holds import read_compaction
from core.store.outcomes import ASKED, UNKNOWN
from core.values import dataclass

# The doctor comes without settings.
_OUTCOME_TTL_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Said:
    seq: int
    turn_id: TurnId
    role: str
    content: str
    stop_reason: str | None
    left_out: bool


@dataclass(frozen=True, slots=True)
class Record:
    session_id: SessionId
    version: int
    is_held: bool
    message_seq: int
    messages: tuple[Said, ...]
    # The one that stands for the beginning when the model is told of it.
    compaction: Compaction | None
    open_turns: frozenset[TurnId]
    # Of turns that are over.
    open_calls: int
    pending_approvals: int


# Some conversations by their IDs, so that all of them can be gone through in pieces.
_PAGE: Final = text("""
SELECT id FROM conversation_states WHERE CAST(:after AS uuid) IS NULL OR id > :after ORDER BY id LIMIT :limit
""")


def page(database: Database, after: SessionId | None, limit: int) -> list[SessionId]:
    return [SessionId(row["id"]) for row in database.rows(_PAGE, {"after": after, "limit": limit})]


# One conversation, read from one snapshot.
_READ: Final = text("""
SELECT s.id AS session_id, s.version, s.message_seq,
    COALESCE(s.lease_expires_at > COALESCE(CAST(:now AS timestamptz), now()), false) AS is_held,
    (SELECT json_agg(json_build_array(m.seq, m.turn_id, m.role, m.content, m.stop_reason, m.left_out) ORDER BY m.seq)
        FROM messages m WHERE m.session_id = s.id) AS messages,
    o.upto_seq, o.content AS compaction,
    (SELECT json_agg(t.id) FROM turns t WHERE t.session_id = s.id AND t.ended_at IS NULL) AS open_turns,
    (SELECT count(*) FROM tool_calls c JOIN turns t ON t.session_id = c.session_id AND t.id = c.turn_id
        WHERE c.session_id = s.id AND t.ended_at IS NOT NULL AND c.status IN ('asked', 'ready', 'started')) AS open_calls,
    (SELECT count(*) FROM approvals a JOIN turns t ON t.session_id = a.session_id AND t.id = a.turn_id
        WHERE a.session_id = s.id AND t.ended_at IS NOT NULL AND a.status = 'pending' AND a.kind = 'call')
        AS pending_approvals
FROM conversation_states s
LEFT JOIN LATERAL (
    SELECT c.upto_seq, c.content FROM compactions c WHERE c.session_id = s.id AND NOT c.left_out
    ORDER BY c.upto_seq DESC LIMIT 1
) o ON true
WHERE s.id = :session_id
""")


def read(database: Database, session_id: SessionId, *, now: datetime | None = None) -> Record | None:
    row = database.row(_READ, {"session_id": session_id, "now": now})
    if row is None:
        return None
    return Record(
        session_id=SessionId(row["session_id"]),
        version=row["version"],
        is_held=row["is_held"],
        message_seq=row["message_seq"],
        messages=tuple(_said(item) for item in row["messages"] or ()),
        compaction=read_compaction(row),
        open_turns=frozenset(TurnId(UUID(id_)) for id_ in row["open_turns"] or ()),
        open_calls=row["open_calls"],
        pending_approvals=row["pending_approvals"],
    )


def _said(item: Sequence[Any]) -> Said:
    return Said(item[0], TurnId(UUID(item[1])), *item[2:])


# Leaves messages out, or a compaction, takes from what follows them the proof that its thinking could be sent, raises the count of messages,
# and closes what turns that are over left open. All or nothing, if nobody holds the conversation or committed since.
_MEND: Final = text(f"""
WITH clock AS MATERIALIZED (
    SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at
),
met AS (
    UPDATE conversation_states s
    SET version = version + 1, rewrites = rewrites + 1, lease_epoch = lease_epoch + 1, lease_expires_at = NULL,
        message_seq = GREATEST(message_seq, (SELECT max(m.seq) FROM messages m WHERE m.session_id = s.id))
    FROM clock
    WHERE id = :session_id AND version = :version AND (lease_expires_at IS NULL OR lease_expires_at <= at)
    RETURNING id
),
mended AS (
    UPDATE messages m
    SET left_out = m.left_out OR m.seq = ANY(CAST(:leave_out AS bigint[])),
        prefix_digest = CASE WHEN m.seq > :first THEN NULL ELSE m.prefix_digest END
    FROM met WHERE m.session_id = met.id AND m.seq >= :first
),
uncompacted AS (
    UPDATE compactions c SET left_out = true FROM met WHERE c.session_id = met.id AND c.upto_seq = :uncompact
),
closed AS (
    UPDATE tool_calls c SET ended_at = at, result = NULL,
        status = CASE WHEN c.status = 'started' AND c.effect = 'once' THEN 'unknown' ELSE 'dropped' END
    FROM met, clock, turns t
    WHERE c.session_id = met.id AND t.session_id = met.id AND t.id = c.turn_id AND t.ended_at IS NOT NULL
      AND c.status IN ('asked', 'ready', 'started')
    RETURNING {UNKNOWN}
),
unknown AS (
    SELECT * FROM closed WHERE status = 'unknown'
),
{ASKED},
withdrawn AS (
    UPDATE approvals a SET status = 'withdrawn', decided_at = at
    FROM met, clock, turns t
    WHERE a.session_id = met.id AND t.session_id = met.id AND t.id = a.turn_id AND t.ended_at IS NOT NULL
      AND a.status = 'pending' AND a.kind = 'call'
    {WITHDRAWN}
),
{WITHDRAWN_BY.format(actor="system")}
SELECT id FROM met
""")


def mend(
    database: Database,
    record: Record,
    leave_out: Sequence[int],
    *,
    outcome_ttl_s: int = _OUTCOME_TTL_S,
    uncompact: int | None = None,
    now: datetime | None = None,
) -> bool:
    """`uncompact`: the number of the compaction to be left out. False: somebody holds it, or committed since it was read; nothing was written."""
    given = {
        "session_id": record.session_id,
        "version": record.version,
        "leave_out": list(leave_out),
        "uncompact": uncompact,
        # Nothing is left out before the first: no message has this number.
        "first": min(leave_out, default=2**62),
        "outcome_ttl_s": outcome_ttl_s,
        "now": now,
    }
    return database.row(_MEND, given) is not None
