"""Left: how much there is to clean up, of each kind, as far as anybody wants to count."""

from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.store.alive import ALIVE
from core.store.daily import NOTES_DUE, SESSIONS_DUE, TURNS_DUE
from core.store.database import Database
from core.store.fence import CLOCK
from core.store.revision import IDLE_END, LOCK_END
from core.store.turns import STRANDED

# What is more than this is told as one more.
_MOST: Final = 10_000

_NOW: Final = "COALESCE(CAST(:now AS timestamptz), now())"
_OF: Final = {
    "sessions": f"FROM conversation_states s CROSS JOIN clock WHERE {IDLE_END} <= {_NOW} AT TIME ZONE 'UTC' AND NOT {ALIVE}",
    "application_sessions": f"""FROM application_sessions p WHERE {IDLE_END} <= {_NOW} AT TIME ZONE 'UTC'
        AND NOT COALESCE((SELECT true FROM conversation_states s WHERE s.id = p.session_id), false)""",
    "locks": f"FROM conversation_states WHERE locked_at IS NOT NULL AND {LOCK_END} <= {_NOW} AT TIME ZONE 'UTC'",
    "approvals": f"FROM approvals WHERE status = 'pending' AND expires_at <= {_NOW}",
    "turns": STRANDED,
    "keys": f"""FROM turns WHERE idempotency_key IS NOT NULL AND ended_at IS NOT NULL
        AND created_at < {_NOW} - make_interval(secs => :key_ttl_s)""",
    "partials": f"FROM partials WHERE updated_at < {_NOW} - make_interval(secs => :partial_ttl_s)",
    "rates": f"FROM address_rates WHERE rate_at <= {_NOW}",
    "figures": f"""FROM (SELECT 1 FROM daily_stats WHERE day < CAST({_NOW} AT TIME ZONE 'UTC' AS date)
        GROUP BY day, hour, name, label HAVING count(*) > 1) AS unsummed""",
    "counted_turns": TURNS_DUE,
    "counted_sessions": SESSIONS_DUE,
    "counted_locks": NOTES_DUE,
    "erasures": "FROM erasures WHERE user_id IS NOT NULL",
}
_COUNTS: Final = {
    name: text(f"""
WITH {CLOCK}
SELECT count(*) AS found
FROM (SELECT 1 {source} LIMIT {_MOST + 1}) AS those
""")
    for name, source in _OF.items()
}


def count(
    database: Database, name: str, *, key_ttl_s: int, partial_ttl_s: int, now: datetime | None = None
) -> int:
    """Of what one snapshot shows."""
    given = {"key_ttl_s": key_ttl_s, "partial_ttl_s": partial_ttl_s, "now": now}
    row = database.row(_COUNTS[name], given)
    assert row is not None, "a count is one row"
    return int(row["found"])
