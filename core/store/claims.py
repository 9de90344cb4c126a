"""The claim: one statement that decides who answers, and what.

What can go wrong, and why it cannot:

* *Two claims at once.* Both end in an UPDATE of the session's row, which passes only while the lease is free. Postgres
  lets one through; the other waits for the row, looks at it again, and sees a lease that is taken.
* *A claim that waited has read the past.* A statement reads its other tables as they were before it waited for the row.
  So a claim returns the version that it read and the version that it got: when they are not neighbours, somebody
  committed in between, and `reload` reads again under the lease.
* *The reply to the claim is lost.* Sent again, it finds the turn that it made by the turn's own ID, and takes back its
  own lease.
* *Two senders use one key.* The unique index refuses the second insert, and with it that whole claim: the caller claims
  again and then finds the first one's turn.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import RowMapping, text

from core.content import Message, dump
from core.errors import TurnNotFound
from core.ids import DeviceId, SessionId, TurnId, UserId
from core.store.database import Database
from core.store.messages import read_history


class Outcome(StrEnum):
    GRANTED = "granted"
    SEEN = "seen"  # this key's turn is there, ended or running elsewhere
    REUSED = "reused"  # this key came with another body
    BUSY = "busy"  # another turn holds the conversation
    AGAIN = "again"  # somebody else met the same new device at the same moment: claim again


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as it came through the door, with the IDs that it gets if it is new."""

    device_id: DeviceId
    content: str
    body_digest: str
    idempotency_key: str | None
    turn_id: TurnId
    session_id: SessionId
    user_id: UserId


@dataclass(frozen=True, slots=True)
class Claim:
    outcome: Outcome
    turn_id: TurnId
    busy_for_s: float
    grant: "Grant | None"


@dataclass(frozen=True, slots=True)
class Grant:
    """The conversation is ours: its turn, its numbers, and its history up to and with the message to be answered."""

    session_id: SessionId
    epoch: int
    turn_id: TurnId
    turn_seq: int
    turn_created_at: datetime
    first_seq: int
    message_seq: int
    active_agent: str | None
    session_usage: dict[str, Any]
    history: tuple[Message, ...]
    stale: bool


_HISTORY: Final = """
    SELECT '[' || string_agg(
        '{"seq":' || m.seq || ',"role":"' || m.role || '","prefix":"' || COALESCE(m.prefix_digest, '')
        || '","content":' || m.content || '}', ',' ORDER BY m.seq) || ']'
    FROM messages m
"""

# Meets the device, finds or makes the turn with its message, and takes the lease, all or nothing. Of several at once
# for one conversation one is granted; nothing is written for the others.
_CLAIM: Final = text(f"""
WITH clock AS MATERIALIZED (
    SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at
),
known AS MATERIALIZED (
    SELECT c.user_id, s.id AS session_id, s.version, s.lease_expires_at
    FROM connections c JOIN conversation_states s ON s.id = c.session_id
    WHERE c.device_id = :device_id
),
met AS (
    INSERT INTO connections (device_id, user_id, session_id, created_at)
    SELECT :device_id, :user_id, :session_id, at FROM clock WHERE NOT EXISTS (SELECT FROM known)
    ON CONFLICT (device_id) DO NOTHING
    RETURNING user_id, session_id
),
guest AS (
    INSERT INTO users (id, created_at) SELECT user_id, at FROM met, clock
),
prior AS MATERIALIZED (  -- two look-ups: for an OR, a table without statistics is read through
    SELECT t.id, t.seq, t.status, t.body_digest, t.created_at, t.first_seq
    FROM turns t JOIN known k ON k.session_id = t.session_id
    WHERE t.idempotency_key = :idempotency_key
    UNION
    SELECT t.id, t.seq, t.status, t.body_digest, t.created_at, t.first_seq
    FROM turns t JOIN known k ON k.session_id = t.session_id
    WHERE t.id = :turn_id
),
step AS MATERIALIZED (
    SELECT CASE WHEN EXISTS (SELECT FROM prior) THEN 0 ELSE 1 END AS n
),
opened AS (
    INSERT INTO conversation_states
        (id, user_id, session_ttl, lease_epoch, lease_expires_at, message_seq, turn_seq, version, created_at, last_active_at)
    SELECT session_id, user_id, :session_ttl_s, 1, at + make_interval(secs => :lease_ttl_s), 1, 1, 1, at, at
    FROM met, clock
    RETURNING *
),
taken AS (
    UPDATE conversation_states s
    SET lease_epoch = s.lease_epoch + 1,
        lease_expires_at = at + make_interval(secs => :lease_ttl_s),
        message_seq = s.message_seq + n,
        turn_seq = s.turn_seq + n,
        version = s.version + 1,
        last_active_at = at
    FROM known k, step, clock
    WHERE s.id = k.session_id
      AND (s.lease_expires_at IS NULL OR s.lease_expires_at <= at OR EXISTS (SELECT FROM prior WHERE id = :turn_id))
      AND NOT EXISTS (SELECT FROM prior WHERE status <> 'running' OR body_digest <> :body_digest)
    RETURNING s.*
),
granted AS (
    SELECT * FROM opened UNION ALL SELECT * FROM taken
),
abandoned AS (
    UPDATE turns t SET status = 'failed', ended_at = at, error = CAST(:abandoned AS jsonb)
    FROM granted g, step, clock
    WHERE t.session_id = g.id AND t.status = 'running' AND n = 1
    RETURNING t.id
),
turn AS (
    INSERT INTO turns (session_id, id, seq, idempotency_key, body_digest, status, first_seq, last_seq, created_at)
    SELECT g.id, :turn_id, g.turn_seq, :idempotency_key, :body_digest, 'running', g.message_seq, g.message_seq, at
    FROM granted g, step, clock, (SELECT count(*) AS n FROM abandoned) AS closed_first
    WHERE step.n = 1 AND closed_first.n >= 0
),
message AS (
    INSERT INTO messages (session_id, seq, turn_id, role, content, created_at)
    SELECT g.id, g.message_seq, :turn_id, 'user', :content, at FROM granted g, step, clock WHERE n = 1
)
SELECT
    g.id IS NOT NULL AS granted, w.session_id, w.version AS version_read, g.version AS version_got,
    EXTRACT(EPOCH FROM w.lease_expires_at - at) AS busy_for_s,
    g.lease_epoch, g.message_seq, g.turn_seq, g.usage,
    CASE WHEN g.locked_at + make_interval(secs => g.session_ttl) > at THEN g.active_agent END AS active_agent,
    p.id AS prior_id, p.seq AS prior_seq, p.body_digest AS prior_digest, p.created_at AS prior_created_at,
    p.first_seq AS prior_first_seq, p.status AS prior_status,
    COALESCE(p.created_at, at) AS turn_created_at,
    ({_HISTORY} WHERE m.session_id = w.session_id) AS history
FROM (
    SELECT session_id, version, lease_expires_at FROM known UNION ALL SELECT session_id, 0, NULL FROM met
) AS w
CROSS JOIN clock LEFT JOIN granted g ON true LEFT JOIN prior p ON true
""")


