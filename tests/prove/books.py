"""The books: who holds a conversation, what is to be done in it, what was spent and what stands for its beginning, and what is
left of those that ended. Each must agree with what was noted of it elsewhere.
"""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from tests.databases import run

# All sessions, or one.
_OF = "(%(session)s::uuid IS NULL OR {column} = %(session)s::uuid)"


def find_wrong(url: str, session_id: UUID | None = None) -> list[str]:
    """`session_id`: of this conversation and its user alone."""
    found = [_handovers, _locks, _spending, _reservations, _todos, _compactions, _belongings]
    return [sentence for look in found for sentence in look(url, session_id)]


def _rows(url: str, statement: str, session_id: UUID | None, column: str) -> list[tuple[Any, ...]]:
    of = _OF.format(column=column).replace("%(session)s", "NULL" if session_id is None else f"'{session_id}'")
    return run(url, statement.replace("{of}", of))


def _handovers(url: str, session_id: UUID | None) -> Iterator[str]:
    """Each that is done is noted once, in the turn that it was done in; and none is noted that was not done. Of a turn that was
    copied from another conversation it is noted there.
    """
    statement = """
        SELECT COALESCE(c.session_id, a.session_id), COALESCE(c.turn_id, a.turn_id), COALESCE(c.n, 0), COALESCE(a.n, 0)
        FROM (SELECT session_id, turn_id, count(*) AS n FROM tool_calls o
              WHERE name = 'hand_over' AND status = 'done' AND {of} AND NOT EXISTS (SELECT FROM messages m
                WHERE m.session_id = o.session_id AND m.seq = o.message_seq AND m.origin_session IS NOT NULL)
              GROUP BY 1, 2) AS c
        FULL JOIN (SELECT session_id, turn_id, count(*) AS n FROM audit_log
              WHERE actor LIKE 'agent:%' AND action IN ('lock_set', 'lock_cleared') AND {of} GROUP BY 1, 2) AS a
          ON a.session_id = c.session_id AND a.turn_id = c.turn_id
        WHERE COALESCE(c.n, 0) <> COALESCE(a.n, 0)
    """
    for session, turn, done, noted in _rows(url, statement, session_id, "session_id"):
        yield f"{session}: turn {turn} was handed over {done} times, and {noted} are noted"


def _locks(url: str, session_id: UUID | None) -> Iterator[str]:
    """The last that was noted of a lock is how it stands."""
    statement = """
        SELECT s.id, s.active_agent, a.action, a.agent
        FROM conversation_states s LEFT JOIN LATERAL (
            SELECT action, agent FROM audit_log WHERE session_id = s.id
              AND action IN ('lock_set', 'lock_cleared', 'lock_expired', 'agent_missing')
            ORDER BY id DESC LIMIT 1) AS a ON true
        WHERE s.active_agent IS DISTINCT FROM CASE WHEN a.action = 'lock_set' THEN a.agent END AND {of}
    """
    for session, holder, action, agent in _rows(url, statement, session_id, "s.id"):
        yield f"{session}: {holder} holds it, and the last note is {action} {agent}"


_TURNS_OF_DAY = """
    SELECT s.user_id, CAST(t.created_at AT TIME ZONE 'UTC' AS date) AS day,
        sum(t.reserved_micros) AS reserved_micros, sum(t.reserved_tokens) AS reserved_tokens,
        COALESCE(sum(CAST(t.usage ->> 'cost_micros' AS bigint)), 0) AS cost
    FROM turns t JOIN conversation_states s ON s.id = t.session_id
    WHERE {of} GROUP BY 1, 2
"""


