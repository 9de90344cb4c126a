"""Seen: one conversation as operators see it, with what was done in its last turns, and nothing of what was said.

What can go wrong, and why it cannot: somebody reads what is not theirs to read. No statement here takes a message's content (how long
it is stands beside it, and is known without reading it), nor metadata, arguments, results, notes, or the reasons of the audit.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text

from core.ids import SessionId, UserId
from core.store.alive import ALIVE
from core.store.database import Database
from core.store.fence import CLOCK
from core.values import dataclass

_MOST_LINES: Final = 200
_MOST_COMPACTIONS: Final = 100
_AFTER_ALL: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a conversation is looked at: so many turns before one, and the lines of the audit before one."""

    turns: int = 50
    # None: the last ones.
    before: int | None = None
    audit_before: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    id: SessionId
    user_id: UserId
    org_id: UUID | None
    # When all of this was so.
    as_of: datetime
    is_alive: bool
    active_agent: str | None
    locked_at: datetime | None
    lock_expires_at: datetime | None
    lock_is_held: bool
    lease_epoch: int
    lease_expires_at: datetime | None
    lease_is_held: bool
    version: int
    message_seq: int
    turn_seq: int
    open_turns: int
    # Who was let in, beside the owner.
    members: int
    usage: dict[str, Any]
    created_at: datetime
    last_active_at: datetime
    expires_at: datetime
    forked_from: UUID | None
    merged_into: UUID | None
    # The last of each, oldest first.
    compactions: Sequence[dict[str, Any]]
    turns: Sequence[dict[str, Any]]
    # What to give for those before them. None: there are none.
    next_turns: int | None
    audit: Sequence[dict[str, Any]]
    next_audit: int | None


# What a turn is made of.
_STEPS: Final = ("messages", "calls", "approvals")


def _listed(rows: str, order: str) -> str:
    return f"COALESCE((SELECT json_agg(row_to_json(listed) ORDER BY {order}) FROM ({rows}) AS listed), '[]')"


# Of the turns of the `page`, each by one look along an index however many there are: from their first message on to their last.
_ITS_MESSAGES: Final = """BETWEEN (SELECT min(p.first_seq) FROM page p)
    AND CASE WHEN CAST(:before AS bigint) IS NULL THEN :after_all ELSE (SELECT max(p.last_seq) FROM page p) END"""
_ON_PAGE: Final = "ANY(ARRAY(SELECT p.id FROM page p))"
_MESSAGES: Final = _listed(
    f"""SELECT m.turn_id, m.seq, m.role, m.agent, m.stop_reason, m.created_at, m.left_out, octet_length(m.content) AS bytes, m.usage
        FROM messages m WHERE m.session_id = :session_id AND m.seq {_ITS_MESSAGES} AND m.turn_id = {_ON_PAGE}""",
    "listed.seq",
)
_CALLS: Final = _listed(
    f"""SELECT c.turn_id, c.id, c.name, c.effect, c.status, c.message_seq, c.created_at, c.ended_at, c.settled_at
        FROM tool_calls c WHERE c.session_id = :session_id AND c.message_seq {_ITS_MESSAGES} AND c.turn_id = {_ON_PAGE}""",
    'listed.message_seq, listed.id COLLATE "C"',
)
_APPROVALS: Final = _listed(
    f"""SELECT a.turn_id, a.id, a.tool_call_id, a.kind, a.status, a.role, a.created_at, a.expires_at, a.decided_at
        FROM approvals a WHERE a.session_id = :session_id AND a.turn_id = {_ON_PAGE}""",
    "listed.created_at, listed.id",
)
_BEGUN_AT: Final = (
    "(SELECT m.created_at FROM messages m WHERE m.session_id = :session_id AND m.seq = p.first_seq)"
)
# From when it was accepted until it was begun with; of one that still waits, until now.
_QUEUED: Final = f"""EXTRACT(EPOCH FROM CASE WHEN p.first_seq IS NOT NULL THEN {_BEGUN_AT}
    WHEN p.status = 'queued' THEN clock.at END - p.created_at)"""

