"""Forks: a new conversation that begins with what was said in another.

What can go wrong, and why it cannot:

* *The source changes while it is copied*, or who asks is put out of it. All of it is copied by one statement, at the version
  that was read when they were let in, with the source's row held against whoever would count it up.
* *The reply is lost.* With a key the fork's ID follows from who made it, of what, under which key; sent again it finds the row
  there, and copies nothing.

Everything is copied under new IDs: no turn, approval or call is in two conversations. What it cost stays on the bill of the
source. What is nobody's to take along stays there too: the lock, the lease, keys, and questions that are still open.
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import text

from core.content import dump
from core.ids import SessionId, UserId
from core.store.alive import ALIVE
from core.store.copies import CALLS, DECIDED, TURN_NOTES, TURNS
from core.store.database import Database
from core.store.fence import CLOCK
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class NewFork:
    id: SessionId
    user_id: UserId
    # The last message that is copied.
    at: int
    # None: the source's.
    metadata: dict[str, Any] | None
    # The list as it stood at that message. None: as it stands.
    todos: list[dict[str, str]] | None
    # What was asked for, as the fork's audit keeps it.
    asked: str


# Copies the conversation up to a message into a new one, all or nothing, at the version that was read; nobody changes the source
# meanwhile. If there is one of the ID already, nothing is written.
_MAKE: Final = text(f"""
WITH {CLOCK},
source AS MATERIALIZED (
    SELECT s.id, s.user_id, s.org_id, s.session_ttl, s.idle_ttl, s.state, s.metadata
    FROM conversation_states s WHERE s.id = :session_id AND s.version = :version
    FOR SHARE
),
picked AS MATERIALIZED (
    SELECT t.id, gen_random_uuid() AS new_id, t.first_seq AS new_first, t.last_seq AS new_last, t.seq AS new_seq
    FROM source JOIN turns t ON t.session_id = source.id AND t.last_seq <= :at AND t.ended_at IS NOT NULL
),
target AS (
    INSERT INTO conversation_states
        (id, user_id, org_id, session_ttl, idle_ttl, lease_epoch, message_seq, turn_seq, version, state, metadata, forked_from,
         created_at, last_active_at)
    SELECT :fork_id, :user_id, COALESCE(org_id, (SELECT u.org_id FROM users u WHERE u.id = :user_id)), session_ttl, idle_ttl, 1,
        :at, COALESCE((SELECT max(new_seq) FROM picked), 0), 1, state, COALESCE(CAST(:metadata AS jsonb), metadata), id, at, at
    FROM source, clock
    ON CONFLICT (id) DO NOTHING
    RETURNING id, user_id
),
renames AS (SELECT NULL::text AS id, NULL::text AS new_id WHERE false),
moved AS (SELECT NULL::bigint AS seq, NULL::bigint AS new_seq WHERE false),
{TURNS.format(seq="p.new_seq", key="NULL")},
said AS (
    INSERT INTO messages (session_id, seq, turn_id, role, agent, content, prefix_digest, stop_reason, left_out, origin_session,
        origin_seq, created_at)
    SELECT target.id, m.seq, p.new_id, m.role, m.agent, m.content, m.prefix_digest, m.stop_reason, m.left_out,
        COALESCE(m.origin_session, m.session_id), COALESCE(m.origin_seq, m.seq), m.created_at
    FROM target, source JOIN messages m ON m.session_id = source.id AND m.seq <= :at JOIN picked p ON p.id = m.turn_id
),
{CALLS.format(seq="c.message_seq")},
{DECIDED},
compacted AS (
    INSERT INTO compactions (session_id, upto_seq, content, agent, left_out, created_at)
    SELECT target.id, c.upto_seq, c.content, c.agent, c.left_out, c.created_at
    FROM target, source JOIN compactions c ON c.session_id = source.id AND c.upto_seq <= :at
),
todo AS (
    INSERT INTO todos (session_id, position, content, status, updated_at)
    SELECT target.id, t.position, t.content, t.status, at
    FROM target, clock, source CROSS JOIN LATERAL (
        SELECT d.position, d.content, d.status FROM todos d
        WHERE d.session_id = source.id AND CAST(:todos AS jsonb) IS NULL
        UNION ALL
        SELECT j.position, j.content, j.status
        FROM jsonb_to_recordset(CAST(:todos AS jsonb)) AS j(position integer, content text, status text)) AS t
),
noted AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action, agent, until, reason, turn_id)
    SELECT target.id, n.at, n.actor, n.user_id, n.action, n.agent, n.until, n.reason, n.turn_id
    FROM target, (
        {TURN_NOTES}
        UNION ALL
        SELECT 1, 0, clock.at, 'user', CAST(:user_id AS uuid), 'forked', NULL, NULL, :asked, NULL FROM clock
    ) AS n
    ORDER BY n.part, n.id
)
SELECT id FROM target
""")


def make(
    database: Database,
    session_id: SessionId,
    version: int,
    fork: NewFork,
    *,
    now: datetime | None = None,
) -> bool:
    """False: the source has changed since that version, or there is a conversation of this ID; nothing was written."""
    todos = None if fork.todos is None else [{"position": n, **t} for n, t in enumerate(fork.todos, 1)]
    given = {
        "session_id": session_id,
        "version": version,
        "fork_id": fork.id,
        "user_id": fork.user_id,
        "at": fork.at,
        "metadata": None if fork.metadata is None else dump(fork.metadata),
        "todos": None if todos is None else dump(todos),
        "asked": fork.asked,
        "now": now,
    }
    return database.row(_MAKE, given) is not None


@dataclass(frozen=True, slots=True)
class MadeFork:
    user_id: UserId
    forked_from: SessionId | None
    # What was asked for when it was made.
    asked: str | None
    is_alive: bool


# What a fork's ID leads to, if it leads to anything; read from one snapshot.
_FIND: Final = text(f"""
WITH {CLOCK}
SELECT s.user_id, s.forked_from, {ALIVE} AS is_alive, (SELECT a.reason FROM audit_log a
    WHERE a.session_id = s.id AND a.action = 'forked' ORDER BY a.id DESC LIMIT 1) AS asked
FROM conversation_states s CROSS JOIN clock WHERE s.id = :fork_id
""")


def find(database: Database, fork_id: SessionId, *, now: datetime | None = None) -> MadeFork | None:
    row = database.row(_FIND, {"fork_id": fork_id, "now": now})
    return None if row is None else MadeFork(**row)


# The message that set the list of todos last, of those that the model is told, up to one; and which of its calls did.
_TODOS_SAID: Final = text("""
SELECT m.content, array_agg(c.id) AS done
FROM tool_calls c JOIN messages m ON m.session_id = c.session_id AND m.seq = c.message_seq
WHERE c.session_id = :session_id AND c.message_seq <= :at AND c.name = :tool AND c.status = 'done' AND NOT m.left_out
GROUP BY m.seq, m.content ORDER BY m.seq DESC LIMIT 1
""")


def todos_said(
    database: Database, session_id: SessionId, at: int, tool: str
) -> tuple[str, frozenset[str]] | None:
    """The message's content, and the IDs of the calls. None: the list was never set."""
    row = database.row(_TODOS_SAID, {"session_id": session_id, "at": at, "tool": tool})
    return None if row is None else (row["content"], frozenset(row["done"]))
