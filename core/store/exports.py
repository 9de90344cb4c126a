"""Exports: a conversation's rows, page by page, as they leave the house: without devices, people, secrets and keys.

What can go wrong, and why it cannot: the conversation changes between two pages. Each change counts its version up, and whoever
reads the pages looks before and after whether it is still the one that it was; if not, what was read is thrown away.

People's IDs mean nothing elsewhere: who did something is told as `owner` or `other`.
"""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, text

from core.ids import SessionId
from core.store.database import Database, Row

# Of a person's ID, in a conversation `s`.
_WHO: Final = "CASE WHEN {id} IS NULL THEN NULL WHEN {id} = s.user_id THEN 'owner' ELSE 'other' END"
# What the audit calls an import.
IMPORTED: Final = "session_imported"

# A page is so many rows, and of large ones fewer.
_AT_ONCE: Final = 200
_MOST_BYTES: Final = 4_000_000

# Its own fields, read from one snapshot.
_SESSION: Final = text("""
SELECT s.id, s.active_agent, s.locked_at, s.session_ttl, s.message_seq, s.turn_seq, s.forked_from, s.state::text AS state_json,
    s.metadata::text AS metadata_json, s.usage::text AS usage_json, s.created_at
FROM conversation_states s WHERE s.id = :session_id
""")

# A page each, behind a place, in an order that is the same wherever the conversation is. `place` goes before the line.
_PAGES: Final[dict[str, TextClause]] = {
    "turn": text(f"""
SELECT t.seq AS place, t.id, t.seq, t.status, t.agent, t.first_seq, t.last_seq, t.joined_to, t.input AS input_json, t.stop, t.crashes,
    {_WHO.format(id="COALESCE(t.sent_by, s.user_id)")} AS sent_by, (t.usage - 'run')::text AS usage_json, t.error::text AS error_json,
    t.created_at, t.ended_at
FROM turns t JOIN conversation_states s ON s.id = t.session_id
WHERE t.session_id = :session_id AND t.seq > :place
ORDER BY t.seq LIMIT :limit
"""),
    "message": text("""
SELECT place, seq, turn_id, role, agent, content_json, prefix_digest, stop_reason, usage_json, left_out, origin_session,
    origin_seq, created_at
FROM (
    SELECT m.seq AS place, m.*, m.content AS content_json, m.usage::text AS usage_json,
        sum(octet_length(m.content)) OVER (ORDER BY m.seq) - octet_length(m.content) AS before
    FROM messages m WHERE m.session_id = :session_id AND m.seq > :place
    ORDER BY m.seq LIMIT :limit
) AS m
WHERE before < :most_bytes ORDER BY seq
"""),
    # Each has a place of its own, for a part may end between two calls of one message.
    "tool_call": text("""
SELECT c.place, c.id, c.turn_id, c.message_seq, c.name, c.effect, c.status, c.input_digest, c.approver, c.result,
    c.created_at, c.ended_at, c.settled_at
FROM (
    SELECT k.*, row_number() OVER (ORDER BY k.message_seq, k.id COLLATE "C", k.turn_id) AS place
    FROM tool_calls k WHERE k.session_id = :session_id
) AS c
WHERE c.place > :place
ORDER BY c.place LIMIT :limit
"""),
    "approval": text(f"""
SELECT a.place, a.id, a.turn_id, a.tool_call_id, a.kind AS asks, a.role, a.input_digest, a.status, a.note,
    {_WHO.format(id="a.decided_by")} AS decided_by, a.created_at, a.expires_at, a.decided_at
FROM (
    SELECT q.*, row_number() OVER
        (ORDER BY c.message_seq, q.tool_call_id COLLATE "C", q.kind COLLATE "C", q.created_at, q.id) AS place
    FROM approvals q JOIN tool_calls c ON c.session_id = q.session_id AND c.turn_id = q.turn_id AND c.id = q.tool_call_id
    WHERE q.session_id = :session_id
) AS a JOIN conversation_states s ON s.id = a.session_id
WHERE a.place > :place
ORDER BY a.place LIMIT :limit
"""),
    "todo": text("""
SELECT d.position AS place, d.position, d.content, d.status, d.updated_at
FROM todos d WHERE d.session_id = :session_id AND d.position > :place
ORDER BY d.position LIMIT :limit
"""),
    "compaction": text("""
SELECT c.upto_seq AS place, c.upto_seq, c.content AS content_json, c.agent, c.usage::text AS usage_json, c.left_out, c.created_at
FROM compactions c WHERE c.session_id = :session_id AND c.upto_seq > :place
ORDER BY c.upto_seq LIMIT :limit
"""),
    "revision": text(f"""
SELECT r.place, r.id, r.kind AS change, r.source_id, r.first_seq, r.last_seq, r.before::text AS before_json, r.after::text AS after_json,
    {_WHO.format(id="r.created_by")} AS created_by, r.created_at, r.undo_until, r.undone_at
FROM (
    SELECT v.*, row_number() OVER (ORDER BY v.created_at, v.first_seq, v.last_seq, v.kind, v.id) AS place
    FROM revisions v WHERE v.session_id = :session_id
) AS r JOIN conversation_states s ON s.id = r.session_id
WHERE r.place > :place
ORDER BY r.place LIMIT :limit
"""),
    # That it was imported is of the place where it was, and not of the conversation.
    "audit": text(f"""
SELECT a.id AS place, a.at, a.actor, {_WHO.format(id="a.user_id")} AS by, a.action, a.agent, a.until, a.reason, a.turn_id
FROM audit_log a JOIN conversation_states s ON s.id = a.session_id
WHERE a.session_id = :session_id AND a.id > :place AND a.action <> '{IMPORTED}'
ORDER BY a.id LIMIT :limit
"""),
    "application_session": text("""
SELECT p.place, p.namespace, p.body, p.idle_ttl, p.is_owned, p.created_at, p.last_active_at
FROM (
    SELECT q.*, q.user_id IS NOT NULL AS is_owned, row_number() OVER (ORDER BY q.namespace COLLATE "C") AS place
    FROM application_sessions q WHERE q.session_id = :session_id
) AS p
WHERE p.place > :place
ORDER BY p.place LIMIT :limit
"""),
}


def session(database: Database, session_id: SessionId) -> Row | None:
    row = database.row(_SESSION, {"session_id": session_id})
    return None if row is None else _plain(row)


# To see whether it changed.
_VERSION: Final = text("SELECT version FROM conversation_states WHERE id = :session_id")


def version(database: Database, session_id: SessionId) -> int | None:
    row = database.row(_VERSION, {"session_id": session_id})
    return None if row is None else int(row["version"])


def page(database: Database, session_id: SessionId, kind: str, place: int) -> list[tuple[int, Row]]:
    """The next rows of a kind, each with its place. None: that was all."""
    given = {"session_id": session_id, "place": place, "limit": _AT_ONCE, "most_bytes": _MOST_BYTES}
    rows = [dict(row) for row in database.rows(_PAGES[kind], given)]
    return [(row.pop("place"), _plain(row)) for row in rows]


def _plain(row: Row) -> Row:
    return {name: _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return _moment(value)
    return str(value) if isinstance(value, UUID) else value


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
