"""Ends: how a holder lets go of a conversation, one statement each, all under the fence.

What can go wrong, and why it cannot:

* *The reply to a write is lost.* Sent again, an end finds the message number used up or the lease let go of, and does not
  write twice; `steps.look` tells which it was.
* *A stop or a steering message comes in the last moment.* It counts the session's `signal_seq` up under the same row's
  lock. A turn ends only at the count that its holder has seen, so what was accepted before the end is never passed over.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.content import dump
from core.store.alive import EXTENDED
from core.store.approvals import WITHDRAWN, WITHDRAWN_BY
from core.store.database import Database, Row
from core.store.fence import CLOCK, FENCE, Reply, named, write
from core.store.holds import Hold
from core.store.outcomes import ASKED, UNKNOWN
from core.store.spending import GIVEN_BACK, SETTLED
from core.store.used import Used
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Ended:
    ended_at: datetime
    # Later messages have been accepted meanwhile.
    more: bool
    # Of the session's row, with this end.
    version: int


# Stores the reply, settles the turn and frees the conversation, all or nothing, if the epoch and the message number are
# still the row's and nothing has arrived that the holder has not seen. Sent twice it writes once.
_FINISH: Final = text(f"""
WITH {CLOCK},
held AS (
    UPDATE conversation_states s
    SET message_seq = message_seq + 1, version = version + 1, lease_expires_at = NULL, last_active_at = {EXTENDED},
        usage = CAST(:session_usage AS jsonb)
    FROM clock
    WHERE {FENCE} AND message_seq = :message_seq AND signal_seq = :signal_seq
    RETURNING message_seq, turn_seq, version, user_id, org_id
),
{SETTLED}
reply AS (
    INSERT INTO messages
        (session_id, seq, turn_id, role, agent, content, prefix_digest, stop_reason, usage, created_at)
    SELECT :session_id, message_seq, :turn_id, 'assistant', :agent, :content, :prefix_digest, :stop_reason,
        CAST(:usage AS jsonb), at
    FROM held, clock
)
UPDATE turns
SET status = 'completed', agent = :agent, last_seq = held.message_seq, usage = CAST(:turn_usage AS jsonb), ended_at = at,
    {GIVEN_BACK}
FROM held, clock
WHERE session_id = :session_id AND id = :turn_id
RETURNING ended_at, held.turn_seq > seq AS more, held.version
""")


def finish(database: Database, hold: Hold, reply: Reply, *, now: datetime | None = None) -> Ended | None:
    """None: the epoch or the number has passed, or a signal has arrived; nothing was written."""
    return _ended(write(database, _FINISH, hold, named(reply), now))


@dataclass(frozen=True, slots=True)
class Closing:
    """How a turn ends other than by a reply."""

    status: str
    agent: str | None = None
    error: dict[str, str] | None = None
    # From which of its messages on the model is no longer told of the turn.
    left_out_from: int | None = None
    # Calls on record as started that were not, as their holder knows.
    not_run: tuple[str, ...] = ()


# Ends the turn without a reply and frees the conversation, all or nothing, if the epoch is still the row's, the lease is
# not yet let go of, and nothing has arrived that the holder has not seen. Sent twice it writes once.
_CLOSE: Final = text(f"""
WITH {CLOCK},
held AS (
    UPDATE conversation_states s
    SET version = version + 1, lease_expires_at = NULL, last_active_at = {EXTENDED}, usage = CAST(:session_usage AS jsonb),
        rewrites = rewrites + CASE WHEN CAST(:left_out_from AS bigint) IS NULL THEN 0 ELSE 1 END
    FROM clock
    WHERE {FENCE} AND message_seq = :message_seq AND signal_seq = :signal_seq
    RETURNING turn_seq, version, user_id, org_id
),
{SETTLED}
rolled_back AS (
    UPDATE messages m SET left_out = true
    FROM held WHERE m.session_id = :session_id AND m.turn_id = :turn_id AND m.seq >= :left_out_from
),
uncompacted AS (
    UPDATE compactions c SET left_out = true
    FROM held WHERE c.session_id = :session_id AND c.upto_seq >= :left_out_from
),
dropped AS (
    UPDATE tool_calls c SET ended_at = at,
        status = CASE WHEN c.status = 'started' AND c.effect = 'once' AND c.id <> ALL(CAST(:not_run AS text[]))
            THEN 'unknown' ELSE 'dropped' END
    FROM held, clock
    WHERE c.session_id = :session_id AND c.turn_id = :turn_id AND c.status IN ('asked', 'ready', 'started')
    RETURNING {UNKNOWN}
),
unknown AS (  -- and those that were known to be unknown, and not yet told so to the model
    SELECT * FROM dropped WHERE status = 'unknown'
    UNION ALL
    SELECT {UNKNOWN} FROM held, tool_calls c
    WHERE c.session_id = :session_id AND c.turn_id = :turn_id AND c.status = 'unknown' AND NOT EXISTS (
        SELECT FROM approvals a WHERE a.session_id = c.session_id AND a.turn_id = c.turn_id AND a.tool_call_id = c.id
          AND a.kind = 'outcome')
),
{ASKED},
withdrawn AS (
    UPDATE approvals a SET status = 'withdrawn', decided_at = at
    FROM held, clock
    WHERE a.session_id = :session_id AND a.turn_id = :turn_id AND a.status = 'pending' AND a.kind = 'call'
    {WITHDRAWN}
),
{WITHDRAWN_BY.format(actor="turn")}
UPDATE turns
SET status = :status, agent = COALESCE(:agent, agent), error = CAST(:error AS jsonb), ended_at = at,
    usage = CAST(:turn_usage AS jsonb), {GIVEN_BACK}
