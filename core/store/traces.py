"""Traces: what a user said and did in conversations of others, and in others' forks of theirs, is blotted out, and they are put out.

What can go wrong, and why it cannot:

* *Somebody is at work on the conversation.* It is written at the version that was read with it, and counts the epoch up: whoever
  held it writes nothing more, and the turn is gone on with by the next. `rewrites` counts up too, so no process remembers the text.
* *The conversation becomes one that the model refuses.* Turns are left out whole, so no call is without its result; thinking behind
  them loses the proof that it could be sent, as when the doctor mends; and what stood for the beginning goes, if it told of them.
* *Others have answered.* A turn is one piece: with what they said goes what was answered to it. What is said in later turns stays.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text

from core.content import dump
from core.ids import SOMEBODY, SessionId, UserId
from core.store.database import Database
from core.store.erasures import noted
from core.store.fence import CLOCK
from core.values import dataclass

_BLOTTED: Final = dump([{"type": "text", "text": "(erased)"}])
_CANCELLED: Final = dump({"code": "turn_cancelled", "detail": "The turn was cancelled."})

_ANOTHERS: Final = (
    "JOIN conversation_states s ON s.id = x.session_id AND s.user_id <> :user_id WHERE x.{column} = :user_id"
)
_SOME: Final = "\n    UNION ALL ".join(
    f"(SELECT x.session_id FROM {table} x {_ANOTHERS.format(column=column)} LIMIT :limit)"
    for table, column in (
        ("turns", "sent_by"),
        ("approvals", "decided_by"),
        ("audit_log", "user_id"),
        ("revisions", "created_by"),
        ("share_links", "created_by"),
        ("members", "user_id"),
    )
)

# Others' forks of theirs, with what was copied of them that no turn tells of.
_FORKS: Final = """(SELECT f.id FROM conversation_states s JOIN conversation_states f ON f.forked_from = s.id AND f.user_id <> s.user_id
    WHERE s.user_id = :user_id AND (f.metadata <> '{}' OR EXISTS (SELECT FROM todos d WHERE d.session_id = f.id)) LIMIT :limit)"""

# Some conversations of others that they left a trace in. What is blotted out is found no more.
_TRACES: Final = text(f"""
SELECT DISTINCT t.session_id FROM (
    {_SOME}
    UNION ALL {_FORKS}
) AS t LIMIT :limit
""")


def find(database: Database, user_id: UserId, limit: int) -> list[SessionId]:
    rows = database.rows(_TRACES, {"user_id": user_id, "limit": limit})
    return [SessionId(row["session_id"]) for row in rows]


# Of the turns that are ended by it: what they had reserved counts as spent, as after a crash.
_FORFEITED: Final = """
owed AS MATERIALIZED (
    SELECT o.scope, o.id, CAST(t.created_at AT TIME ZONE 'UTC' AS date) AS day, sum(t.reserved_micros) AS micros,
        sum(t.reserved_tokens) AS tokens
    FROM met JOIN turns t ON t.session_id = met.id AND t.ended_at IS NULL AND t.id IN (SELECT id FROM theirs)
    CROSS JOIN LATERAL (VALUES ('user', met.user_id), ('org', met.org_id)) AS o(scope, id)
    WHERE o.id IS NOT NULL AND (t.reserved_micros > 0 OR t.reserved_tokens > 0)
    GROUP BY 1, 2, 3
),
purses AS MATERIALIZED (
    SELECT p.scope, p.id, p.day, o.micros, o.tokens
    FROM owed o JOIN spending p ON p.scope = o.scope AND p.id = o.id AND p.day = o.day
    ORDER BY p.scope DESC, p.id, p.day
    FOR UPDATE OF p
),
settled AS (
    UPDATE spending p
    SET spent_micros = p.spent_micros + b.micros, reserved_micros = p.reserved_micros - b.micros,
        spent_tokens = p.spent_tokens + b.tokens, reserved_tokens = p.reserved_tokens - b.tokens
    FROM purses b WHERE p.scope = b.scope AND p.id = b.id AND p.day = b.day
)
"""

# Blots all of it out of one conversation, all or nothing, at the version that was read. A fork of a conversation of theirs loses the
# metadata and todos that it was made with as well.
_BLOT: Final = text(f"""
WITH {CLOCK},
known AS MATERIALIZED (
    SELECT s.id, s.version, EXISTS (SELECT FROM conversation_states f WHERE f.id = s.forked_from AND f.user_id = :user_id) AS is_fork
    FROM conversation_states s WHERE s.id = :session_id AND s.user_id <> :user_id
),
sent AS MATERIALIZED (
    SELECT t.id, t.joined_to FROM known k JOIN turns t ON t.session_id = k.id WHERE t.sent_by = :user_id
),
theirs AS MATERIALIZED (
    SELECT t.id, t.created_at, t.ended_at, t.id IN (SELECT id FROM sent) AS is_own
    FROM known k JOIN turns t ON t.session_id = k.id
    WHERE t.id IN (SELECT id FROM sent UNION SELECT joined_to FROM sent)
       OR t.id IN (SELECT a.turn_id FROM approvals a WHERE a.session_id = k.id AND a.decided_by = :user_id AND a.note IS NOT NULL)
),
said AS MATERIALIZED (
    SELECT min(m.seq) AS first FROM known k JOIN messages m ON m.session_id = k.id AND m.turn_id IN (SELECT id FROM theirs)
),
met AS (
    UPDATE conversation_states s
    SET version = s.version + 1, rewrites = s.rewrites + CASE WHEN said.first IS NULL THEN 0 ELSE 1 END,
        lease_epoch = s.lease_epoch + CASE WHEN s.lease_expires_at IS NULL THEN 0 ELSE 1 END, lease_expires_at = NULL,
        metadata = CASE WHEN k.is_fork THEN '{{}}' ELSE s.metadata END
    FROM known k, said WHERE s.id = k.id AND s.version = k.version
    RETURNING s.id, s.user_id, s.org_id, s.lease_epoch, s.version, k.is_fork, said.first
),
{_FORFEITED},
blotted AS (
    UPDATE messages m
    SET content = CASE WHEN h.id IS NULL THEN m.content ELSE :blotted END, left_out = m.left_out OR h.id IS NOT NULL,
        prefix_digest = NULL
    FROM met JOIN messages x ON x.session_id = met.id AND x.seq >= met.first LEFT JOIN theirs h ON h.id = x.turn_id
    WHERE m.session_id = x.session_id AND m.seq = x.seq AND (h.id IS NOT NULL OR m.prefix_digest IS NOT NULL)
    RETURNING h.id
),
folded AS (
    DELETE FROM compactions c USING met WHERE c.session_id = met.id AND c.upto_seq >= met.first RETURNING c.upto_seq
),
calls AS (
    UPDATE tool_calls c
    SET result = NULL, ended_at = COALESCE(c.ended_at, at),
        status = CASE WHEN c.status = 'started' AND c.effect = 'once' THEN 'unknown'
            WHEN c.status IN ('asked', 'ready', 'started') THEN 'dropped' ELSE c.status END
    FROM met, clock WHERE c.session_id = met.id AND c.turn_id IN (SELECT id FROM theirs)
    RETURNING c.id
),
asked AS (
    UPDATE approvals a
    SET note = NULL, decided_by = NULLIF(a.decided_by, :user_id), decided_at = COALESCE(a.decided_at, at),
        status = CASE WHEN a.status = 'pending' THEN 'withdrawn' ELSE a.status END
    FROM met, clock
    WHERE a.session_id = met.id AND (a.decided_by = :user_id OR a.turn_id IN (SELECT id FROM theirs))
    RETURNING a.id
),
turn AS (
    UPDATE turns t
    SET sent_by = CASE WHEN t.sent_by = :user_id THEN CAST(:somebody AS uuid) ELSE t.sent_by END,
        idempotency_key = CASE WHEN h.is_own THEN NULL ELSE t.idempotency_key END,
        body_digest = CASE WHEN h.is_own THEN '' ELSE t.body_digest END,
        input = NULL, ended_at = COALESCE(t.ended_at, at), reserved_micros = 0, reserved_tokens = 0, reservation = NULL,
        status = CASE WHEN t.ended_at IS NULL THEN 'cancelled' ELSE t.status END,
        error = CASE WHEN t.ended_at IS NULL THEN CAST(:cancelled AS jsonb) ELSE t.error END
    FROM met, theirs h, clock WHERE t.session_id = met.id AND t.id = h.id
    RETURNING t.id
),
noticed AS (
    UPDATE audit_log n SET user_id = NULLIF(n.user_id, :user_id), reason = NULL
    FROM met WHERE n.session_id = met.id AND (n.user_id = :user_id OR n.turn_id IN (SELECT id FROM theirs))
    RETURNING n.id
),
revised AS (
    UPDATE revisions r
    SET created_by = NULLIF(r.created_by, :user_id), undo_until = LEAST(r.undo_until, at),
        before = CASE WHEN r.created_by = :user_id THEN '{{}}' ELSE r.before END,
        after = CASE WHEN r.created_by = :user_id THEN '{{}}' ELSE r.after END
    FROM met, clock WHERE r.session_id = met.id AND (r.created_by = :user_id OR r.last_seq >= met.first)
    RETURNING r.id
),
listed AS (
    DELETE FROM todos d USING met
    WHERE d.session_id = met.id AND (met.is_fork OR EXISTS (
        SELECT FROM theirs h, clock WHERE d.updated_at BETWEEN h.created_at AND COALESCE(h.ended_at, at)))
    RETURNING d.position
),
links AS (
    DELETE FROM share_links l USING met WHERE l.session_id = met.id AND l.created_by = :user_id RETURNING l.id
),
let_in AS (
    DELETE FROM members b USING met WHERE b.session_id = met.id AND b.user_id = :user_id RETURNING b.role
),
being_said AS (
    DELETE FROM partials p USING met WHERE p.session_id = met.id AND met.first IS NOT NULL RETURNING p.seq
),
tally AS (
    SELECT jsonb_build_object('elsewhere.conversations', (SELECT count(*) FROM met),
        'elsewhere.messages', (SELECT count(id) FROM blotted), 'elsewhere.tool_calls', (SELECT count(*) FROM calls),
        'elsewhere.approvals', (SELECT count(*) FROM asked), 'elsewhere.turns', (SELECT count(*) FROM turn),
        'elsewhere.audit_log', (SELECT count(*) FROM noticed), 'elsewhere.revisions', (SELECT count(*) FROM revised),
        'elsewhere.compactions', (SELECT count(*) FROM folded), 'elsewhere.todos', (SELECT count(*) FROM listed),
        'elsewhere.share_links', (SELECT count(*) FROM links), 'elsewhere.members', (SELECT count(*) FROM let_in),
        'elsewhere.partials', (SELECT count(*) FROM being_said)) AS counts
),
{noted()}
SELECT k.id, met.version, met.lease_epoch FROM known k LEFT JOIN met ON true
""")


@dataclass(frozen=True, slots=True)
class Blotted:
    session_id: SessionId
    epoch: int
    version: int


def blot(
    database: Database,
    erasure_id: UUID,
    user_id: UserId,
    session_id: SessionId,
    *,
    now: datetime | None = None,
) -> Blotted | bool:
    """True: there is no such conversation. False: somebody committed at the same moment, and nothing was written."""
    given: dict[str, Any] = {
        "erasure_id": erasure_id,
        "user_id": user_id,
        "session_id": session_id,
        "somebody": SOMEBODY,
        "blotted": _BLOTTED,
        "cancelled": _CANCELLED,
        "now": now,
    }
    row = database.row(_BLOT, given)
    if row is None:
        return True
    return row["version"] is not None and Blotted(session_id, row["lease_epoch"], row["version"])
