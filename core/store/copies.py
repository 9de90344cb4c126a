"""Copies: what of a conversation is written into another one, as parts of the one statement that does it all.

Each is of the CTEs `source` (the row that is copied from: id, user_id), `target` (the one that it is copied to: id, user_id),
`picked` (the turns that are copied: id, new_id, new_seq, and new_first and new_last, the places of their messages), `moved` (the
messages' places: seq, new_seq) and `renames` (of calls whose ID the target has already: id, new_id). So no turn, call or
approval has its ID in two conversations, and what was not picked is not pointed at.

A copy costs nothing: it was paid for where it was said.
"""

from typing import Final

# Turns that have ended, with nothing that a holder could take hold of, under the keys that are given. Who sent them is on record where
# that is not whom the target belongs to.
# One that never began has no message that would tell that it is a copy (see daily.py), so it is flagged as counted.
TURNS: Final = """
turned AS (
    INSERT INTO turns (session_id, id, seq, idempotency_key, body_digest, status, agent, first_seq, last_seq, joined_to, crashes,
        sent_by, error, created_at, ended_at, counted)
    SELECT target.id, p.new_id, {seq}, {key}, t.body_digest, t.status, t.agent, p.new_first, p.new_last, j.new_id, t.crashes,
        NULLIF(COALESCE(t.sent_by, source.user_id), target.user_id), t.error, t.created_at, t.ended_at,
        t.first_seq IS NULL AND t.joined_to IS NULL
    FROM target, source JOIN turns t ON t.session_id = source.id JOIN picked p ON p.id = t.id
    LEFT JOIN picked j ON j.id = t.joined_to
)
"""

CALLS: Final = """
called AS (
    INSERT INTO tool_calls (session_id, id, turn_id, message_seq, name, effect, status, input_digest, approver, result, created_at,
        ended_at, settled_at)
    SELECT target.id, COALESCE(r.new_id, c.id), p.new_id, {seq}, c.name, c.effect, c.status, c.input_digest, c.approver, c.result,
        c.created_at, c.ended_at, c.settled_at
    FROM target, source JOIN tool_calls c ON c.session_id = source.id JOIN picked p ON p.id = c.turn_id
    LEFT JOIN renames r ON r.id = c.id LEFT JOIN moved v ON v.seq = c.message_seq
)
"""

# Approvals that are decided: a question that is open stays where it was asked.
DECIDED: Final = """
decided AS (
    INSERT INTO approvals (session_id, id, turn_id, tool_call_id, input_digest, status, kind, role, created_at, expires_at,
        decided_at, decided_by, note)
    SELECT target.id, gen_random_uuid(), p.new_id, COALESCE(r.new_id, a.tool_call_id), a.input_digest, a.status, a.kind, a.role,
        a.created_at, a.expires_at, a.decided_at, a.decided_by, a.note
    FROM target, source JOIN approvals a ON a.session_id = source.id AND a.status <> 'pending' JOIN picked p ON p.id = a.turn_id
    LEFT JOIN renames r ON r.id = a.tool_call_id
)
"""

# What was noted in the turns that are copied, to be written in this order and before what is noted of the copying itself. Who held
# the source is no word on who holds the target.
TURN_NOTES: Final = """
        SELECT 0 AS part, a.id, a.at, a.actor, a.user_id, a.action, a.agent, a.until, a.reason, p.new_id AS turn_id
        FROM source JOIN audit_log a ON a.session_id = source.id JOIN picked p ON p.id = a.turn_id
        WHERE a.action NOT IN ('lock_set', 'lock_cleared', 'lock_expired', 'agent_missing')
"""