FROM held, clock
WHERE session_id = :session_id AND id = :turn_id
RETURNING ended_at, held.turn_seq > seq AS more, held.version
""")


def close(
    database: Database,
    hold: Hold,
    closing: Closing,
    *,
    used: Used,
    outcome_ttl_s: int,
    now: datetime | None = None,
) -> Ended | None:
    """None: the epoch has passed, the turn is over already, or a signal has arrived; nothing was written."""
    given = {
        "status": closing.status,
        "agent": closing.agent,
        "error": None if closing.error is None else dump(closing.error),
        "left_out_from": closing.left_out_from,
        "not_run": list(closing.not_run),
        **used.named(),
        "outcome_ttl_s": outcome_ttl_s,
    }
    return _ended(write(database, _CLOSE, hold, given, now))


# Lets go of the conversation in the middle of its turn, for another holder to go on; tool calls that were not run after
# all are ready again. Only if nothing has arrived that the holder has not seen; a decision is such a thing, so none is
# waited for that was made already.
_HAND_OVER: Final = text(f"""
WITH held AS (
    UPDATE conversation_states
    SET version = version + 1, lease_expires_at = NULL, usage = CAST(:session_usage AS jsonb)
    WHERE {FENCE} AND signal_seq = :signal_seq
    RETURNING id, user_id, org_id
),
{SETTLED}
ready AS (
    UPDATE tool_calls c SET status = 'ready'
    FROM held
    WHERE c.session_id = held.id AND c.turn_id = :turn_id AND c.id = ANY(CAST(:not_run AS text[])) AND c.status = 'started'
)
UPDATE turns SET usage = CAST(:turn_usage AS jsonb), {GIVEN_BACK},
    status = CASE WHEN :waits AND EXISTS (
        SELECT FROM approvals a
        WHERE a.session_id = held.id AND a.turn_id = :turn_id AND a.status = 'pending' AND a.kind = 'call')
        THEN 'waiting' ELSE 'queued' END
FROM held WHERE session_id = held.id AND turns.id = :turn_id
RETURNING status
""")


def hand_over(
    database: Database,
    hold: Hold,
    *,
    waits: bool = False,
    not_run: Sequence[str] = (),
    used: Used,
) -> bool:
    """The turn is queued again, or waits for a person if one is still asked. False: the epoch has passed, or a signal has
    arrived.
    """
    given = {
        "waits": waits,
        "not_run": list(not_run),
        **used.named(),
    }
    return write(database, _HAND_OVER, hold, given, None) is not None


# Lets go of the conversation with its turn still running, as a crash would: whoever takes it next counts one.
_GIVE_UP: Final = text(f"""
UPDATE conversation_states SET lease_expires_at = NULL, version = version + 1
WHERE {FENCE}
RETURNING id
""")


def give_up(database: Database, hold: Hold) -> None:
    write(database, _GIVE_UP, hold, {}, None)


def _ended(row: Row | None) -> Ended | None:
    return None if row is None else Ended(row["ended_at"], row["more"], row["version"])
