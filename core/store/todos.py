"""Todos: an agent's own list for a conversation. It is written along with the results of the call that set it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.ids import DeviceId
from core.store.alive import ALIVE
from core.store.database import Database


@dataclass(frozen=True, slots=True)
class Todo:
    position: int
    content: str
    status: str
    updated_at: datetime


# The list of the device's conversation, if that is alive, in its order, read from one snapshot.
_OF_DEVICE: Final = text(f"""
SELECT t.position, t.content, t.status, t.updated_at
FROM connections c
CROSS JOIN (SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at) AS clock
JOIN conversation_states s ON s.id = c.session_id AND {ALIVE}
JOIN todos t ON t.session_id = s.id
WHERE c.device_id = :device_id
ORDER BY t.position
""")


def of_device(database: Database, device_id: DeviceId, *, now: datetime | None = None) -> list[Todo]:
    return [Todo(**row) for row in database.rows(_OF_DEVICE, {"device_id": device_id, "now": now})]