def claim(
    database: Database,
    arrival: Arrival,
    *,
    lease_ttl_s: int,
    session_ttl_s: int,
    abandoned: dict[str, str],
    now: datetime | None = None,
) -> Claim:
    row = database.row(
        _CLAIM,
        {
            "device_id": arrival.device_id,
            "user_id": arrival.user_id,
            "session_id": arrival.session_id,
            "turn_id": arrival.turn_id,
            "content": arrival.content,
            "body_digest": arrival.body_digest,
            "idempotency_key": arrival.idempotency_key,
            "lease_ttl_s": lease_ttl_s,
            "session_ttl_s": session_ttl_s,
            "abandoned": dump(abandoned),
            "now": now,
        },
    )
    if row is None:
        return Claim(Outcome.AGAIN, arrival.turn_id, 0.0, None)
    return Claim(
        _outcome(row, arrival),
        TurnId(row["prior_id"] or arrival.turn_id),
        float(row["busy_for_s"] or 0.0),
        _grant(row, arrival) if row["granted"] else None,
    )


def _outcome(row: RowMapping, arrival: Arrival) -> Outcome:
    if row["granted"]:
        return Outcome.GRANTED
    if row["prior_id"] is None:
        return Outcome.BUSY
    if row["prior_digest"] != arrival.body_digest:
        return Outcome.REUSED
    return Outcome.SEEN


def _grant(row: RowMapping, arrival: Arrival) -> Grant:
    is_new = row["prior_id"] is None
    history = read_history(row["history"])
    if is_new:
        history += (Message.from_client(row["message_seq"], arrival.content),)
    return Grant(
        session_id=SessionId(row["session_id"]),
        epoch=row["lease_epoch"],
        turn_id=arrival.turn_id if is_new else TurnId(row["prior_id"]),
        turn_seq=row["turn_seq"] if is_new else row["prior_seq"],
        turn_created_at=row["turn_created_at"],
        first_seq=row["message_seq"] if is_new else row["prior_first_seq"],
        message_seq=row["message_seq"],
        active_agent=row["active_agent"],
        session_usage=row["usage"],
        history=history,
        stale=row["version_got"] != row["version_read"] + 1,
    )


# Reads again, under the lease, what the claim may have read too early; nobody else can change it meanwhile.
_RELOAD: Final = text(f"""
SELECT t.status, ({_HISTORY} WHERE m.session_id = t.session_id) AS history
FROM turns t WHERE t.session_id = :session_id AND t.id = :turn_id
""")


@dataclass(frozen=True, slots=True)
class Reloaded:
    still_running: bool
    history: tuple[Message, ...]


def reload(database: Database, session_id: SessionId, turn_id: TurnId) -> Reloaded:
    row = database.row(_RELOAD, {"session_id": session_id, "turn_id": turn_id})
    if row is None:
        raise TurnNotFound
    return Reloaded(row["status"] == "running", read_history(row["history"]))