def _spending(url: str, session_id: UUID | None) -> Iterator[str]:
    """Where days are budgeted at all: of each user and day."""
    if not run(url, "SELECT 1 FROM spending LIMIT 1"):
        return
    statement = f"""
        SELECT t.user_id, t.day, t.reserved_micros, t.reserved_tokens, t.cost,
            p.reserved_micros, p.reserved_tokens, p.spent_micros, p.spent_tokens
        FROM ({_TURNS_OF_DAY}) AS t
        LEFT JOIN spending p ON p.scope = 'user' AND p.id = t.user_id AND p.day = t.day
        WHERE (t.reserved_micros, t.reserved_tokens)
            IS DISTINCT FROM (COALESCE(p.reserved_micros, 0), COALESCE(p.reserved_tokens, 0))
          OR t.cost > COALESCE(p.spent_micros, 0) OR p.spent_tokens < 0
    """
    for row in _rows(url, statement, session_id, "s.id"):
        user, day, turns_micros, turns_tokens, cost, micros, tokens, spent, spent_tokens = row
        yield (
            f"{user} on {day}: reserved {micros} micros, {tokens} tokens, its turns {turns_micros}, {turns_tokens}; "
            f"spent {spent} micros, {spent_tokens} tokens, its turns {cost} micros"
        )
    statement = """
        SELECT session_id, id, status, reserved_micros, reserved_tokens FROM turns
        WHERE status NOT IN ('running') AND (reserved_micros <> 0 OR reserved_tokens <> 0 OR reservation IS NOT NULL)
          AND {of}
    """
    for session, turn, status, micros, tokens in _rows(url, statement, session_id, "session_id"):
        yield f"{session}: turn {turn} is {status} and has {micros} micros, {tokens} tokens reserved"


def _reservations(url: str, session_id: UUID | None) -> Iterator[str]:
    """What is reserved of a day is what turns have reserved that are still there; of all users and organisations."""
    if session_id is not None:
        return
    statement = """
        SELECT p.scope, p.id, p.day, p.reserved_micros, p.reserved_tokens, t.micros, t.tokens
        FROM spending p CROSS JOIN LATERAL (
            SELECT COALESCE(sum(t.reserved_micros), 0) AS micros, COALESCE(sum(t.reserved_tokens), 0) AS tokens
            FROM conversation_states s JOIN turns t ON t.session_id = s.id
            WHERE CASE p.scope WHEN 'user' THEN s.user_id ELSE s.org_id END = p.id
              AND CAST(t.created_at AT TIME ZONE 'UTC' AS date) = p.day) AS t
        WHERE (p.reserved_micros, p.reserved_tokens) <> (t.micros, t.tokens)
    """
    for scope, id_, day, micros, tokens, turns_micros, turns_tokens in run(url, statement):
        yield f"{scope} {id_} on {day}: reserved {micros}, {tokens}; turns have {turns_micros}, {turns_tokens}"


_OWNED = (
    "turns",
    "messages",
    "tool_calls",
    "approvals",
    "audit_log",
    "todos",
    "compactions",
    "members",
    "connections",
)


def _belongings(url: str, session_id: UUID | None) -> Iterator[str]:
    """Nothing is left of a conversation that is not there, and no device is in one."""
    if session_id is not None:
        return
    for table in _OWNED:
        statement = f"""
            SELECT o.session_id, count(*) FROM {table} o
            WHERE o.session_id IS NOT NULL AND NOT EXISTS (SELECT FROM conversation_states s WHERE s.id = o.session_id)
            GROUP BY 1
        """
        for session, count in run(url, statement):
            yield f"{session} is not there, and {count} of its {table} are"


def _todos(url: str, session_id: UUID | None) -> Iterator[str]:
    statement = """
        SELECT session_id, count(*), min(position), max(position) FROM todos WHERE {of} GROUP BY 1
        HAVING min(position) <> 1 OR max(position) <> count(*)
    """
    for session, count, first, last in _rows(url, statement, session_id, "session_id"):
        yield f"{session}: {count} todos have the positions {first} to {last}"


def _compactions(url: str, session_id: UUID | None) -> Iterator[str]:
    """None covers what was not said, and none comes between a call and its result."""
    statement = """
        SELECT c.session_id, c.upto_seq, s.message_seq, m.content
        FROM compactions c JOIN conversation_states s ON s.id = c.session_id
        LEFT JOIN messages m ON m.session_id = c.session_id AND m.seq = c.upto_seq + 1
        WHERE NOT c.left_out AND {of}
    """
    for session, upto, last, follows in _rows(url, statement, session_id, "c.session_id"):
        if upto > last:
            yield f"{session}: a compaction covers {upto} messages of {last}"
        if follows and any(block["type"] == "tool_result" for block in json.loads(follows)):
            yield f"{session}: a compaction ends at {upto}, between calls and their results"
