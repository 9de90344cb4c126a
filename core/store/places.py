"""Places: how far somebody has come who goes through many rows, the oldest first, so that what cannot be done does not stand in the
way of what comes behind it.
"""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Behind the row of this time and this ID."""

    at: datetime
    id: UUID

    def named(self) -> dict[str, Any]:
        return {"after_at": self.at, "after_id": self.id}


BEGINNING: Final = Place(datetime(1, 1, 2, tzinfo=UTC), UUID(int=0))
