"""Behind: since when something has waited for the clean-up. What it looks at a clean-up ends within a minute, so what has waited for long
says that none goes through, or that it leaves things.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.store.alive import ALIVE
from core.store.database import Database
from core.store.fence import CLOCK
from core.store.revision import IDLE_END, LOCK_END

# How many conversations whose own time is over are looked at: something may keep those alive that stand in front.
_MOST: Final = 1_000

# The first of each kind, by the index that the clean-up finds it by. What is due is asked for by the time itself: a `clock` that is joined
# is no bound of an index, and all conversations would be looked at.
_SINCE: Final = text(f"""
WITH {CLOCK}
SELECT min(since) AS since FROM clock, (
    (SELECT {LOCK_END} AT TIME ZONE 'UTC' AS since FROM conversation_states
    WHERE locked_at IS NOT NULL ORDER BY {LOCK_END} LIMIT 1)
    UNION ALL
    (SELECT expires_at FROM approvals WHERE status = 'pending' ORDER BY expires_at LIMIT 1)
    UNION ALL
    (SELECT {IDLE_END} AT TIME ZONE 'UTC' FROM clock, (
        SELECT * FROM conversation_states
        WHERE {IDLE_END} <= COALESCE(CAST(:now AS timestamptz), now()) AT TIME ZONE 'UTC'
        ORDER BY {IDLE_END} LIMIT {_MOST}) AS s
    WHERE NOT {ALIVE} ORDER BY {IDLE_END} LIMIT 1)) AS due
WHERE since <= clock.at
""")


def since(database: Database, *, now: datetime | None = None) -> datetime | None:
    """Of what one snapshot shows. None: nothing waits."""
    row = database.row(_SINCE, {"now": now})
    return None if row is None else row["since"]
