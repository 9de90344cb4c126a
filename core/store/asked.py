"""Asked: an approval as it is shown to whoever may decide it, with the exact arguments of its call."""

import json
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from core.ids import SessionId, TurnId
from core.store.database import Row
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Approval:
    id: UUID
    session_id: SessionId
    turn_id: TurnId
    tool_call_id: str
    # call: may it run. outcome: did it take effect.
    kind: str
    tool: str
    agent: str | None
    # The blocks of the message that asks for the call, as they are stored.
    said: str
    input_digest: str
    role: str
    # One whose time is over is expired, whether or not that is on record yet.
    status: str
    note: str | None
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    # Of the session's row; the version is for a write that depends on what was read here.
    epoch: int
    version: int

    @property
    def arguments(self) -> dict[str, Any] | None:
        """What the call is made with. None: the message was mended, and asks for it no more."""
        return next(
            (
                block["input"]
                for block in json.loads(self.said)
                if block.get("type") == "tool_use" and block.get("id") == self.tool_call_id
            ),
            None,
        )

    @classmethod
    def of(cls, row: Row) -> "Approval":
        """From a row, or from the JSON of one."""
        fields = {field: row[field] for field in cls.__slots__ if field in row}
        fields |= {field: UUID(str(row[field])) for field in ("id", "session_id", "turn_id")}
        fields |= {field: _moment(row[field]) for field in ("created_at", "expires_at", "decided_at")}
        return cls(**fields)


# Its columns, of an approval `a`, its call `c`, the message `m` that asks for it, and a `clock`.
APPROVAL: Final = """a.id, a.session_id, a.turn_id, a.tool_call_id, a.kind, c.name AS tool, m.agent, m.content AS said,
    a.input_digest, a.role, CASE WHEN a.status = 'pending' AND a.expires_at <= clock.at THEN 'expired' ELSE a.status END
    AS status, a.note, a.created_at, a.expires_at, a.decided_at"""


def _moment(given: datetime | str | None) -> datetime | None:
    return datetime.fromisoformat(given) if isinstance(given, str) else given
