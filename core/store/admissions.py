"""Admissions: what becomes of a message, or of a wish to stop, that comes while a conversation is busy.

What can go wrong, and why it cannot: the decision was made on what a claim or a look-up read. Each write here names that
version of the session's row; if anybody committed in between, nothing is written, and the caller looks again. So a
message is never put behind a turn that has just ended, and no stop is marked on a turn that is over.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.content import dump
from core.ids import SessionId, TurnId
from core.store.approvals import WITHDRAWN, WITHDRAWN_BY
from core.store.claims import Arrival
from core.store.database import Database


@dataclass(frozen=True, slots=True)
class Admission:
    """What a policy decided: each of these may be none."""

    # The open turn that the message becomes a part of.
    joins: TurnId | None = None
    # The waiting turns that it takes the place of.
    replaces: tuple[TurnId, ...] = ()
    # The turn that stops for it, and how.
    stops: TurnId | None = None
    stop: str | None = None


# Files the message as a turn of its own or as part of another, with all that follows from it, all or nothing, if nobody
# committed since the given version. Sent twice it writes once.
_ADMIT: Final = text(f"""
WITH clock AS MATERIALIZED (
    SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at
),
met AS (
    UPDATE conversation_states s
    SET version = version + 1, turn_seq = turn_seq + 1, last_active_at = at,
        signal_seq = signal_seq + CASE WHEN :signals THEN 1 ELSE 0 END
    FROM clock WHERE id = :session_id AND version = :version
    RETURNING turn_seq
),
replaced AS (
    UPDATE turns SET status = 'cancelled', ended_at = at, input = NULL, error = CAST(:replaced AS jsonb)
    FROM met, clock WHERE session_id = :session_id AND id = ANY(CAST(:replaces AS uuid[]))
),
stopped AS (
    UPDATE turns SET stop = :stop, status = CASE WHEN status = 'waiting' THEN 'queued' ELSE status END
    FROM met WHERE session_id = :session_id AND id = :stops
),
withdrawn AS (
    UPDATE approvals a SET status = 'withdrawn', decided_at = at
    FROM met, clock WHERE session_id = :session_id AND turn_id = :stops AND status = 'pending' AND kind = 'call'
    {WITHDRAWN}
),
{WITHDRAWN_BY.format(actor="user")},
joined AS (
    UPDATE turns SET input = CASE WHEN input IS NULL THEN :content
        ELSE left(input, -1) || ',' || substr(:content, 2) END
    FROM met WHERE session_id = :session_id AND id = :joins
)
INSERT INTO turns
    (session_id, id, seq, idempotency_key, body_digest, status, joined_to, input, is_followed, created_at, ended_at)
SELECT :session_id, :turn_id, turn_seq, :idempotency_key, :body_digest,
    CASE WHEN CAST(:joins AS uuid) IS NULL THEN 'queued' ELSE 'joined' END, :joins,
    CASE WHEN CAST(:joins AS uuid) IS NULL THEN :content END, :is_followed, at,
    CASE WHEN CAST(:joins AS uuid) IS NOT NULL THEN at END
FROM met, clock
RETURNING id
""")


def admit(
    database: Database,
    session_id: SessionId,
    version: int,
    arrival: Arrival,
    admission: Admission,
    *,
    steers: bool,
    replaced: dict[str, str],
    now: datetime | None = None,
) -> bool:
    """False: somebody committed since that version; nothing was written. `steers`: the turn that it joins has begun."""
    row = database.row(
        _ADMIT,
        {
            "session_id": session_id,
            "version": version,
            "turn_id": arrival.turn_id,
            "idempotency_key": arrival.idempotency_key,
            "body_digest": arrival.body_digest,
            "content": arrival.content,
            "is_followed": arrival.is_followed,
            "signals": steers or admission.stops is not None,
            "joins": admission.joins,
            "replaces": list(admission.replaces),
            "stops": admission.stops,
            "stop": admission.stop,
            "replaced": dump(replaced),
            "now": now,
        },
    )
    return row is not None


# Asks a begun turn to stop, or ends one that has not begun, if nobody committed since the given version.
_STOP: Final = text(f"""
WITH clock AS MATERIALIZED (
    SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at
),
met AS (
    UPDATE conversation_states
    SET version = version + 1, signal_seq = signal_seq + 1, last_active_at = at
    FROM clock WHERE id = :session_id AND version = :version
    RETURNING id
),
withdrawn AS (
    UPDATE approvals a SET status = 'withdrawn', decided_at = at
    FROM met, clock WHERE session_id = met.id AND turn_id = :turn_id AND status = 'pending' AND kind = 'call'
    {WITHDRAWN}
),
{WITHDRAWN_BY.format(actor="user")}
UPDATE turns
SET stop = COALESCE(stop, 'cancel'), input = CASE WHEN first_seq IS NOT NULL THEN input END,
    status = CASE WHEN first_seq IS NULL THEN 'cancelled' WHEN status = 'waiting' THEN 'queued' ELSE status END,
    ended_at = CASE WHEN first_seq IS NULL THEN at END,
    error = CASE WHEN first_seq IS NULL THEN CAST(:error AS jsonb) END
FROM met, clock
WHERE session_id = met.id AND turns.id = :turn_id AND turns.ended_at IS NULL
RETURNING turns.id
""")


def stop(
    database: Database,
    session_id: SessionId,
    version: int,
    turn_id: TurnId,
    *,
    error: dict[str, str],
    now: datetime | None = None,
) -> bool:
    """False: somebody committed since that version, or the turn is over."""
    given = {
        "session_id": session_id,
        "version": version,
        "turn_id": turn_id,
        "error": dump(error),
        "now": now,
    }
    return database.row(_STOP, given) is not None
