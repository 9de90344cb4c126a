"""Spending: what a user and an organisation have spent on a day, and what their turns in progress have been given.

What can go wrong, and why it cannot: many turns of one user spend at once. What is spent and reserved stands in one row for
each day, which every reservation adds to before it reads it: of two that do not both fit the second sees that. A turn's own
reservation stands in the turn's row and changes in the same statement, so the two always agree.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text

from core.store.database import Database
from core.store.fence import CLOCK, FENCE
from core.store.holds import Hold
from core.store.used import Amount, Used
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Total:
    """All that is spent and reserved of a day."""

    scope: str
    amount: Amount


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """What a new message is held against when it is claimed. None: without end."""

    session_micros: int | None
    session_tokens: int | None
    user_micros: int | None
    user_tokens: int | None
    org_micros: int | None
    org_tokens: int | None
    # What no answer is reserved less than: where less is left, none can be given.
    least_micros: int
    least_tokens: int

    def named(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in DoorLimits.__slots__}


# Of a claim: whose budget is used up, or has too little left for any answer; where a new conversation would begin, its user's.
# What others have reserved is mostly given back
# again, so that alone refuses nobody before all of the budget is spoken for.
OVER: Final = """
spent_up AS MATERIALIZED (
    SELECT b.scope
    FROM device d LEFT JOIN conversation_states s ON s.id = d.session_id AND d.is_alive
    JOIN users u ON u.id = COALESCE(s.user_id, d.user_id)
    CROSS JOIN clock
    CROSS JOIN LATERAL (
        SELECT 1 AS rank, 'session' AS scope, COALESCE(CAST(s.usage ->> 'cost_micros' AS bigint), 0) AS micros,
            COALESCE(CAST(s.usage ->> 'input_tokens' AS bigint), 0)
            + COALESCE(CAST(s.usage ->> 'output_tokens' AS bigint), 0)
            + COALESCE(CAST(s.usage ->> 'cache_read_input_tokens' AS bigint), 0)
            + COALESCE(CAST(s.usage ->> 'cache_creation_input_tokens' AS bigint), 0) AS tokens,
            0 AS held_micros, 0 AS held_tokens,
            CAST(:session_micros AS bigint) AS most_micros, CAST(:session_tokens AS bigint) AS most_tokens
        UNION ALL
        SELECT 2, p.scope, p.spent_micros, p.spent_tokens, p.reserved_micros, p.reserved_tokens,
            CAST(:user_micros AS bigint), CAST(:user_tokens AS bigint)
        FROM spending p WHERE p.scope = 'user' AND p.id = u.id AND p.day = CAST(at AT TIME ZONE 'UTC' AS date)
        UNION ALL
        SELECT 3, p.scope, p.spent_micros, p.spent_tokens, p.reserved_micros, p.reserved_tokens,
            CAST(:org_micros AS bigint), CAST(:org_tokens AS bigint)
        FROM spending p WHERE p.scope = 'org' AND p.id = CASE WHEN s.id IS NULL THEN u.org_id ELSE s.org_id END AND p.day = CAST(at AT TIME ZONE 'UTC' AS date)
    ) AS b
    WHERE b.micros + GREATEST(b.held_micros, :least_micros - 1) >= b.most_micros
       OR b.tokens + GREATEST(b.held_tokens, :least_tokens - 1) >= b.most_tokens
    ORDER BY b.rank LIMIT 1
),
"""

# Whom a turn is charged to, on the day on which it was accepted. Of the session's row `held`.
_PURSES: Final = """
purses AS (
    SELECT o.scope, o.id, CAST(t.created_at AT TIME ZONE 'UTC' AS date) AS day, t.reserved_micros, t.reserved_tokens,
        COALESCE(t.reservation = :attempt, false) AS again
    FROM held CROSS JOIN LATERAL (VALUES ('user', held.user_id), ('org', held.org_id)) AS o(scope, id)
    JOIN turns t ON t.session_id = :session_id AND t.id = :turn_id
    WHERE o.id IS NOT NULL AND (:charges OR t.reserved_micros > 0 OR t.reserved_tokens > 0)
    %s
),
"""

# Part of each commit that may end a call: what was spent is charged, what was reserved for it is given back; what an
# earlier holder had reserved and never settled counts as spent. Of a row `held` that has user_id and org_id.
SETTLED: Final = (
    _PURSES % ""
    + """
