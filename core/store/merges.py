"""Merges: one conversation becomes a part of another.

What can go wrong, and why it cannot:

* *Either changes at the same moment*: a turn of it, another merge, its end. Both rows are locked, always in the order of their IDs so
  that two merges never wait for each other, and then compared with the versions that were read along with all that was decided
  on. What was written before is counted there; what comes later finds a version that is counted up here.
* *A holder slept.* The epoch of both is counted up.
* *The model refuses the whole.* Turns are appended whole, behind the last message. A call whose ID is there already gets another;
  turns that both began with, as a fork and its source do, are not told twice; and no thinking of the source is sent again, for it
  was signed behind other messages.
* *The whole is too long to be loaded.* Where the source had been summed up, its summary is said in the place of what it stands for.
* *A client sends again what was answered in the source.* Keys go along, also of messages that never became a turn of their own.
* *The reply is lost.* What the source became a part of is on record, once by an index, so it is found and not done again.
"""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text

from core.content import dump
from core.ids import SessionId, UserId
from core.store.alive import USED
from core.store.copies import CALLS, DECIDED, TURN_NOTES, TURNS
from core.store.database import Database
from core.store.fence import CLOCK
from core.values import dataclass

# For so much longer than it can be undone the source is kept.
_SLACK_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two, as it stands."""

    id: SessionId
    user_id: UserId
    org_id: UUID | None
    version: int
    # The active-agent lock, if its time is not over: agent, locked_at, session_ttl.
    lock: dict[str, Any] | None
    todos: list[dict[str, str]]
    metadata: dict[str, Any]
    usage: dict[str, Any]
    is_busy: bool
    has_questions: bool


_TODOS: Final = """COALESCE((SELECT jsonb_agg(jsonb_build_object('content', d.content, 'status', d.status) ORDER BY d.position)
    FROM todos d WHERE d.session_id = s.id), '[]')"""

# Both, read from one snapshot.
_SIDES: Final = text(f"""
WITH {CLOCK}
SELECT s.id, s.user_id, s.org_id, s.version, s.metadata, s.usage, {_TODOS} AS todos,
    CASE WHEN s.locked_at + make_interval(secs => s.session_ttl) > clock.at THEN
        jsonb_build_object('agent', s.active_agent, 'locked_at', s.locked_at, 'session_ttl', s.session_ttl) END AS lock,
    COALESCE(s.lease_expires_at > clock.at, false)
        OR COALESCE((SELECT true FROM turns t WHERE t.session_id = s.id AND t.ended_at IS NULL LIMIT 1), false) AS is_busy,
    COALESCE((SELECT true FROM approvals a WHERE a.session_id = s.id AND a.status = 'pending' LIMIT 1), false) AS has_questions
