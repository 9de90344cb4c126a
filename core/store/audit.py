"""The audit: who changed what of a conversation, why, and until when. Written along with each change, and only read here."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.ids import DeviceId, TurnId
from core.store.alive import ALIVE
from core.store.database import Database


@dataclass(frozen=True, slots=True)
class Note:
    id: int
    at: datetime
    # "user", "system", "agent:<key>", or what a caller of the library says of itself.
    actor: str
    action: str
    agent: str | None
    until: datetime | None
    reason: str | None
    turn_id: TurnId | None


# A page of the notes on the device's conversation, if that is alive, oldest first, read from one snapshot.
_PAGE: Final = text(f"""
SELECT a.id, a.at, a.actor, a.action, a.agent, a.until, a.reason, a.turn_id
FROM connections c
CROSS JOIN (SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at) AS clock
JOIN conversation_states s ON s.id = c.session_id AND {ALIVE}
JOIN audit_log a ON a.session_id = s.id
WHERE c.device_id = :device_id AND a.id > :after
ORDER BY a.id LIMIT :limit
""")


def page(
    database: Database, device_id: DeviceId, after: int, limit: int, *, now: datetime | None = None
) -> tuple[list[Note], bool]:
    """The notes, and whether there are more."""
    rows = database.rows(_PAGE, {"device_id": device_id, "after": after, "limit": limit + 1, "now": now})
    return [Note(**row) for row in rows[:limit]], len(rows) > limit