# One conversation, alive or not, as long as its row is there; with its last turns and lines of the audit, from one snapshot.
_SEE: Final = text(f"""
WITH {CLOCK},
page AS MATERIALIZED (
    SELECT t.id, t.seq, t.status, t.agent, t.joined_to, t.stop, t.crashes, t.error ->> 'code' AS error_code, t.usage,
        t.first_seq, t.last_seq, t.created_at, t.ended_at
    FROM turns t WHERE t.session_id = :session_id AND t.seq < COALESCE(CAST(:before AS bigint), :after_all) ORDER BY t.seq DESC LIMIT :turns + 1
)
SELECT s.id, s.user_id, s.org_id, clock.at AS as_of, {ALIVE} AS is_alive, s.active_agent, s.locked_at, k.until AS lock_expires_at,
    COALESCE(k.until > clock.at, false) AS lock_is_held, s.lease_epoch, s.lease_expires_at,
    COALESCE(s.lease_expires_at > clock.at, false) AS lease_is_held, s.version, s.message_seq, s.turn_seq,
    (SELECT count(*) FROM turns o WHERE o.session_id = s.id AND o.ended_at IS NULL) AS open_turns,
    (SELECT count(*) FROM members b WHERE b.session_id = s.id) AS members,
    s.usage, s.created_at, s.last_active_at, s.last_active_at + make_interval(secs => s.idle_ttl) AS expires_at,
    s.forked_from, s.merged_into,
    {_listed("SELECT c.upto_seq, c.created_at, c.agent, c.left_out FROM compactions c WHERE c.session_id = :session_id"
             f" ORDER BY c.upto_seq DESC LIMIT {_MOST_COMPACTIONS}", "listed.upto_seq")} AS compactions,
    {_listed("SELECT p.id, p.seq, p.status, p.agent, p.joined_to, p.stop, p.crashes, p.error_code, p.usage, p.created_at, p.ended_at,"
             f" {_QUEUED} AS queued_s FROM page p", "listed.seq")}
        AS turns,
    {_MESSAGES} AS messages, {_CALLS} AS calls, {_APPROVALS} AS approvals,
    {_listed("SELECT n.id, n.at, n.actor, n.user_id, n.action, n.agent, n.until, n.turn_id FROM audit_log n"
             " WHERE n.session_id = :session_id AND n.id < COALESCE(CAST(:audit_before AS bigint), :after_all) ORDER BY n.id DESC LIMIT :lines + 1", "listed.id")}
        AS audit
FROM conversation_states s CROSS JOIN clock
CROSS JOIN LATERAL (SELECT s.locked_at + make_interval(secs => s.session_ttl) AS until) AS k
WHERE s.id = :session_id
""")  # fmt: skip


def see(
    database: Database, session_id: SessionId, window: Window, *, now: datetime | None = None
) -> Seen | None:
    given = {
        "session_id": session_id,
        "turns": window.turns,
        "before": window.before,
        "audit_before": window.audit_before,
        "lines": _MOST_LINES,
        "after_all": _AFTER_ALL,
        "now": now,
    }
    row = database.row(_SEE, given)
    if row is None:
        return None
    turns, older = _cut(row["turns"], window.turns)
    audit, earlier = _cut(row["audit"], _MOST_LINES)
    steps = {name: _by_turn(row[name]) for name in _STEPS}
    shown = {
        **{name: value for name, value in row.items() if name not in _STEPS},
        "turns": [{**turn, **{name: steps[name].get(turn["id"], []) for name in _STEPS}} for turn in turns],
        "next_turns": turns[0]["seq"] if older else None,
        "audit": audit,
        "next_audit": audit[0]["id"] if earlier else None,
    }
    return Seen(**shown)


def _cut(rows: list[dict[str, Any]], most: int) -> tuple[list[dict[str, Any]], bool]:
    """One more was read than is shown, so that it is known whether there are more."""
    return rows[-most:], len(rows) > most


def _by_turn(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row.pop("turn_id"), []).append(row)
    return found
