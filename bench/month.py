"""A month of conversations as they lie in a database, most of them counted into the book of figures, some that go on at this moment."""

import time
from collections.abc import Callable
from contextlib import closing

import psycopg2

from core.store import counting
from core.store.database import Database

_AT_ONCE = 20_000
_COUNTED_AT_ONCE = 10_000
_TELLS_EVERY_S = 15.0

# They began one after the other, the last one now. Locks are for a day, and a sweep has cleared those whose time was over; none runs out while
# this runs.
_FILL = """
WITH u AS (
    INSERT INTO users (id) SELECT gen_random_uuid() FROM generate_series(1, %(many)s / 5 + 1) RETURNING id
),
owners AS (SELECT id, row_number() OVER () - 1 AS n, count(*) OVER () AS many FROM u),
g AS MATERIALIZED (
    SELECT gen_random_uuid() AS id, o.id AS user_id, ('{manager,scheduling,billing,records,triage}'::text[])[1 + g %% 5] AS agent,
        now() - interval '30 days' + (%(first)s + g) * interval '30 days' / %(all)s - interval '1 second' AS at, g %% 2 = 0 AS is_handed
    FROM generate_series(1, %(many)s) g JOIN owners o ON o.n = g %% o.many
),
s AS (
    INSERT INTO conversation_states (id, user_id, active_agent, locked_at, session_ttl, lease_epoch, message_seq, turn_seq, version, usage,
        created_at, last_active_at, idle_ttl)
    SELECT id, user_id, CASE WHEN stands THEN agent END, CASE WHEN stands THEN at END, 86400, 5, 10, 5, 9,
        '{"input_tokens": 300, "output_tokens": 240}', at, at + interval '4 minutes', 5184000
    FROM g CROSS JOIN LATERAL (SELECT at > now() - interval '23 hours' AS stands) AS lock
),
t AS MATERIALIZED (
    SELECT g.id AS session_id, gen_random_uuid() AS id, n, g.agent, g.at + n * interval '40 seconds' AS at, power(random(), 4) AS r
    FROM g CROSS JOIN generate_series(1, 5) n
),
turned AS (
    INSERT INTO turns (session_id, id, seq, body_digest, status, agent, first_seq, last_seq, crashes, usage, error, created_at, ended_at)
    SELECT session_id, id, n, repeat('d', 64), CASE WHEN r > 0.94 THEN 'failed' ELSE 'completed' END, agent, n * 2 - 1, n * 2,
        CASE WHEN r > 0.99 THEN 1 ELSE 0 END, jsonb_build_object('input_tokens', 150, 'output_tokens', 120, 'cost_micros', 900, 'run',
            jsonb_build_object('claim', round((2 + r * 40)::numeric, 1), 'model', round((600 + r * 9000)::numeric, 1), 'tools',
                CASE WHEN n = 3 THEN round((20 + r * 900)::numeric, 1) ELSE 0 END, 'finish', round((3 + r * 30)::numeric, 1),
                'epochs', '[1]'::jsonb, 'history', CASE WHEN n = 1 THEN 'new' WHEN r < 0.3 THEN 'kept' ELSE 'rows' END)),
        CASE WHEN r > 0.94 THEN jsonb_build_object('code', CASE WHEN n < 3 THEN 'model_timeout' ELSE 'turn_crashed' END) END,
        at, at + make_interval(secs => 0.7 + r * 10)
    FROM t
),
said AS (
    INSERT INTO messages (session_id, seq, turn_id, role, agent, content, created_at)
    SELECT t.session_id, t.n * 2 - 1 + m, t.id, CASE m WHEN 0 THEN 'user' ELSE 'assistant' END, CASE m WHEN 1 THEN t.agent END,
        CASE m WHEN 0 THEN '[{"type": "text", "text": "When can I come for a check-up next week?"}]'
            ELSE '[{"type": "text", "text": "On Tuesday at nine, or on Thursday at two. Which of the two suits you?"}]' END, t.at
    FROM t CROSS JOIN generate_series(0, 1) m
)
INSERT INTO audit_log (session_id, at, actor, action, agent, until)
SELECT g.id, n.at, n.actor, n.action, n.agent, n.until FROM g
CROSS JOIN LATERAL (SELECT g.at NOT BETWEEN now() - interval '1 day' AND now() - interval '23 hours' AS has_lock) AS lock
CROSS JOIN LATERAL (VALUES
    (1, g.is_handed AND lock.has_lock, g.at - interval '20 seconds', 'agent', 'lock_set', 'manager', g.at - interval '20 seconds' + interval '1 day'),
    (2, lock.has_lock, g.at, 'agent', 'lock_set', g.agent, g.at + interval '1 day'),
    (3, g.at + interval '1 day' <= now(), g.at + interval '1 day 30 seconds', 'system', 'lock_expired', g.agent, g.at + interval '1 day')
) AS n(nth, is_so, at, actor, action, agent, until) WHERE n.is_so ORDER BY g.id, n.nth
"""

# Some are being answered now, some wait, and some have asked a person.
_GOING_ON = (
    """WITH late AS (SELECT id FROM conversation_states ORDER BY created_at DESC LIMIT 300)
    UPDATE turns t SET status = (CASE t.seq %% 5 WHEN 0 THEN 'running' WHEN 1 THEN 'waiting' ELSE 'queued' END), ended_at = NULL
    FROM late WHERE t.session_id = late.id AND t.created_at > now() - interval '1 hour' AND t.seq IN (1, 3, 5)""",
    """UPDATE conversation_states s SET lease_expires_at = now() + interval '1 hour'
    FROM turns t WHERE t.session_id = s.id AND t.status = 'running'""",
    """INSERT INTO approvals (session_id, id, turn_id, tool_call_id, input_digest, status, expires_at)
    SELECT session_id, gen_random_uuid(), id, 'toolu', 'd', 'pending', now() + interval '1 hour' FROM turns WHERE status = 'waiting'""",
)


def fill(url: str, sessions: int, say: Callable[[str], None]) -> None:
    told = begun = time.monotonic()
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            # What is filled in is whole: nothing hangs on what is not there.
            cursor.execute("SET session_replication_role = replica; SET synchronous_commit = off")
            for first in range(0, sessions, _AT_ONCE):
                many = min(_AT_ONCE, sessions - first)
                cursor.execute(_FILL, {"many": many, "first": first, "all": sessions})
                if time.monotonic() - told > _TELLS_EVERY_S:
                    told = time.monotonic()
                    say(f"{first + many} of {sessions} conversations are filled in")
            for statement in _GOING_ON:
                cursor.execute(statement.replace("%%", "%"))
            cursor.execute("VACUUM ANALYZE")
    say(f"filled in within {time.monotonic() - begun:.0f} s")


def count(database: Database, say: Callable[[str], None]) -> None:
    """As the clean-up does, without its rests."""
    for kind in counting.KINDS:
        told = begun = time.monotonic()
        done = 0
        while some := counting.count(database, kind, _COUNTED_AT_ONCE):
            done += some
            if time.monotonic() - told > _TELLS_EVERY_S:
                told = time.monotonic()
                say(f"{kind}: {done}, {done / (told - begun):.0f}/s")
        say(f"{kind}: {done} in {time.monotonic() - begun:.0f} s")
