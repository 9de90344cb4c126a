"""Expired: what nobody has used for its time goes, conversations with their application sessions, and application sessions that belong
to no conversation.

What can go wrong, and why it cannot:

* *It is used at the same moment.* Each is judged on its own rows under their locks, and goes at the version that was read with that: one
  that is used stays, and so does one whose application session is.
* *Several clean up at once.* Each takes rows that no other has locked, and waits for nobody.
* *One that cannot go stands in front of the others.* Whoever goes through them goes on behind the last one that they saw.
* *One was archived, and then it is used.* What was archived goes only at the version that the archive has. It is judged, and counted
  into the book, as of the moment at which it was read for the archive: so a restore can take exactly this out of the book again.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.ids import SessionId
from core.store.alive import ALIVE
from core.store.daily import COUNTED_OUT, counted
from core.store.database import Database
from core.store.endings import DEVICES, GONE, EndedSession, shown
from core.store.fence import CLOCK
from core.store.places import BEGINNING, Place
from core.store.revision import IDLE_END
from core.values import dataclass

# Of the row `s`: its time is over, and it is behind a place.
DUE: Final = f"""{IDLE_END} <= COALESCE(CAST(:now AS timestamptz), now()) AT TIME ZONE 'UTC'
        AND {IDLE_END} >= CAST(:after_at AS timestamptz) AT TIME ZONE 'UTC'
        AND ({IDLE_END}, s.id) > (CAST(:after_at AS timestamptz) AT TIME ZONE 'UTC', CAST(:after_id AS uuid))"""

# What is done with those that are `due`: each is judged on its own rows under their locks.
_GO: Final = f"""
beside AS MATERIALIZED (
    SELECT p.session_id, p.last_active_at + make_interval(secs => p.idle_ttl) > clock.at AS is_alive
    FROM due CROSS JOIN clock JOIN application_sessions p ON p.session_id = due.id
    ORDER BY p.session_id, p.namespace
    FOR UPDATE OF p
),
known AS MATERIALIZED (
    SELECT id, version FROM due WHERE id NOT IN (SELECT session_id FROM beside WHERE is_alive)
),
{GONE},
with_it AS (
    DELETE FROM application_sessions p USING gone g WHERE p.session_id = g.id
    RETURNING p.session_id, p.namespace, p.epoch
),
{COUNTED_OUT.format(how="'expired'")}
SELECT o.id AS session_id, o.idle_end, g.id IS NOT NULL AS is_gone, g.lease_epoch, g.version, {DEVICES.format(id="o.id")},
    (SELECT json_agg(json_build_array(w.namespace, w.epoch) ORDER BY w.namespace) FROM with_it w WHERE w.session_id = o.id)
        AS beside
FROM due o LEFT JOIN gone g ON g.id = o.id
"""

# Ends conversations that nobody uses, those first whose time was over first, with their application sessions.
_CLEAN_UP: Final = text(f"""
WITH {CLOCK},
due AS MATERIALIZED (
    SELECT s.id, {IDLE_END} AT TIME ZONE 'UTC' AS idle_end, (SELECT v.version FROM conversation_states v WHERE v.id = s.id) AS version
    FROM conversation_states s CROSS JOIN clock
    WHERE {DUE} AND NOT {ALIVE}
    ORDER BY {IDLE_END}, s.id LIMIT :limit
    FOR UPDATE OF s SKIP LOCKED
),
{_GO}
ORDER BY o.idle_end, o.id
""")


@dataclass(frozen=True, slots=True)
class Swept:
    ended: list[EndedSession]
    # Behind the last one that was looked at. None: there is none behind it.
    place: Place | None


def clean_up_behind(database: Database, limit: int, place: Place, *, now: datetime | None = None) -> Swept:
    rows = database.rows(_CLEAN_UP, {"limit": limit, "now": now, **place.named()})
    last = Place(rows[-1]["idle_end"], rows[-1]["session_id"]) if len(rows) >= limit else None
    return Swept([shown(row) for row in rows if row["is_gone"]], last)


def clean_up(database: Database, limit: int, *, now: datetime | None = None) -> list[EndedSession]:
    return clean_up_behind(database, limit, BEGINNING, now=now).ended


# Ends those of the conversations that were archived that are still as they were, and still due.
_CLEAN_UP_ARCHIVED: Final = text(f"""
WITH {CLOCK},
due AS MATERIALIZED (
    SELECT s.id, {IDLE_END} AT TIME ZONE 'UTC' AS idle_end, a.version
    FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS bigint[])) AS a(id, version)
    JOIN conversation_states s ON s.id = a.id CROSS JOIN clock
    WHERE NOT {ALIVE}
    ORDER BY s.id
    FOR UPDATE OF s SKIP LOCKED
),
{_GO}
""")


def clean_up_archived(
    database: Database, archived: Sequence[tuple[SessionId, int]], *, at: datetime
) -> list[EndedSession]:
    """Each with the version that the archive has; `at`: when it was read for the archive."""
    given = {
        "ids": [str(session_id) for session_id, _ in archived],
        "versions": [version for _, version in archived],
        "now": at,
    }
    return [shown(row) for row in database.rows(_CLEAN_UP_ARCHIVED, given) if row["is_gone"]]


# Ends application sessions whose own time is over and that belong to no conversation, those first whose time was over first:
# one that belongs to one goes with it. Several at once take different ones, and one that is used at the moment stays.
_CLEAN_UP_ALONE: Final = text(f"""
WITH due AS MATERIALIZED (
    SELECT p.session_id, p.namespace FROM application_sessions p
    WHERE {IDLE_END} <= COALESCE(CAST(:now AS timestamptz), now()) AT TIME ZONE 'UTC'
      AND NOT COALESCE((SELECT true FROM conversation_states s WHERE s.id = p.session_id), false)
    ORDER BY {IDLE_END} LIMIT :limit
    FOR UPDATE OF p SKIP LOCKED
),
gone AS (
    DELETE FROM application_sessions p USING due d WHERE p.session_id = d.session_id AND p.namespace = d.namespace
    RETURNING p.session_id
),
said AS MATERIALIZED (
    SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at, 'cleanups' AS name, 'application_sessions' AS label, 1 AS value
    FROM gone
),
{counted()}
SELECT session_id FROM gone
""")


def clean_up_alone(database: Database, limit: int, *, now: datetime | None = None) -> int:
    return len(database.rows(_CLEAN_UP_ALONE, {"limit": limit, "now": now}))
