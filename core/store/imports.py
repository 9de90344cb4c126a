"""Imports: a conversation out of a file becomes one of a user's own, under IDs of its own.

What can go wrong, and why it cannot: all of it is one statement, so there is all of it or nothing. *It is sent twice.* The
conversation's ID comes from the key that the client sent, so the second finds the first; and the audit names the file, so another
file under the same key is told apart. *The user goes at the same moment.* Then nothing is stored, for the row hangs on theirs.

Message texts travel as texts inside of JSON (never jsonb), so that each comes out as it went in.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text

from core.access import Caller
from core.content import dump
from core.ids import SessionId, UserId
from core.store.database import Database
from core.store.exports import IMPORTED
from core.store.fence import CLOCK
from core.store.visitors import ASKER
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Importing:
    """What is stored, with the IDs that it gets."""

    session_id: SessionId
    user_id: UserId
    # Of the session's own line, and the rows of each kind.
    session: Mapping[str, Any]
    rows: Mapping[str, list[dict[str, Any]]]
    # Where it came from, for the audit.
    source: str
    idle_ttl_s: int
    # How often what is told was changed, by the revisions that come along: those to come count on from there.
    rewrites: int


# Who asks gets a user, if nobody knows the device yet: of two at once one makes it. No row: they are barred, or somebody was quicker.
_OWNER: Final = text(f"""
WITH {CLOCK}, {ASKER},
met AS (
    INSERT INTO connections (device_id, user_id, created_at)
    SELECT :device_id, :new_user_id, at FROM asker a, clock WHERE a.user_id IS NULL
    ON CONFLICT (device_id) DO NOTHING
    RETURNING user_id
),
guest AS (
    INSERT INTO users (id, created_at) SELECT user_id, at FROM met, clock
)
SELECT user_id FROM met UNION ALL SELECT user_id FROM asker WHERE user_id IS NOT NULL
""")


def owner(
    database: Database, caller: Caller, new_user_id: UserId, *, now: datetime | None = None
) -> UserId | None:
    row = database.row(_OWNER, {**caller.named(), "new_user_id": new_user_id, "now": now})
    return None if row is None else UserId(row["user_id"])


# The note of its import, if a conversation of this ID is there.
_FOUND: Final = text(f"""
SELECT s.user_id, (SELECT a.reason FROM audit_log a WHERE a.session_id = s.id AND a.action = '{IMPORTED}' ORDER BY a.id LIMIT 1)
    AS source
