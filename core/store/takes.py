"""Takes: going on with a conversation, for whoever has more time than those who left it.

What can go wrong, and why it cannot: as with a claim. One of several at once is granted, at the version that it has read; a
take whose reply was lost takes back what it was granted, by the ID of its attempt, and counts no crash. A conversation whose
turn has not ended is alive, so nothing is asked about its time.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text

from core.content import Message
from core.ids import SessionId, TurnId, UserId
from core.store.database import Database, Row
from core.store.holds import (
    FLOOR,
    HISTORY,
    OVERLAY,
    Grant,
    Remembered,
    hold_of,
    read_calls,
    read_compaction,
    read_history,
    remembered,
)

# Takes the lease for the conversation's oldest open turn, begins it or goes on with it, all or nothing, while the
# conversation is free and as it was read. Of several at once one is granted; nothing is written for the others.
_TAKE: Final = text(f"""
WITH clock AS MATERIALIZED (
    SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at
),
head AS MATERIALIZED (
    SELECT * FROM turns WHERE session_id = :session_id AND ended_at IS NULL ORDER BY seq LIMIT 1
),
known AS MATERIALIZED (
    SELECT s.id AS session_id, s.version, s.lease_holder, {FLOOR} AS floor
    FROM conversation_states s WHERE s.id = :session_id
),
overlay AS MATERIALIZED (
    SELECT o.* FROM known k CROSS JOIN LATERAL ({OVERLAY}) o
),
step AS MATERIALIZED (
    SELECT CASE WHEN first_seq IS NULL THEN 1 ELSE 0 END AS n FROM head
),
taken AS (
    UPDATE conversation_states s
    SET lease_epoch = s.lease_epoch + 1,
        lease_expires_at = at + make_interval(secs => :lease_ttl_s),
        lease_holder = :holder,
        message_seq = s.message_seq + n,
        version = s.version + 1
    FROM known k, head, step, clock
    WHERE s.id = k.session_id AND s.version = k.version AND head.status <> 'waiting'
      AND (s.lease_expires_at IS NULL OR s.lease_expires_at <= at OR s.lease_holder = :holder)
    RETURNING s.*
),
begun AS (
    UPDATE turns t
    SET status = 'running',
        crashes = head.crashes
            + CASE WHEN head.status = 'running' AND k.lease_holder IS DISTINCT FROM :holder THEN 1 ELSE 0 END,
        first_seq = COALESCE(head.first_seq, s.message_seq),
        last_seq = COALESCE(head.last_seq, s.message_seq),
        input = CASE WHEN head.first_seq IS NULL THEN NULL ELSE head.input END
    FROM taken s, head, known k
    WHERE t.session_id = s.id AND t.id = head.id
    RETURNING t.first_seq, t.crashes, t.input
),
message AS (
    INSERT INTO messages (session_id, seq, turn_id, role, content, created_at)
    SELECT s.id, s.message_seq, head.id, 'user', head.input, at FROM taken s, head, step, clock WHERE n = 1
)
SELECT
    s.id AS session_id, s.user_id, s.lease_epoch, s.message_seq, s.signal_seq, s.usage, s.rewrites,
    CASE WHEN s.locked_at + make_interval(secs => s.session_ttl) > at THEN s.active_agent END AS active_agent,
    head.id AS turn_id, head.seq AS own_seq, head.created_at AS turn_created_at, head.usage AS turn_usage, head.stop,
    head.is_followed, head.agent AS said_by,
    CASE WHEN n = 1 THEN head.input END AS said, begun.first_seq, begun.crashes, begun.input,
    (SELECT json_agg(json_build_object('id', c.id, 'name', c.name, 'effect', c.effect, 'status', c.status,
        'result', c.result))::text FROM tool_calls c
        WHERE c.session_id = s.id AND c.turn_id = head.id AND c.message_seq = s.message_seq) AS calls,
    o.upto_seq, o.content AS compaction,
    ({HISTORY} AND m.session_id = s.id AND m.seq > COALESCE(o.upto_seq, k.floor)) AS history
FROM taken s CROSS JOIN head CROSS JOIN step CROSS JOIN begun CROSS JOIN known k CROSS JOIN clock LEFT JOIN overlay o ON true
""")


def take(
    database: Database,
    session_id: SessionId,
    holder: UUID,
    *,
    lease_ttl_s: float,
    known: Remembered | None = None,
    now: datetime | None = None,
) -> Grant | None:
    """None: there is nothing to go on with, or somebody else does."""
    row = database.row(
        _TAKE,
        {
            "session_id": session_id,
            "holder": holder,
            "lease_ttl_s": lease_ttl_s,
            "now": now,
            **remembered(known),
        },
    )
    return None if row is None else _taken(row)


def _taken(row: Row) -> Grant:
    history = read_history(row["history"])
    if row["said"] is not None:
        history += (Message.from_client(row["message_seq"], row["said"]),)
    return Grant(
        hold=hold_of(row, TurnId(row["turn_id"])),
        user_id=UserId(row["user_id"]),
        turn_seq=row["own_seq"],
        turn_created_at=row["turn_created_at"],
        first_seq=row["first_seq"],
        turn_usage=row["turn_usage"] or {},
        session_usage=row["usage"],
        active_agent=row["active_agent"],
        rewrites=row["rewrites"],
        history=history,
        compaction=read_compaction(row),
        said_by=row["said_by"],
        stop=row["stop"],
        input=row["input"],
        crashes=row["crashes"],
        calls=read_calls(row["calls"]),
        is_followed=row["is_followed"],
    )
