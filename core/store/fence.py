"""The fence: what makes a write of a holder one that a zombie cannot make.

Each write is chained to an UPDATE of the session's row that names the epoch of the grant. Once another was granted, the row
says another epoch, the UPDATE matches nothing, and nothing at all is written. Nor is it after the holder let go.
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import TextClause

from core.store.database import Database, Row
from core.store.holds import Hold
from core.store.used import Used
from core.values import dataclass

FENCE: Final = "id = :session_id AND lease_epoch = :epoch AND lease_expires_at IS NOT NULL"

CLOCK: Final = "clock AS MATERIALIZED (SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at)"


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's reply as it is stored, and what the turn and the session have used with it."""

    agent: str
    content: str
    prefix_digest: str
    stop_reason: str
    usage: str
    used: Used


def write(
    database: Database, statement: TextClause, hold: Hold, given: dict[str, Any], now: datetime | None
) -> Row | None:
    held = {field: getattr(hold, field) for field in Hold.__slots__}
    return database.row(statement, {**held, **given, "now": now})


def named(reply: Reply) -> dict[str, Any]:
    fields = {field: getattr(reply, field) for field in Reply.__slots__ if field != "used"}
    return {**fields, **reply.used.named()}
