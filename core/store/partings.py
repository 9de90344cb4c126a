"""Partings: a merge is taken back. What it brought is told no more, and the conversation that it was is there again.

What can go wrong, and why it cannot:

* *Either changes at the same moment.* As with a merge, both rows are locked in the order of their IDs. The target must be as it was
  read; the source is nobody's, so it need only still be a part of it.
* *It was talked on.* What was said since stays, in whole turns. Its thinking was signed behind what is left out now, so it is sent no
  more; and what was summed up since, with what was merged in it, stands for nothing any more.
* *Others have changed since what the merge changed.* What to put back is decided on what was read at that version.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text

from core.content import dump
from core.ids import SessionId, UserId
from core.store.alive import USED
from core.store.database import Database
from core.store.fence import CLOCK
from core.store.merges import LISTED, LOCK, LOCK_NOTE, LOCKED, Joined, Side, named
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Parting:
    """What was decided of taking a merge back: as the target has these from then on, and what is not put back."""

    revision_id: UUID
    target: Side
    source_id: SessionId
    lock: dict[str, Any] | None
    todos: list[dict[str, str]]
    metadata: dict[str, Any]
    usage: dict[str, Any]
    left: tuple[str, ...]
    by: UserId | None


# Tells the model no more of what a merge brought, and gives the source back; all or nothing: the target at the version that was
# read, the source as long as it is a part of it, and in time. Thinking of later was signed behind what is left out now.
_PART: Final = text(f"""
WITH {CLOCK}, {LOCKED},
due AS MATERIALIZED (
    SELECT r.id, r.first_seq, r.last_seq, r.before FROM revisions r CROSS JOIN clock
    JOIN locked t ON t.id = :session_id AND t.version = :version AND NOT t.is_held
    JOIN locked o ON o.id = :source_id AND o.merged_into = :session_id
    WHERE r.session_id = :session_id AND r.id = :id AND r.undone_at IS NULL AND r.undo_until > clock.at
),
target AS (
    UPDATE conversation_states s
    SET version = s.version + 1, rewrites = s.rewrites + 1, lease_epoch = s.lease_epoch + 1, lease_expires_at = NULL,
        metadata = CAST(:metadata AS jsonb), usage = CAST(:usage AS jsonb), last_active_at = {USED}, {LOCK}
    FROM due, clock WHERE s.id = :session_id
    RETURNING s.id, s.version, s.lease_epoch, s.rewrites
),
given_back AS (
    UPDATE conversation_states s
    SET version = s.version + 1, lease_epoch = s.lease_epoch + 1, merged_into = NULL, last_active_at = at,
        idle_ttl = CAST(due.before ->> 'idle_ttl' AS integer)
    FROM due, clock WHERE s.id = :source_id
    RETURNING s.id, s.lease_epoch
),
untold AS (
    UPDATE messages m
    SET left_out = m.left_out OR m.seq <= due.last_seq, prefix_digest = CASE WHEN m.seq <= due.last_seq THEN m.prefix_digest END
    FROM target, due WHERE m.session_id = target.id AND m.seq >= due.first_seq
),
uncompacted AS (
    UPDATE compactions c SET left_out = true
    FROM target, due WHERE c.session_id = target.id AND c.upto_seq >= due.first_seq
),
{LISTED},
noted AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action, agent, until, reason, turn_id)
    SELECT target.id, n.at, n.actor, n.user_id, n.action, n.agent, n.until, n.reason, n.turn_id
    FROM target, (
        {LOCK_NOTE.format(place=0)}
        UNION ALL
        SELECT 1, 1, clock.at, 'user', CAST(:user_id AS uuid), 'merge_undone', NULL, NULL, CAST(:source_id AS text), NULL FROM clock
    ) AS n
    ORDER BY n.part, n.id
),
noted_there AS (
    INSERT INTO audit_log (session_id, at, actor, user_id, action, reason)
    SELECT given_back.id, at, 'user', :user_id, 'merge_undone', CAST(:session_id AS text) FROM given_back, clock
),
undone AS (
    UPDATE revisions r SET undone_at = at,
        after = r.after || jsonb_build_object('undone_rewrites', target.rewrites, 'left', CAST(:left AS jsonb))
    FROM target, due, clock WHERE r.session_id = target.id AND r.id = due.id
)
SELECT target.version, target.lease_epoch AS epoch, given_back.lease_epoch AS source_epoch FROM target, given_back
""")


def part(database: Database, parting: Parting, *, now: datetime | None = None) -> Joined | None:
    """None: the target has changed since it was read, or it is undone, or too late, or the source is gone; nothing was
    written.
    """
    given = {
        "id": parting.revision_id,
        "session_id": parting.target.id,
        "version": parting.target.version,
        "source_id": parting.source_id,
        "usage": dump(parting.usage),
        "left": dump(list(parting.left)),
        "lock_reason": "As it stands after a merge was undone.",
        "user_id": parting.by,
        "now": now,
        **named(parting.lock, parting.todos, parting.metadata),
    }
    row = database.row(_PART, given)
    return None if row is None else Joined(**row)