charged AS (
    UPDATE spending p
    SET spent_micros = p.spent_micros + :spent_micros + CASE WHEN :inherits THEN s.reserved_micros ELSE 0 END,
        spent_tokens = p.spent_tokens + :spent_tokens + CASE WHEN :inherits THEN s.reserved_tokens ELSE 0 END,
        reserved_micros = p.reserved_micros - s.reserved_micros,
        reserved_tokens = p.reserved_tokens - s.reserved_tokens
    FROM purses s WHERE p.scope = s.scope AND p.id = s.id AND p.day = s.day
),
"""
)
# And of its UPDATE of the turn.
GIVEN_BACK: Final = "reserved_micros = 0, reserved_tokens = 0, reservation = NULL"


# Reserves for the turn, in place of what it has reserved, and charges what it has spent; tells what all turns of that day
# have spent and reserved with it. Under the epoch, and renews the lease. Sent again as the same attempt it changes nothing;
# for that the turn's row is locked, and so read as it is by then: a statement that waited for the session's row has read the
# others as they were before.
_RESERVE: Final = text(f"""
WITH {CLOCK},
held AS (
    UPDATE conversation_states SET lease_expires_at = at + make_interval(secs => :lease_ttl_s)
    FROM clock WHERE {FENCE}
    RETURNING user_id, org_id
),
{_PURSES % "FOR UPDATE OF t"}
given AS (
    INSERT INTO spending AS p (scope, id, day, spent_micros, spent_tokens, reserved_micros, reserved_tokens)
    SELECT scope, id, day,
        CASE WHEN again THEN 0 ELSE :spent_micros + CASE WHEN :inherits THEN reserved_micros ELSE 0 END END,
        CASE WHEN again THEN 0 ELSE :spent_tokens + CASE WHEN :inherits THEN reserved_tokens ELSE 0 END END,
        :micros - reserved_micros, :tokens - reserved_tokens
    FROM purses
    ON CONFLICT (scope, id, day) DO UPDATE
    SET spent_micros = p.spent_micros + EXCLUDED.spent_micros,
        spent_tokens = p.spent_tokens + EXCLUDED.spent_tokens,
        reserved_micros = p.reserved_micros + EXCLUDED.reserved_micros,
        reserved_tokens = p.reserved_tokens + EXCLUDED.reserved_tokens
    RETURNING scope, spent_micros + reserved_micros AS micros, spent_tokens + reserved_tokens AS tokens
),
turn AS (
    UPDATE turns SET reserved_micros = :micros, reserved_tokens = :tokens, reservation = :attempt
    FROM held WHERE session_id = :session_id AND turns.id = :turn_id
)
SELECT given.scope, micros, tokens FROM held LEFT JOIN given ON true
""")


def reserve(
    database: Database,
    hold: Hold,
    amount: Amount,
    used: Used,
    attempt: UUID,
    *,
    lease_ttl_s: float,
    now: datetime | None = None,
) -> list[Total] | None:
    """None: the epoch has passed; nothing was reserved."""
    given = {
        **used.named(),
        "charges": True,
        "attempt": attempt,
        "micros": amount.micros,
        "tokens": amount.tokens,
        "lease_ttl_s": lease_ttl_s,
    }
    held = {field: getattr(hold, field) for field in Hold.__slots__}
    rows = database.rows(_RESERVE, {**held, **given, "now": now})
    if not rows:
        return None
    return [Total(row["scope"], Amount(int(row["micros"]), int(row["tokens"]))) for row in rows]
