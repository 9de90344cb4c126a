"""Metadata: what people keep beside a conversation.

What can go wrong, and why it cannot: two edit it at once, or somebody is put out while they do. What is written was made of what was
read, and goes out at the version that was read along with it and with the role; so none overwrites what it has not seen.
"""

from typing import Any, Final

from sqlalchemy import text

from core.content import dump
from core.ids import UserId
from core.store.alive import USED
from core.store.database import Database
from core.store.fence import CLOCK
from core.store.user_sessions import Changed
from core.store.visitors import Visit

# Writes it whole, notes that it was changed and extends the conversation's time, at once, at the version that was read.
_SET: Final = text(f"""
WITH {CLOCK},
met AS (
    UPDATE conversation_states s SET metadata = CAST(:metadata AS jsonb), version = s.version + 1, last_active_at = {USED}
    FROM clock WHERE s.id = :session_id AND s.version = :version
    RETURNING s.id, s.version, s.lease_epoch
),
noted AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action)
    SELECT id, at, 'user', :user_id, 'metadata_changed' FROM met, clock
)
SELECT version, lease_epoch FROM met
""")


def put(database: Database, visit: Visit, metadata: dict[str, Any]) -> Changed | None:
    """None: somebody committed since; nothing was written."""
    user_id: UserId | None = visit.user_id
    row = database.row(
        _SET,
        {
            "session_id": visit.session_id,
            "version": visit.version,
            "user_id": user_id,
            "metadata": dump(metadata),
            "now": None,
        },
    )
    return None if row is None else Changed(visit.session_id, row["version"], row["lease_epoch"])