FROM conversation_states s CROSS JOIN clock WHERE s.id IN (:session_id, :source_id)
""")


def sides(
    database: Database, session_id: SessionId, source_id: SessionId, *, now: datetime | None = None
) -> tuple[Side, Side] | None:
    """Target and source. None: one of them is gone."""
    given = {"session_id": session_id, "source_id": source_id, "now": now}
    found = {row["id"]: Side(**row) for row in database.rows(_SIDES, given)}
    return (found[session_id], found[source_id]) if len(found) == 2 else None


# The source's turns that have ended, and of which the target lacks something: what the model is told of them, or that is on record.
# Their messages in their order, those that a summary stands for no longer told, and the summary behind them.
_PICKED: Final = """
source AS (SELECT s.id, s.user_id FROM conversation_states s WHERE s.id = :source_id),
there AS MATERIALIZED (
    SELECT COALESCE(m.origin_session, m.session_id) AS said_in, COALESCE(m.origin_seq, m.seq) AS said_as, bool_or(NOT m.left_out) AS is_told
    FROM messages m WHERE m.session_id = :session_id GROUP BY 1, 2
),
wanted AS MATERIALIZED (
    SELECT m.turn_id AS id FROM messages m
    LEFT JOIN there h ON h.said_in = COALESCE(m.origin_session, m.session_id) AND h.said_as = COALESCE(m.origin_seq, m.seq)
    WHERE m.session_id = :source_id
    GROUP BY m.turn_id HAVING NOT bool_and(CASE WHEN m.left_out THEN h.said_in IS NOT NULL ELSE COALESCE(h.is_told, false) END)
),
summary AS MATERIALIZED (
    SELECT c.upto_seq, c.content, c.created_at,
        (SELECT m.turn_id FROM messages m WHERE m.session_id = :source_id AND m.seq <= c.upto_seq AND NOT m.left_out
            AND m.turn_id IN (SELECT id FROM wanted) ORDER BY m.seq DESC LIMIT 1) AS turn_id
    FROM compactions c WHERE c.session_id = :source_id AND NOT c.left_out
    ORDER BY c.upto_seq DESC LIMIT 1
),
line AS MATERIALIZED (
    SELECT m.seq, 0 AS part, m.turn_id FROM messages m WHERE m.session_id = :source_id AND m.turn_id IN (SELECT id FROM wanted)
    UNION ALL
    SELECT upto_seq, 1, turn_id FROM summary WHERE turn_id IS NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What would be brought, as of the versions that both have."""

    messages: int
    turns: int
    # Of its calls, the IDs that the target has as well; and the messages that name them, as they are stored.
    doubled: frozenset[str] = frozenset()
    naming: Mapping[int, str] = field(default_factory=dict)


# Read from one snapshot.
_LOAD: Final = text(f"""
WITH {_PICKED},
doubled AS MATERIALIZED (
    SELECT c.id, c.message_seq FROM tool_calls c
    WHERE c.session_id = :source_id AND c.turn_id IN (SELECT id FROM wanted)
      AND c.id IN (SELECT o.id FROM tool_calls o WHERE o.session_id = :session_id)
)
SELECT (SELECT count(*) FROM line) AS messages, (SELECT count(*) FROM wanted) AS turns,
    ARRAY(SELECT DISTINCT id FROM doubled) AS doubled,
    (SELECT json_object_agg(m.seq, m.content) FROM messages m WHERE m.session_id = :source_id AND m.seq IN (
        SELECT d.message_seq + n FROM doubled d, (VALUES (0), (1)) AS near(n))) AS naming
""")


def load(database: Database, session_id: SessionId, source_id: SessionId) -> Load:
    row = database.row(_LOAD, {"session_id": session_id, "source_id": source_id})
    assert row is not None
    naming = {int(seq): content for seq, content in (row["naming"] or {}).items()}
    return Load(row["messages"], row["turns"], frozenset(row["doubled"]), naming)


@dataclass(frozen=True, slots=True)
class Joining:
    """What was decided of a merge. `lock`, `todos`, `metadata` and `usage`: as the target has them from then on."""

    id: UUID
    target: Side
    source: Side
    lock: dict[str, Any] | None
    todos: list[dict[str, str]]
    metadata: dict[str, Any]
    usage: dict[str, Any]
    # Of calls whose ID the target has: the new one. And the messages that name them.
    renames: Mapping[str, str]
    renamed: Mapping[int, str]
    undo_s: int
    by: UserId | None


@dataclass(frozen=True, slots=True)
class Joined:
    """As both rows say, with what was done."""

    version: int
    epoch: int
    source_epoch: int


# Both rows, locked in the order of their IDs, as they are by now.
LOCKED: Final = """
locked AS MATERIALIZED (
    SELECT s.id, s.version, s.merged_into, s.message_seq, s.turn_seq, COALESCE(s.lease_expires_at > clock.at, false) AS is_held
    FROM conversation_states s CROSS JOIN clock WHERE s.id IN (:session_id, :source_id)
    ORDER BY s.id FOR UPDATE OF s
)
"""
LISTED: Final = """
todo AS (
    INSERT INTO todos (session_id, position, content, status, updated_at)
    SELECT target.id, t.position, t.content, t.status, at
    FROM target, clock, jsonb_to_recordset(CAST(:todos AS jsonb)) AS t(position integer, content text, status text)
    ON CONFLICT (session_id, position)
    DO UPDATE SET content = EXCLUDED.content, status = EXCLUDED.status, updated_at = EXCLUDED.updated_at
),
no_more AS (
    DELETE FROM todos t USING target
    WHERE t.session_id = target.id AND t.position > jsonb_array_length(CAST(:todos AS jsonb))
)
"""
LOCK: Final = """active_agent = CAST(:agent AS text), locked_at = CAST(:locked_at AS timestamptz),
        session_ttl = COALESCE(CAST(:lock_ttl_s AS integer), s.session_ttl)"""
# How the lock stands from now on, if that is another than before: the audit's last word on it is true.
LOCK_NOTE: Final = """SELECT 1 AS part, {place} AS id, clock.at, 'system' AS actor, CAST(NULL AS uuid) AS user_id,
            CASE WHEN CAST(:agent AS text) IS NULL THEN 'lock_cleared' ELSE 'lock_set' END AS action, CAST(:agent AS text) AS agent,
            CAST(:locked_at AS timestamptz) + make_interval(secs => :lock_ttl_s) AS until, CAST(:lock_reason AS text) AS reason,
            CAST(NULL AS uuid) AS turn_id
        FROM clock, conversation_states was WHERE was.id = :session_id
          AND (was.active_agent, was.locked_at) IS DISTINCT FROM (CAST(:agent AS text), CAST(:locked_at AS timestamptz))"""

# What was sent under a key is not done again for whoever sends it again to the target, where they are now.
_KEY: Final = """CASE WHEN NOT EXISTS (SELECT FROM turns o WHERE o.session_id = target.id AND o.idempotency_key = t.idempotency_key)
        THEN t.idempotency_key END"""

# Appends the source's turns to the target, with all that belongs to them, and makes the source nobody's: all or nothing, while both
# are as they were read and nobody works on either.
_MERGE: Final = text(f"""
WITH {CLOCK}, {LOCKED},
both_as_read AS MATERIALIZED (
    SELECT t.message_seq, t.turn_seq FROM locked t JOIN locked o ON o.id = :source_id
    WHERE t.id = :session_id AND t.version = :version AND o.version = :source_version AND NOT t.is_held AND NOT o.is_held
      AND t.merged_into IS NULL AND o.merged_into IS NULL
),
{_PICKED},
placed AS MATERIALIZED (
    SELECT line.seq, line.part, b.message_seq + row_number() OVER (ORDER BY line.seq, line.part) AS new_seq
    FROM both_as_read b, line
),
moved AS MATERIALIZED (SELECT seq, new_seq FROM placed WHERE part = 0),
picked AS MATERIALIZED (
    SELECT t.id, gen_random_uuid() AS new_id, b.turn_seq + row_number() OVER (ORDER BY t.seq) AS new_seq,
        (SELECT v.new_seq FROM moved v WHERE v.seq = t.first_seq) AS new_first,
        (SELECT v.new_seq FROM moved v WHERE v.seq = t.last_seq) AS new_last
    FROM both_as_read b, turns t
    WHERE t.session_id = :source_id AND (t.id IN (SELECT id FROM wanted)
        OR t.first_seq IS NULL AND t.idempotency_key IS NOT NULL
            AND (t.joined_to IS NULL OR t.joined_to IN (SELECT id FROM wanted)))
),
renames AS MATERIALIZED (
    SELECT u.id, u.new_id FROM unnest(CAST(:renamed_ids AS text[]), CAST(:new_ids AS text[])) AS u(id, new_id)
),
renamed AS MATERIALIZED (
    SELECT u.seq, u.content FROM unnest(CAST(:renamed_seqs AS bigint[]), CAST(:renamed_contents AS text[])) AS u(seq, content)
),
target AS (
    UPDATE conversation_states s
    SET version = s.version + 1, rewrites = s.rewrites + 1, lease_epoch = s.lease_epoch + 1, lease_expires_at = NULL,
        message_seq = s.message_seq + (SELECT count(*) FROM placed), turn_seq = s.turn_seq + (SELECT count(*) FROM picked),
        metadata = CAST(:metadata AS jsonb), usage = CAST(:usage AS jsonb), last_active_at = {USED}, {LOCK}
    FROM both_as_read b, clock WHERE s.id = :session_id
    RETURNING s.id, s.user_id, s.version, s.lease_epoch, s.rewrites, b.message_seq + 1 AS first_seq, s.message_seq AS last_seq
),
given_up AS (
    UPDATE conversation_states s
    SET version = s.version + 1, lease_epoch = s.lease_epoch + 1, lease_expires_at = NULL, merged_into = :session_id,
        last_active_at = at, idle_ttl = :undo_s + {_SLACK_S}
    FROM both_as_read, clock WHERE s.id = :source_id
    RETURNING s.id, s.lease_epoch
),
{TURNS.format(seq="p.new_seq", key=_KEY)},
said AS (
    INSERT INTO messages (session_id, seq, turn_id, role, agent, content, stop_reason, left_out, origin_session, origin_seq,
        created_at)
    SELECT target.id, v.new_seq, p.new_id, m.role, m.agent, COALESCE(r.content, m.content), m.stop_reason,
        m.left_out OR m.seq <= COALESCE((SELECT upto_seq FROM summary), 0),
        COALESCE(m.origin_session, m.session_id), COALESCE(m.origin_seq, m.seq), m.created_at
    FROM target, moved v JOIN messages m ON m.session_id = :source_id AND m.seq = v.seq JOIN picked p ON p.id = m.turn_id
    LEFT JOIN renamed r ON r.seq = m.seq
    UNION ALL
    SELECT target.id, v.new_seq, p.new_id, 'user', NULL, y.content, NULL, false, NULL, NULL, y.created_at
    FROM target, placed v, summary y JOIN picked p ON p.id = y.turn_id WHERE v.part = 1
),
{CALLS.format(seq="v.new_seq")},
{DECIDED},
{LISTED},
stayed AS (
    UPDATE connections c SET session_id = :session_id FROM target WHERE c.session_id = :source_id
),
noted AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action, agent, until, reason, turn_id)
    SELECT target.id, n.at, n.actor, n.user_id, n.action, n.agent, n.until, n.reason, n.turn_id
    FROM target, (
        {TURN_NOTES}
        UNION ALL
        {LOCK_NOTE.format(place=0)}
        UNION ALL
        SELECT 1, 1, clock.at, 'user', CAST(:user_id AS uuid), 'merged', NULL, NULL, CAST(:source_id AS text), NULL FROM clock
    ) AS n
    ORDER BY n.part, n.id
),
noted_there AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action, reason)
    SELECT given_up.id, at, 'user', :user_id, 'merged_into', CAST(:session_id AS text) FROM given_up, clock
),
revised AS (
    INSERT INTO revisions
        (session_id, id, kind, source_id, first_seq, last_seq, before, after, created_by, created_at, undo_until)
    SELECT target.id, :id, 'merge', :source_id, target.first_seq, target.last_seq,
        CAST(:before AS jsonb) || (SELECT jsonb_build_object('idle_ttl', o.idle_ttl) FROM conversation_states o WHERE o.id = :source_id),
        CAST(:after AS jsonb) || jsonb_build_object('rewrites', target.rewrites), :user_id, at, at + make_interval(secs => :undo_s)
    FROM target, clock
)
SELECT target.version, target.lease_epoch AS epoch, given_up.lease_epoch AS source_epoch FROM target, given_up
""")


def merge(database: Database, joining: Joining, *, now: datetime | None = None) -> Joined | None:
    """None: either has changed since it was read, or somebody works on it; nothing was written."""
    target, source = joining.target, joining.source
    given = {
        "id": joining.id,
        "session_id": target.id,
        "version": target.version,
        "source_id": source.id,
        "source_version": source.version,
        "usage": dump(joining.usage),
        "before": dump(
            {
                "lock": target.lock,
                "todos": target.todos,
                "metadata": target.metadata,
                "usage": source.usage,
            }
        ),
        "after": dump({"lock": joining.lock, "todos": joining.todos, "metadata": joining.metadata}),
        "renamed_ids": list(joining.renames),
        "new_ids": list(joining.renames.values()),
        "renamed_seqs": list(joining.renamed),
        "renamed_contents": list(joining.renamed.values()),
        "lock_reason": "As it stands after a merge.",
        "undo_s": joining.undo_s,
        "user_id": joining.by,
        "now": now,
        **named(joining.lock, joining.todos, joining.metadata),
    }
    row = database.row(_MERGE, given)
    return None if row is None else Joined(**row)


def named(
    lock: dict[str, Any] | None, todos: list[dict[str, str]], metadata: dict[str, Any]
) -> dict[str, Any]:
    lock = lock or {}
    return {
        "agent": lock.get("agent"),
        "locked_at": lock.get("locked_at"),
        "lock_ttl_s": lock.get("session_ttl"),
        "todos": dump([{"position": n, **todo} for n, todo in enumerate(todos, 1)]),
        "metadata": dump(metadata),
    }


@dataclass(frozen=True, slots=True)
class Merged:
    id: UUID
    source_epoch: int


# The revision that made one conversation a part of the other, if that is so now.
_MERGED: Final = text("""
SELECT r.id, s.lease_epoch AS source_epoch FROM revisions r JOIN conversation_states s ON s.id = r.source_id
WHERE r.source_id = :source_id AND r.session_id = :session_id AND r.undone_at IS NULL
""")


def merged(database: Database, session_id: SessionId, source_id: SessionId) -> Merged | None:
    row = database.row(_MERGED, {"session_id": session_id, "source_id": source_id})
    return None if row is None else Merged(**row)
