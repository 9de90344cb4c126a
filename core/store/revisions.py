"""Revisions: changes of what was said that can be taken back for a while. A rewind is made and taken back here; a merge in
`merges`.

What can go wrong, and why it cannot:

* *A turn is running, or begins at the same moment.* A revision is made at the version that it was decided on, while no turn is open
  and nobody holds the conversation. It counts the version up, and the epoch: whoever slept over a grant of before writes nothing.
* *A process remembers what was said before.* `rewrites` is counted up, so what it remembers counts no more.
* *It is sent twice.* Whoever makes or takes back a revision looks first whether that was done, at the same version.
* *Something is told again that others took back.* What a rewind finds left out already it keeps a list of, and leaves so; and it is
  taken back only while nothing came after it.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text

from core.ids import SessionId, UserId
from core.store.alive import USED
from core.store.approvals import QUIET
from core.store.database import Database, Row
from core.store.fence import CLOCK
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Revision:
    """`before` and `after`: what it changed, as it was and as it was left."""

    id: UUID
    session_id: SessionId
    kind: str
    source_id: SessionId | None
    first_seq: int
    last_seq: int
    before: dict[str, Any]
    after: dict[str, Any]
    created_by: UserId | None
    created_at: datetime
    undo_until: datetime
    undone_at: datetime | None
    # By the database's clock, when it was read.
    is_over: bool

    @property
    def left(self) -> list[str]:
        """What was changed by others since, and not put back when it was undone."""
        return list(self.after.get("left", ()))

    @classmethod
    def of(cls, row: Row) -> "Revision":
        return cls(**{field: row[field] for field in cls.__slots__})


_FIELDS: Final = """r.id, r.session_id, r.kind, r.source_id, r.first_seq, r.last_seq, r.before, r.after, r.created_by, r.created_at,
    r.undo_until, r.undone_at, r.undo_until <= clock.at AS is_over"""

# The newest first, read from one snapshot.
_LISTED: Final = text(f"""
WITH {CLOCK}
SELECT {_FIELDS} FROM revisions r CROSS JOIN clock WHERE r.session_id = :session_id
ORDER BY CAST(r.after ->> 'rewrites' AS bigint) DESC LIMIT :limit
""")


def listed(
    database: Database, session_id: SessionId, limit: int, *, now: datetime | None = None
) -> list[Revision]:
    given = {"session_id": session_id, "limit": limit, "now": now}
    return [Revision.of(row) for row in database.rows(_LISTED, given)]


_FIND: Final = text(f"""
WITH {CLOCK}
SELECT {_FIELDS} FROM revisions r CROSS JOIN clock WHERE r.session_id = :session_id AND r.id = :id
""")


def find(
    database: Database, session_id: SessionId, revision_id: UUID, *, now: datetime | None = None
) -> Revision | None:
    row = database.row(_FIND, {"session_id": session_id, "id": revision_id, "now": now})
    return None if row is None else Revision.of(row)


@dataclass(frozen=True, slots=True)
class Revised:
    """As the conversation's row says, with what was done."""

    version: int
    epoch: int


# Leaves out what was said behind a message, and what stands for it, and notes what it was; all or nothing, at the version that was
# read and while nobody works on the conversation. What became of a call of a turn that stays is told on.
_REWIND: Final = text(f"""
WITH {CLOCK},
met AS (
    UPDATE conversation_states s
    SET version = s.version + 1, rewrites = s.rewrites + 1, lease_epoch = s.lease_epoch + 1, lease_expires_at = NULL,
        last_active_at = {USED}
    FROM clock WHERE s.id = :session_id AND s.version = :version AND {QUIET}
    RETURNING s.id, s.version, s.lease_epoch, s.rewrites, s.message_seq
),
rewound AS (
    UPDATE messages m SET left_out = true
    FROM met WHERE m.session_id = met.id AND m.seq > :to AND NOT m.left_out
      AND NOT EXISTS (SELECT FROM turns t WHERE t.session_id = met.id AND t.id = m.turn_id AND t.last_seq <= :to)
),
uncompacted AS (
    UPDATE compactions c SET left_out = true FROM met WHERE c.session_id = met.id AND c.upto_seq > :to AND NOT c.left_out
    RETURNING c.upto_seq
),
noted AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action, reason)
    SELECT met.id, at, 'user', :user_id, 'rewound', 'to message ' || :to FROM met, clock
),
revised AS (
    INSERT INTO revisions
        (session_id, id, kind, first_seq, last_seq, before, after, created_by, created_at, undo_until)
    SELECT met.id, :id, 'rewind', :to + 1, met.message_seq,
        jsonb_build_object('left_out', ARRAY(SELECT m.seq FROM messages m WHERE m.session_id = met.id AND m.seq > :to AND m.left_out ORDER BY 1),
            'compactions', ARRAY(SELECT upto_seq FROM uncompacted ORDER BY upto_seq)),
        jsonb_build_object('rewrites', met.rewrites), :user_id, at, at + make_interval(secs => :undo_s)
    FROM met, clock
)
SELECT version, lease_epoch AS epoch FROM met
""")