FROM conversation_states s WHERE s.id = :session_id
""")


def found(database: Database, session_id: SessionId) -> tuple[UserId, str | None] | None:
    """Whose it is, and where it came from."""
    row = database.row(_FOUND, {"session_id": session_id})
    return None if row is None else (UserId(row["user_id"]), row["source"])


# Stores all of it, or nothing if there is a conversation of this ID. What was open ended with the import; whoever did something is the
# importer, or somebody who is not known here. Its epoch is 1 from the start: the first turn in it is of a later one.
_IMPORT: Final = text(f"""
WITH {CLOCK},
its AS (
    INSERT INTO conversation_states
        (id, user_id, org_id, active_agent, locked_at, session_ttl, lease_epoch, message_seq, turn_seq, version, rewrites, state,
        metadata, usage, created_at, last_active_at, idle_ttl, forked_from)
    SELECT :session_id, u.id, u.org_id, g.active_agent, CASE WHEN g.locked_at > at THEN at ELSE g.locked_at END, g.session_ttl, 1,
        g.message_seq, g.turn_seq, 1, :rewrites, g.state, g.metadata, g.usage, g.created_at, at, :idle_ttl, g.forked_from
    FROM users u CROSS JOIN clock CROSS JOIN json_to_record(CAST(:session AS json)) AS g(active_agent text, locked_at timestamptz,
        session_ttl integer, message_seq bigint, turn_seq bigint, state jsonb, metadata jsonb, usage jsonb, created_at timestamptz,
        forked_from uuid)
    WHERE u.id = :user_id
    ON CONFLICT (id) DO NOTHING
    RETURNING id, user_id
),
turn AS (
    INSERT INTO turns (session_id, id, seq, body_digest, status, agent, first_seq, last_seq, joined_to, input, stop, crashes, sent_by,
        usage, error, created_at, ended_at)
    SELECT its.id, g.id, g.seq, '', g.status, g.agent, g.first_seq, g.last_seq, g.joined_to, g.input, g.stop, g.crashes, g.sent_by,
        g.usage, g.error, g.created_at, COALESCE(g.ended_at, at)
    FROM its CROSS JOIN clock CROSS JOIN json_to_recordset(CAST(:turn AS json)) AS g(id uuid, seq bigint, status text, agent text,
        first_seq bigint, last_seq bigint, joined_to uuid, input text, stop text, crashes integer, sent_by uuid, usage jsonb,
        error jsonb, created_at timestamptz, ended_at timestamptz)
),
message AS (
    INSERT INTO messages (session_id, seq, turn_id, role, agent, content, prefix_digest, stop_reason, usage, left_out, origin_session,
        origin_seq, created_at)
    SELECT its.id, g.* FROM its CROSS JOIN json_to_recordset(CAST(:message AS json)) AS g(seq bigint, turn_id uuid, role text,
        agent text, content text, prefix_digest text, stop_reason text, usage jsonb, left_out boolean, origin_session uuid,
        origin_seq bigint, created_at timestamptz)
),
tool_call AS (
    INSERT INTO tool_calls (session_id, id, turn_id, message_seq, name, effect, status, input_digest, approver, result, created_at,
        ended_at, settled_at)
    SELECT its.id, g.id, g.turn_id, g.message_seq, g.name, g.effect, g.status, g.input_digest, g.approver, g.result, g.created_at,
        COALESCE(g.ended_at, at), g.settled_at
    FROM its CROSS JOIN clock CROSS JOIN json_to_recordset(CAST(:tool_call AS json)) AS g(id text, turn_id uuid, message_seq bigint,
        name text, effect text, status text, input_digest text, approver text, result text, created_at timestamptz,
        ended_at timestamptz, settled_at timestamptz)
),
approval AS (
    INSERT INTO approvals (session_id, id, turn_id, tool_call_id, kind, role, input_digest, status, note, decided_by, created_at,
        expires_at, decided_at)
    SELECT its.id, g.id, g.turn_id, g.tool_call_id, g.asks, g.role, g.input_digest, g.status, g.note, g.decided_by, g.created_at,
        g.expires_at, COALESCE(g.decided_at, at)
    FROM its CROSS JOIN clock CROSS JOIN json_to_recordset(CAST(:approval AS json)) AS g(id uuid, turn_id uuid, tool_call_id text,
        asks text, role text, input_digest text, status text, note text, decided_by uuid, created_at timestamptz,
        expires_at timestamptz, decided_at timestamptz)
),
todo AS (
    INSERT INTO todos (session_id, position, content, status, updated_at)
    SELECT its.id, g.* FROM its CROSS JOIN json_to_recordset(CAST(:todo AS json)) AS g(position integer, content text, status text,
        updated_at timestamptz)
),
compaction AS (
    INSERT INTO compactions (session_id, upto_seq, content, agent, usage, left_out, created_at)
    SELECT its.id, g.* FROM its CROSS JOIN json_to_recordset(CAST(:compaction AS json)) AS g(upto_seq bigint, content text, agent text,
        usage jsonb, left_out boolean, created_at timestamptz)
),
revision AS (  -- nothing of which can be taken back here
    INSERT INTO revisions (session_id, id, kind, source_id, first_seq, last_seq, before, after, created_by, created_at, undo_until,
        undone_at)
    SELECT its.id, g.id, g.change, g.source_id, g.first_seq, g.last_seq, g.before, g.after, g.created_by, g.created_at,
        LEAST(g.undo_until, at), g.undone_at
    FROM its CROSS JOIN clock CROSS JOIN json_to_recordset(CAST(:revision AS json)) AS g(id uuid, change text, source_id uuid,
        first_seq bigint, last_seq bigint, before jsonb, after jsonb, created_by uuid, created_at timestamptz,
        undo_until timestamptz, undone_at timestamptz)
),
note AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action, agent, until, reason, turn_id)
    SELECT its.id, n.at, n.actor, n.user_id, n.action, n.agent, n.until, n.reason, n.turn_id
    FROM its CROSS JOIN (
        SELECT g.nth, g.at, g.actor, g.by AS user_id, g.action, g.agent, g.until, g.reason, g.turn_id
        FROM json_to_recordset(CAST(:audit AS json)) AS g(nth integer, at timestamptz, actor text, by uuid, action text, agent text,
            until timestamptz, reason text, turn_id uuid)
        UNION ALL
        SELECT 2147483647, at, 'user', :user_id, '{IMPORTED}', NULL, NULL, :source, NULL FROM clock
    ) AS n
    ORDER BY n.nth
),
beside AS (
    INSERT INTO application_sessions (session_id, namespace, user_id, epoch, version, body, idle_ttl, created_at, last_active_at)
    SELECT its.id, g.namespace, CASE WHEN g.is_owned THEN its.user_id END, CAST(EXTRACT(epoch FROM at) * 1000000 AS bigint), 1,
        g.body, g.idle_ttl, g.created_at, g.last_active_at
    FROM its CROSS JOIN clock CROSS JOIN json_to_recordset(CAST(:application_session AS json)) AS g(namespace text, body text,
        idle_ttl integer, is_owned boolean, created_at timestamptz, last_active_at timestamptz)
)
SELECT id FROM its
""")


def store(database: Database, importing: Importing, *, now: datetime | None = None) -> bool:
    """False: there is a conversation of this ID already, or the user is gone."""
    given: dict[str, Any] = {
        "session_id": importing.session_id,
        "user_id": importing.user_id,
        "session": dump(importing.session),
        "source": importing.source,
        "idle_ttl": importing.idle_ttl_s,
        "rewrites": importing.rewrites,
        "now": now,
        **{kind: dump(rows) for kind, rows in importing.rows.items()},
    }
    return database.row(_IMPORT, given) is not None
