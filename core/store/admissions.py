"""Admissions: what becomes of a message, or of a wish to stop, that comes while a conversation is busy.

What can go wrong, and why it cannot: the decision was made on what a claim or a look-up read. Each write here names that
version of the session's row; if anybody committed in between, nothing is written, and the caller looks again. So a
message is never put behind a turn that has just ended, and no stop is marked on a turn that is over.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.access import named
from core.content import dump
from core.ids import SessionId, TurnId
from core.store.approvals import WITHDRAWN, WITHDRAWN_BY
from core.store.claims import Arrival
from core.store.database import Database
from core.store.fence import CLOCK
from core.store.rates import (
    ADDRESS_CHARGED,
    ADDRESS_HAS_ROOM,
    DEVICE_CHARGED,
    DEVICE_HAS_ROOM,
    PURSE,
    Charge,
)
from core.store.visitors import ASKER
from core.values import dataclass


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
# committed since the given version, and its sender's device was not signed out. Sent twice it writes once.
_ADMIT_TEXT: Final = f"""
WITH {CLOCK}, {ASKER},
%(charged)s
met AS (
    UPDATE conversation_states s
    SET version = version + 1, turn_seq = turn_seq + 1, last_active_at = at,
        signal_seq = signal_seq + CASE WHEN :signals THEN 1 ELSE 0 END
    FROM clock, %(sender)s a WHERE id = :to_session AND version = :version
    RETURNING turn_seq, NULLIF(a.user_id, s.user_id) AS sent_by
),
replaced AS (
    UPDATE turns SET status = 'cancelled', ended_at = at, input = NULL, error = CAST(:replaced AS jsonb)
    FROM met, clock WHERE session_id = :to_session AND id = ANY(CAST(:replaces AS uuid[]))
),
stopped AS (
    UPDATE turns SET stop = :stop, status = CASE WHEN status = 'waiting' THEN 'queued' ELSE status END
    FROM met WHERE session_id = :to_session AND id = :stops
),
withdrawn AS (
    UPDATE approvals a SET status = 'withdrawn', decided_at = at
    FROM met, clock WHERE session_id = :to_session AND turn_id = :stops AND status = 'pending' AND kind = 'call'
    {WITHDRAWN}
),
{WITHDRAWN_BY.format(actor="user")},
joined AS (
    UPDATE turns SET input = CASE WHEN input IS NULL THEN :content
        ELSE left(input, -1) || ',' || substr(:content, 2) END
    FROM met WHERE session_id = :to_session AND id = :joins
)
INSERT INTO turns
    (session_id, id, seq, idempotency_key, body_digest, status, joined_to, input, is_followed, sent_by, created_at, ended_at)
SELECT :to_session, :turn_id, turn_seq, :idempotency_key, :body_digest,
    CASE WHEN CAST(:joins AS uuid) IS NULL THEN 'queued' ELSE 'joined' END, :joins,
    CASE WHEN CAST(:joins AS uuid) IS NULL THEN :content END, :is_followed, sent_by, at,
    CASE WHEN CAST(:joins AS uuid) IS NOT NULL THEN at END
FROM met, clock
RETURNING id
"""
_ADMIT: Final = text(_ADMIT_TEXT % {"charged": "", "sender": "asker"})
# The same where rates are set: it is charged if there is room. The conversation is locked first, as a claim does it.
_ADMIT_CHARGED: Final = text(
    _ADMIT_TEXT
    % {
        "charged": f"""
open AS MATERIALIZED (
    SELECT s.id FROM conversation_states s WHERE s.id = :to_session AND s.version = :version FOR UPDATE
),
{PURSE % "EXISTS (SELECT FROM open)"}
charged AS (
    UPDATE connections c SET {DEVICE_CHARGED}
    FROM open, asker a, clock
    WHERE c.device_id = :device_id AND c.user_id = a.user_id AND c.token_version = a.token_version AND c.revoked_at IS NULL
      AND {DEVICE_HAS_ROOM} AND {ADDRESS_HAS_ROOM}
    RETURNING c.user_id
),
{ADDRESS_CHARGED % "EXISTS (SELECT FROM charged)"},
""",
        "sender": "charged",
    }
)


def admit(
    database: Database,
    session_id: SessionId,
    version: int,
    arrival: Arrival,
    admission: Admission,
    *,
    steers: bool,
    replaced: dict[str, str],
    charge: Charge | None = None,
    now: datetime | None = None,
) -> bool:
    """False: somebody committed since that version, or the sender has no room left; nothing was written. `steers`: the turn
    that it joins has begun.
    """
    row = database.row(
        _ADMIT if charge is None else _ADMIT_CHARGED,
        {
            **named(arrival.who),
            "to_session": session_id,
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
            **({} if charge is None else charge.named()),
        },
    )
    return row is not None


# Asks turns that have begun to stop, and ends those that have not, all or nothing, if nobody committed since the given version.
STOP: Final = """
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
    FROM met, clock WHERE session_id = met.id AND turn_id = ANY(CAST(:turn_ids AS uuid[])) AND status = 'pending' AND kind = 'call'
    %(withdrawn)s
),
%(withdrawn_by)s,
stopped AS (
    UPDATE turns
    SET stop = COALESCE(stop, 'cancel'), input = CASE WHEN first_seq IS NOT NULL THEN input END,
        status = CASE WHEN first_seq IS NULL THEN 'cancelled' WHEN status = 'waiting' THEN 'queued' ELSE status END,
        ended_at = CASE WHEN first_seq IS NULL THEN at END,
        error = CASE WHEN first_seq IS NULL THEN CAST(:error AS jsonb) END
    FROM met, clock
    WHERE session_id = met.id AND turns.id = ANY(CAST(:turn_ids AS uuid[])) AND turns.ended_at IS NULL
    RETURNING turns.session_id, turns.id, turns.seq
)%(noted)s
SELECT id FROM stopped
"""
_STOP: Final = text(
    STOP % {"withdrawn": WITHDRAWN, "withdrawn_by": WITHDRAWN_BY.format(actor="user"), "noted": ""}
)


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
        "turn_ids": [turn_id],
        "error": dump(error),
        "now": now,
    }
    return database.row(_STOP, given) is not None