def rewind(
    database: Database,
    session_id: SessionId,
    version: int,
    revision_id: UUID,
    to: int,
    *,
    by: UserId | None,
    undo_s: int,
    now: datetime | None = None,
) -> Revised | None:
    """None: somebody committed since that version, or works on it; nothing was written."""
    given = {
        "session_id": session_id,
        "version": version,
        "id": revision_id,
        "to": to,
        "user_id": by,
        "undo_s": undo_s,
        "now": now,
    }
    row = database.row(_REWIND, given)
    return None if row is None else Revised(**row)


@dataclass(frozen=True, slots=True)
class Since:
    """What came after a rewind, as of a version: whatever of it is true stands in the way of taking it back."""

    version: int
    was_talked_on: bool
    # A further rewind, that stands.
    was_rewound: bool
    # A merge that it covers was taken back.
    was_unmerged: bool
    # Somebody said what came of one of its calls; the model was not told, for it was told of the call no more.
    was_settled: bool
    is_busy: bool


# Read from one snapshot.
_SINCE: Final = text(f"""
WITH {CLOCK}
SELECT s.version, s.message_seq > r.last_seq AS was_talked_on, NOT {QUIET} AS is_busy,
    EXISTS (SELECT FROM revisions o WHERE o.session_id = s.id AND o.undone_at IS NULL
        AND CAST(o.after ->> 'rewrites' AS bigint) > CAST(r.after ->> 'rewrites' AS bigint)) AS was_rewound,
    EXISTS (SELECT FROM revisions o WHERE o.session_id = s.id AND o.kind = 'merge' AND o.last_seq >= r.first_seq
        AND CAST(o.after ->> 'undone_rewrites' AS bigint) > CAST(r.after ->> 'rewrites' AS bigint)) AS was_unmerged,
    EXISTS (SELECT FROM tool_calls c WHERE c.session_id = s.id AND c.message_seq BETWEEN r.first_seq AND r.last_seq
        AND c.settled_at >= r.created_at) AS was_settled
FROM revisions r JOIN conversation_states s ON s.id = r.session_id CROSS JOIN clock
WHERE r.session_id = :session_id AND r.id = :id
""")


def since(
    database: Database, session_id: SessionId, revision_id: UUID, *, now: datetime | None = None
) -> Since | None:
    row = database.row(_SINCE, {"session_id": session_id, "id": revision_id, "now": now})
    return None if row is None else Since(**row)


# Tells again what a rewind left out, all or nothing: at the version that was read, while nobody works on the conversation, and in
# time.
_UNDO_REWIND: Final = text(f"""
WITH {CLOCK},
due AS MATERIALIZED (
    SELECT r.id, r.first_seq, r.last_seq, r.before FROM revisions r CROSS JOIN clock
    WHERE r.session_id = :session_id AND r.id = :id AND r.undone_at IS NULL AND r.undo_until > clock.at
),
met AS (
    UPDATE conversation_states s
    SET version = s.version + 1, rewrites = s.rewrites + 1, lease_epoch = s.lease_epoch + 1, lease_expires_at = NULL,
        last_active_at = {USED}
    FROM due, clock WHERE s.id = :session_id AND s.version = :version AND {QUIET}
    RETURNING s.id, s.version, s.lease_epoch, s.rewrites
),
told AS (
    UPDATE messages m SET left_out = false
    FROM met, due WHERE m.session_id = met.id AND m.seq BETWEEN due.first_seq AND due.last_seq
      AND NOT due.before -> 'left_out' @> to_jsonb(m.seq)
),
compacted AS (
    UPDATE compactions c SET left_out = false
    FROM met, due WHERE c.session_id = met.id AND due.before -> 'compactions' @> to_jsonb(c.upto_seq)
),
noted AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action, reason)
    SELECT met.id, at, 'user', :user_id, 'rewind_undone', 'to message ' || (due.first_seq - 1) FROM met, due, clock
),
undone AS (
    UPDATE revisions r SET undone_at = at, after = r.after || jsonb_build_object('undone_rewrites', met.rewrites)
    FROM met, due, clock WHERE r.session_id = met.id AND r.id = due.id
)
SELECT version, lease_epoch AS epoch FROM met
""")


def undo_rewind(
    database: Database,
    session_id: SessionId,
    version: int,
    revision_id: UUID,
    *,
    by: UserId | None,
    now: datetime | None = None,
) -> Revised | None:
    """None: somebody committed since that version, or works on it, or it is undone, or too late; nothing was written."""
    given = {
        "session_id": session_id,
        "version": version,
        "id": revision_id,
        "user_id": by,
        "now": now,
    }
    row = database.row(_UNDO_REWIND, given)
    return None if row is None else Revised(**row)
