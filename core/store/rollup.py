"""The book is rolled up: the rows of days that are past are summed up into fewer, which say the same.

What can go wrong, and why it cannot:

* *Somebody counts at the same moment*, as of a day that is past. What is summed is what the rows say under their locks; who counts into a
  row that has gone meanwhile makes a new one, which the next time joins the others.
* *Several roll up at once, or one is killed.* Each takes rows that nobody has locked, and one statement does it all; what was done is not done
  again, for there is nothing to sum where there is one row.
* *Somebody reads at the same moment.* They see the rows of before, or their sum.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import TextClause, text

from core.store.database import Database
from core.store.fence import CLOCK

# The console shows hours of so many days; of days before that one row a day is left of each figure and label.
HOURS_KEPT_DAYS: Final = 31


def _rolling(days: int, *key: str) -> TextClause:
    columns = ", ".join(key)
    same = " AND ".join(f"{{0}}.{column} = {{1}}.{column}" for column in key)
    return text(f"""
WITH {CLOCK},
due AS MATERIALIZED (
    SELECT {columns} FROM daily_stats, clock WHERE day < CAST(clock.at AT TIME ZONE 'UTC' AS date) - {days}
    GROUP BY {columns} HAVING count(*) > 1 ORDER BY {columns} LIMIT :limit
),
held AS MATERIALIZED (
    SELECT d.day, d.hour, d.name, d.label, d.shard, d.value
    FROM due JOIN daily_stats d ON {same.format("d", "due")}
    ORDER BY d.day, d.hour, d.name, d.label, d.shard
    FOR UPDATE OF d SKIP LOCKED
),
sums AS MATERIALIZED (
    SELECT {columns}, min(ARRAY[hour, shard]) AS first, CAST(sum(value) AS bigint) AS value FROM held
    GROUP BY {columns} HAVING count(*) > 1
),
gone AS (
    DELETE FROM daily_stats d USING sums s, held h
    WHERE {same.format("h", "s")} AND ARRAY[h.hour, h.shard] <> s.first
      AND d.day = h.day AND d.hour = h.hour AND d.name = h.name AND d.label = h.label AND d.shard = h.shard
),
summed AS (
    UPDATE daily_stats d SET value = s.value FROM sums s
    WHERE {same.format("d", "s")} AND ARRAY[d.hour, d.shard] = s.first
    RETURNING d.day
)
SELECT (SELECT count(*) FROM summed) AS summed, (SELECT count(*) FROM due) AS due
""")


# Shards of an hour into one row, and hours of a day into one row.
_SHARDS: Final = _rolling(0, "day", "hour", "name", "label")
_HOURS: Final = _rolling(HOURS_KEPT_DAYS, "day", "name", "label")


def roll_up(database: Database, limit: int, *, now: datetime | None = None) -> tuple[int, bool]:
    """How many sums were made, and whether there may be more to make."""
    made, is_full = 0, False
    for statement in (_HOURS, _SHARDS):
        row = database.row(statement, {"limit": limit, "now": now})
        assert row is not None, "counts are one row"
        made += row["summed"]
        is_full |= row["summed"] > 0 and row["due"] >= limit
    return made, is_full
