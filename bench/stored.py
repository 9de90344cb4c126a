"""Sessions as they lie in a database when nobody has used them for long: each with two turns, one of them with a tool."""

import json
import time
from collections.abc import Callable
from contextlib import closing

import psycopg2

from bench.contestants import REPLY, SAID

_AT_ONCE = 20_000
_TELLS_EVERY_S = 15.0

# All of a conversation hangs on its ID. Their times were over one after the other.
_FILL = """
WITH u AS (
    INSERT INTO users (id) SELECT gen_random_uuid() FROM generate_series(1, %(many)s / 5 + 1) RETURNING id
),
owners AS (SELECT id, row_number() OVER () - 1 AS n, count(*) OVER () AS many FROM u),
s AS (
    INSERT INTO conversation_states (id, user_id, lease_epoch, message_seq, turn_seq, version, usage, created_at, last_active_at)
    SELECT gen_random_uuid(), o.id, 2, 6, 2, 9, '{"input_tokens": 300, "output_tokens": 240}', at - interval '10 minutes', at
    FROM (SELECT g, now() - interval '2 days' + make_interval(secs => (%(first)s + g) * 0.05) AS at FROM generate_series(1, %(many)s) g) g
    JOIN owners o ON o.n = g.g %% o.many
    RETURNING id, created_at
),
t AS (
    INSERT INTO turns (session_id, id, seq, body_digest, status, agent, first_seq, last_seq, usage, created_at, ended_at)
    SELECT s.id, gen_random_uuid(), n, repeat('d', 64), 'completed', 'manager', n * 4 - 3, n * 2 + 2,
        '{"input_tokens": 150, "output_tokens": 120, "cost_micros": 900}', s.created_at + make_interval(secs => n * 60),
        s.created_at + make_interval(secs => n * 60 + 2)
    FROM s, generate_series(1, 2) n
    RETURNING session_id, id, seq, created_at
),
m AS (
    INSERT INTO messages (session_id, seq, turn_id, role, agent, content, prefix_digest, created_at)
    SELECT t.session_id, n, t.id, CASE n %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END, CASE n %% 2 WHEN 0 THEN 'manager' END,
        CASE n %% 2 WHEN 1 THEN %(said)s ELSE %(reply)s END, CASE n %% 2 WHEN 0 THEN repeat('0', 64) END, t.created_at
    FROM t JOIN generate_series(1, 6) n ON n BETWEEN t.seq * 4 - 3 AND t.seq * 2 + 2
),
c AS (
    INSERT INTO tool_calls (session_id, id, turn_id, message_seq, name, effect, status, input_digest, created_at, ended_at)
    SELECT t.session_id, 'toolu_' || md5(t.id::text), t.id, 2, 'slots', 'read', 'done', repeat('d', 64), t.created_at, t.created_at
    FROM t WHERE t.seq = 1
)
INSERT INTO audit_log (session_id, at, actor, action, agent, until, turn_id)
SELECT t.session_id, t.created_at, 'agent', 'lock_set', 'manager', t.created_at + interval '1 hour', t.id FROM t WHERE t.seq = 1
"""


def fill(url: str, sessions: int, say: Callable[[str], None]) -> None:
    """They are there, and expired."""
    told = begun = time.monotonic()
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            # A server of any size has more room than the one for tests before it must write everything out.
            cursor.execute("ALTER SYSTEM SET max_wal_size = '4GB'")
            cursor.execute("SELECT pg_reload_conf()")
            for first in range(0, sessions, _AT_ONCE):
                many = min(_AT_ONCE, sessions - first)
                given = {"many": many, "first": first, "said": json.dumps(SAID), "reply": json.dumps(REPLY)}
                cursor.execute(_FILL, given)
                if time.monotonic() - told > _TELLS_EVERY_S:
                    told = time.monotonic()
                    say(f"{first + many} of {sessions} are filled in")
            cursor.execute("VACUUM ANALYZE")
    say(f"filled in within {time.monotonic() - begun:.0f} s")
