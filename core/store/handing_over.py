"""Handing over: what a guest has beside conversations and devices becomes a person's, and the guest is forgotten.

What can go wrong, and why it cannot: nobody else changes any of it meanwhile, for whoever calls this holds the guest's
conversations and the guest's own row, in the same transaction. What an application keeps of a user in tables of its own is not
known here: a guest that such a table refers to is left in place, with nothing else, rather than deleted with what hangs on it.
"""

from typing import Any, Final

from sqlalchemy import Connection, text

# What a guest has beside conversations and devices, in the order in which others lock it. Whoever is the owner is no member.
_STATEMENTS: Final = (
    text("""
UPDATE application_sessions a SET user_id = :person_id, version = a.version + 1, slot = CASE WHEN EXISTS (
    SELECT FROM application_sessions b WHERE b.user_id = :person_id AND b.namespace = a.namespace AND b.slot = a.slot)
    THEN NULL ELSE a.slot END
WHERE a.user_id = :guest_id
"""),
    text("""
UPDATE turns t SET sent_by = CASE WHEN s.user_id = :person_id THEN NULL ELSE CAST(:person_id AS uuid) END
FROM conversation_states s WHERE s.id = t.session_id
  AND (t.sent_by = :guest_id OR t.sent_by = :person_id AND t.session_id = ANY(CAST(:ids AS uuid[])))
"""),
    text("""
UPDATE members m SET role = 'owner' FROM members g
WHERE g.user_id = :guest_id AND m.session_id = g.session_id AND m.user_id = :person_id AND g.role = 'owner'
"""),
    text("""
UPDATE members m SET role = 'editor' FROM members g
WHERE g.user_id = :guest_id AND m.session_id = g.session_id AND m.user_id = :person_id AND g.role = 'editor' AND m.role = 'viewer'
"""),
    text("""
DELETE FROM members m USING conversation_states s WHERE s.id = m.session_id AND (
    m.user_id = :guest_id AND (s.user_id = :person_id
        OR EXISTS (SELECT FROM members o WHERE o.session_id = m.session_id AND o.user_id = :person_id))
    OR m.user_id = :person_id AND m.session_id = ANY(CAST(:ids AS uuid[])))
"""),
    text("UPDATE members SET user_id = :person_id WHERE user_id = :guest_id"),
    text(
        "UPDATE audit_log SET user_id = :person_id WHERE session_id = ANY(CAST(:ids AS uuid[])) AND user_id = :guest_id"
    ),
    text(
        "UPDATE share_links SET created_by = :person_id WHERE session_id = ANY(CAST(:ids AS uuid[])) AND created_by = :guest_id"
    ),
    text(
        "UPDATE revisions SET created_by = :person_id WHERE session_id = ANY(CAST(:ids AS uuid[])) AND created_by = :guest_id"
    ),
    text(
        "UPDATE approvals SET decided_by = :person_id WHERE session_id = ANY(CAST(:ids AS uuid[])) AND decided_by = :guest_id"
    ),
    # Whoever spent a day's budget as a guest has spent it.
    text("""
INSERT INTO spending AS p (scope, id, day, spent_micros, spent_tokens, reserved_micros, reserved_tokens)
SELECT 'user', :person_id, day, spent_micros, spent_tokens, reserved_micros, reserved_tokens
FROM spending WHERE scope = 'user' AND id = :guest_id ORDER BY day
ON CONFLICT (scope, id, day) DO UPDATE
SET spent_micros = p.spent_micros + EXCLUDED.spent_micros, spent_tokens = p.spent_tokens + EXCLUDED.spent_tokens,
    reserved_micros = p.reserved_micros + EXCLUDED.reserved_micros, reserved_tokens = p.reserved_tokens + EXCLUDED.reserved_tokens
"""),
    text("DELETE FROM spending WHERE scope = 'user' AND id = :guest_id"),
    text("""
UPDATE users u SET session_ttl = COALESCE(u.session_ttl, g.session_ttl) FROM users g
WHERE u.id = :person_id AND g.id = :guest_id
"""),
)

# Tables that are not ours and refer to users: what hangs on the guest there would go with them.
_ELSEWHERE: Final = text(r"""
SELECT format('SELECT true FROM %s WHERE %I = \:guest_id LIMIT 1', k.conrelid::regclass, a.attname) AS question
FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY(k.conkey)
WHERE k.contype = 'f' AND k.confrelid = 'users'::regclass
  AND k.conrelid NOT IN ('conversation_states'::regclass, 'connections'::regclass, 'members'::regclass)
""")
_FORGET_GUEST: Final = text("DELETE FROM users WHERE id = :guest_id AND subject IS NULL")


def hand_over(connection: Connection, given: dict[str, Any]) -> None:
    for statement in _STATEMENTS:
        connection.execute(statement, given)


def forget(connection: Connection, given: dict[str, Any]) -> None:
    for question in connection.execute(_ELSEWHERE).scalars().all():
        if connection.execute(text(question), given).first() is not None:
            return
    connection.execute(_FORGET_GUEST, given)
