"""The claim: one statement that decides who answers, and what.

What can go wrong, and why it cannot:

* *Two claims at once.* Both end in an UPDATE of the session's row, which passes only while the lease is free. Postgres
  lets one through; the other waits for the row, looks at it again, and sees a lease that is taken.
* *A claim that waited has read the past.* A statement reads its other tables as they were before it waited for the row.
  So the UPDATE passes only at the version that was read along with them: if anybody committed in between, nothing is
  written, and the caller claims again.
* *The reply to a claim is lost.* The lease is granted to an attempt, by its ID. Sent again, the same attempt takes back
  what it was granted; nobody else knows that ID.
* *The conversation has ended, or its time is over.* Then it is as if it were not there: the device's user gets a new one, and
  the device is moved to it in the same statement. Two at once move it from where they read it to be, so one of them comes
  too late. Whoever meets the old one alive, by a clock that is a moment earlier, has read a version that is counted up here;
  if they were quicker it is counted up there, and nobody is moved.
* *Somebody may not speak there, or their device was signed out.* Then nothing is written, and no row comes back: why, is looked
  up after that. Whoever is put out is put out at a new version of the session's row, so a claim that read the old one writes
  nothing. A device's own conversation that is not there for it any more is left alone, and it begins a new one.
* *The sender has sent too much.* See `rates`: the conversation's row is locked before anything is charged, so a message is
  charged if and only if it is taken.
* *A message comes while the conversation is busy.* The claim writes nothing and tells what stands there; `admissions`
  then puts the message where its policy wants it, at that same version.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import text

from core.access import Caller, Who, named
from core.content import Message
from core.ids import DeviceId, SessionId, TurnId, UserId
from core.store.alive import ALIVE, OWN_TIME
from core.store.database import Database, Row
from core.store.fence import CLOCK
from core.store.holds import (
    FLOOR,
    HISTORY,
    OVERLAY,
    Grant,
    Remembered,
    hold_of,
    read_compaction,
    read_history,
    remembered,
)
from core.store.rates import (
    ADDRESS_CHARGED,
    ADDRESS_HAS_ROOM,
    AHEAD,
    DEVICE_CHARGED,
    DEVICE_HAS_ROOM,
    PURSE,
    RATE,
    Ahead,
    Charge,
    read_ahead,
)
from core.store.spending import OVER, DoorLimits
from core.store.visitors import ASKER, EDITS, HELD_AS, HELD_WITHOUT_LINK
from core.values import dataclass


class Outcome(StrEnum):
    GRANTED = "granted"
    SEEN = "seen"  # this key's turn is there, ended or not
    REUSED = "reused"  # this key came with another body
    BUSY = "busy"  # other turns come first
    OVER = "over"  # a budget is used up
    RATED = "rated"  # too many messages in too short a time
    AGAIN = "again"  # somebody else was at it at the same moment: claim again; without a standing it may be that they may not


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
    on_busy: str = "queue"
    # Its client reads along while it is answered.
    is_followed: bool = False
    # Who sends it, and into which conversation. None: the device, and the one that it is in.
    caller: Caller | None = None
    # Of the network that it came from. None: that is not known.
    address_class: str | None = None

    @property
    def who(self) -> Who:
        return self.caller or self.device_id

    @property
    def is_elsewhere(self) -> bool:
        """It goes into a conversation that it names, and not into the one that its device is in."""
        return self.caller is not None and self.caller.session_id is not None


@dataclass(frozen=True, slots=True)
class OpenTurn:
    id: TurnId
    status: str
    stop: str | None
    begun: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands in the way of a new message, as of a version of the session's row."""

    session_id: SessionId
    version: int
    busy_for_s: float
    turns: tuple[OpenTurn, ...]

    @property
    def is_held(self) -> bool:
        return self.busy_for_s > 0


@dataclass(frozen=True, slots=True)
class Claim:
    outcome: Outcome
    turn_id: TurnId
    standing: Standing | None = None
    grant: Grant | None = None
    # Whose, if one is used up.
    over_budget: str | None = None
    # None: nothing is charged.
    ahead: Ahead | None = None


# Meets the device, finds the key's turn or makes a new one with its message, and takes the lease, all or nothing, while
# the conversation is free and as it was read; where there is none, or none any more, it begins one. Of several at once one is
# granted; nothing is written for the others.
_CLAIM_TEXT: Final = f"""
WITH {CLOCK}, {ASKER},
device AS MATERIALIZED (  -- one row, unless it is barred; one that nobody knows has no user
    SELECT a.user_id, a.token_version, a.rate_at, CAST(:named_session AS uuid) IS NOT NULL AS is_elsewhere,
        a.session_id AS left_id, s.id AS session_id, s.version, s.lease_expires_at, s.lease_holder, {FLOOR} AS floor,
        held.role AS held_as, CASE WHEN held.role IS NOT NULL THEN {ALIVE} END AS is_alive
    FROM asker a CROSS JOIN clock
    LEFT JOIN conversation_states s ON s.id = COALESCE(CAST(:named_session AS uuid), a.session_id)
    CROSS JOIN LATERAL (SELECT %(held)s AS role) AS held
),
known AS MATERIALIZED (
    SELECT session_id, version, lease_expires_at, lease_holder, floor FROM device
    WHERE is_alive AND {EDITS} AND user_id IS NOT NULL
),
overlay AS MATERIALIZED (
    SELECT o.* FROM known k CROSS JOIN LATERAL ({OVERLAY}) o
),
prior AS MATERIALIZED (  -- two look-ups: for an OR, a table without statistics is read through
    SELECT t.id, t.seq, t.status, t.body_digest, t.created_at, t.first_seq, t.joined_to
    FROM turns t JOIN known k ON k.session_id = t.session_id
    WHERE t.idempotency_key = :idempotency_key
    UNION
    SELECT t.id, t.seq, t.status, t.body_digest, t.created_at, t.first_seq, t.joined_to
    FROM turns t JOIN known k ON k.session_id = t.session_id
    WHERE t.id = :turn_id
),
ahead AS MATERIALIZED (
    SELECT t.id, t.seq, t.status, t.stop, t.first_seq
    FROM turns t JOIN known k ON k.session_id = t.session_id
    WHERE t.ended_at IS NULL
),
step AS MATERIALIZED (
    SELECT CASE WHEN EXISTS (SELECT FROM prior) THEN 0 ELSE 1 END AS n
),
%(over)s
open AS MATERIALIZED (  -- what a new message can begin at once%(lock_note)s
    SELECT k.session_id FROM known k CROSS JOIN step CROSS JOIN clock %(lock_from)s
    WHERE n = 1 AND NOT EXISTS (SELECT FROM ahead) AND (k.lease_expires_at IS NULL OR k.lease_expires_at <= at) %(unless)s
    %(lock)s
),
passed_over AS (  -- looked at once more, as it is by now: its time may have been extended without a new version
    UPDATE conversation_states s SET version = s.version + 1, lease_epoch = s.lease_epoch + 1
    FROM device d, clock
    WHERE s.id = d.session_id AND s.version = d.version AND d.held_as IS NOT NULL AND d.is_alive IS NOT TRUE
      AND NOT d.is_elsewhere AND NOT {OWN_TIME} %(unless)s
    RETURNING s.id
),
leaving AS MATERIALIZED (
    SELECT d.left_id FROM device d WHERE d.user_id IS NOT NULL AND d.held_as IS NULL AND NOT d.is_elsewhere %(unless)s
    UNION ALL
    SELECT id FROM passed_over
),
%(purse)s
moved AS (
    UPDATE connections c SET session_id = :session_id %(moved_charged)s
    FROM leaving l, device d, clock
    WHERE c.device_id = :device_id AND c.session_id IS NOT DISTINCT FROM l.left_id
      AND c.user_id = d.user_id AND c.token_version = d.token_version AND c.revoked_at IS NULL %(moved_if)s
    RETURNING c.session_id, c.user_id
),
met AS (
    INSERT INTO connections (device_id, user_id, session_id, created_at %(met_column)s)
    SELECT :device_id, :user_id, :session_id, at %(met_rate)s FROM device d, clock
    WHERE d.user_id IS NULL AND NOT d.is_elsewhere %(met_if)s
    ON CONFLICT (device_id) DO NOTHING
    RETURNING session_id, user_id
),
guest AS (
    INSERT INTO users (id, created_at) SELECT user_id, at FROM met, clock
),
new AS MATERIALIZED (
    SELECT session_id, user_id FROM met UNION ALL SELECT session_id, user_id FROM moved
),
opened AS (
    INSERT INTO conversation_states
        (id, user_id, org_id, session_ttl, idle_ttl, lease_epoch, lease_expires_at, lease_holder, message_seq, turn_seq,
         version, created_at, last_active_at)
    SELECT session_id, user_id, (SELECT u.org_id FROM users u WHERE u.id = new.user_id), :lock_ttl_s, :idle_ttl_s, 1,
        at + make_interval(secs => :lease_ttl_s), :turn_id, 1, 1, 1, at, at
    FROM new, clock
    RETURNING *
),
%(charged)s
taken AS (
    UPDATE conversation_states s
    SET lease_epoch = s.lease_epoch + 1,
        lease_expires_at = at + make_interval(secs => :lease_ttl_s),
        lease_holder = :turn_id,
        message_seq = s.message_seq + n,
        turn_seq = s.turn_seq + n,
        version = s.version + 1,
        last_active_at = at
    FROM known k, step, clock
    WHERE s.id = k.session_id AND s.version = k.version
      AND (%(may_take)s AND (s.lease_expires_at IS NULL OR s.lease_expires_at <= at)
        OR s.lease_holder = :turn_id AND EXISTS (SELECT FROM prior WHERE id = :turn_id AND status = 'running'))
    RETURNING s.*
),
granted AS (
    SELECT * FROM opened UNION ALL SELECT * FROM taken
),
turn AS (
    INSERT INTO turns
        (session_id, id, seq, idempotency_key, body_digest, status, first_seq, last_seq, is_followed, sent_by, created_at)
    SELECT g.id, :turn_id, g.turn_seq, :idempotency_key, :body_digest, 'running', g.message_seq, g.message_seq, :is_followed,
        NULLIF(d.user_id, g.user_id), at
    FROM granted g, device d, step, clock WHERE n = 1
),
message AS (
    INSERT INTO messages (session_id, seq, turn_id, role, content, created_at)
    SELECT g.id, g.message_seq, :turn_id, 'user', :content, at FROM granted g, step, clock WHERE n = 1
)
SELECT
    g.id IS NOT NULL AS granted, w.session_id, w.version,
    COALESCE(EXTRACT(EPOCH FROM w.lease_expires_at - at), 0) AS busy_for_s,
    g.user_id, g.lease_epoch, g.message_seq, g.turn_seq, g.usage, g.rewrites,
    -- What came between a grant and its second sending was not read: so no signal counts as seen.
    CASE WHEN p.id IS NULL THEN g.signal_seq ELSE -1 END AS signal_seq,
    CASE WHEN g.locked_at + make_interval(secs => g.session_ttl) > at THEN g.active_agent END AS active_agent,
    %(scope)s AS over_budget, %(ahead)s, p.id AS prior_id, p.joined_to AS prior_joined_to, p.body_digest AS prior_digest,
    COALESCE(p.seq, g.turn_seq) AS own_seq, COALESCE(p.first_seq, g.message_seq) AS first_seq,
    COALESCE(p.created_at, at) AS turn_created_at,
    (SELECT json_agg(json_build_object('id', a.id, 'status', a.status, 'stop', a.stop, 'begun', a.first_seq IS NOT NULL)
        ORDER BY a.seq) FROM ahead a) AS ahead,
    o.upto_seq, o.content AS compaction,
    ({HISTORY} AND m.session_id = w.session_id AND m.seq > COALESCE(o.upto_seq, w.floor)) AS history
FROM (
    SELECT session_id, version, lease_expires_at, floor FROM known UNION ALL SELECT session_id, 0, NULL, 0 FROM new %(refused)s
) AS w
CROSS JOIN clock LEFT JOIN granted g ON true LEFT JOIN prior p ON true LEFT JOIN overlay o ON true %(with_rate)s
"""


def _claim_text(*, within: bool, rated: bool, linked: bool) -> str:
    """Where budgets are set, nothing is granted to a message whose conversation, user or organisation has none left; and where
    rates are, to one whose sender has no room. What is not set costs nothing.
    """
    reasons = ["EXISTS (SELECT FROM spent_up)"] * within + ["(SELECT is_over FROM rate)"] * rated
    pieces = {
        "over": (RATE if rated else "") + (OVER if within else ""),
        "unless": "".join(f" AND NOT {reason}" for reason in reasons),
        "scope": "(SELECT scope FROM spent_up)" if within else "NULL",
        "refused": f"""UNION ALL SELECT NULL, 0, NULL, 0 FROM device
            WHERE is_alive IS NOT TRUE AND NOT is_elsewhere AND ({" OR ".join(reasons)})"""
        if reasons
        else "",
        "held": HELD_AS if linked else HELD_WITHOUT_LINK,
        "may_take": "EXISTS (SELECT FROM open)",
        "ahead": "false AS is_over_rate",
    }
    return _CLAIM_TEXT % {**_UNCHARGED, **pieces, **(_CHARGED if rated else {})}


_UNCHARGED: Final = dict.fromkeys(
    (
        "lock_note",
        "lock_from",
        "lock",
        "purse",
        "moved_charged",
        "moved_if",
        "met_column",
        "met_rate",
        "met_if",
        "charged",
        "with_rate",
    ),
    "",
)
_CHARGED: Final = {
    "lock_note": ", locked as it was read",
    "lock_from": "JOIN conversation_states s ON s.id = k.session_id AND s.version = k.version",
    "lock": "FOR UPDATE OF s",
    "purse": PURSE
    % "EXISTS (SELECT FROM open) OR EXISTS (SELECT FROM leaving) OR EXISTS (SELECT FROM device WHERE user_id IS NULL)",
    "moved_charged": f", {DEVICE_CHARGED}",
    "moved_if": f"AND {DEVICE_HAS_ROOM} AND {ADDRESS_HAS_ROOM}",
    "met_column": ", rate_at",
    "met_rate": ", at + make_interval(secs => :device_every_s)",
    "met_if": f"AND NOT (SELECT is_over FROM rate) AND {ADDRESS_HAS_ROOM}",
    "charged": f"""
charged AS (
    UPDATE connections c SET {DEVICE_CHARGED}
    FROM open, device d, clock
    WHERE c.device_id = :device_id AND c.user_id = d.user_id AND c.token_version = d.token_version AND c.revoked_at IS NULL
      AND {DEVICE_HAS_ROOM} AND {ADDRESS_HAS_ROOM}
    RETURNING c.device_id
),
{ADDRESS_CHARGED % "EXISTS (SELECT FROM charged) OR EXISTS (SELECT FROM new)"},
""",
    "may_take": "EXISTS (SELECT FROM charged)",
    "ahead": AHEAD,
    "with_rate": "LEFT JOIN rate ON true",
}
# By whether budgets are set, and rates, and whether a link is shown.
_CLAIMS: Final = {
    (within, rated, linked): text(_claim_text(within=within, rated=rated, linked=linked))
    for within in (False, True)
    for rated in (False, True)
    for linked in (False, True)
}
_CLAIM: Final = _CLAIMS[False, False, False]


def claim(
    database: Database,
    arrival: Arrival,
    *,
    lease_ttl_s: float,
    lock_ttl_s: int,
    idle_ttl_s: int,
    known: Remembered | None = None,
    limits: DoorLimits | None = None,
    charge: Charge | None = None,
    now: datetime | None = None,
) -> Claim:
    asked = named(arrival.who)
    row = database.row(
        _CLAIMS[limits is not None, charge is not None, asked["link"] is not None],
        {
            **asked,
            "named_session": asked["session_id"],
            "user_id": arrival.user_id,
            "session_id": arrival.session_id,
            "turn_id": arrival.turn_id,
            "content": arrival.content,
            "body_digest": arrival.body_digest,
            "idempotency_key": arrival.idempotency_key,
            "is_followed": arrival.is_followed,
            "lease_ttl_s": lease_ttl_s,
            "lock_ttl_s": lock_ttl_s,
            "idle_ttl_s": idle_ttl_s,
            "now": now,
            **remembered(known),
            **({} if limits is None else limits.named()),
            **({} if charge is None else charge.named()),
        },
    )
    if row is None:
        return Claim(Outcome.AGAIN, arrival.turn_id)
    ahead = None if charge is None else read_ahead(row)
    if row["granted"]:
        return Claim(Outcome.GRANTED, arrival.turn_id, grant=_granted(row, arrival), ahead=ahead)
    if row["prior_id"] is None and row["over_budget"]:
        return Claim(Outcome.OVER, arrival.turn_id, over_budget=row["over_budget"], ahead=ahead)
    if row["prior_id"] is None and row["is_over_rate"]:
        return Claim(Outcome.RATED, arrival.turn_id, ahead=ahead)
    standing = _standing(row)
    turn_id = TurnId(row["prior_joined_to"] or row["prior_id"] or arrival.turn_id)
    return Claim(_outcome(row, arrival, standing), turn_id, standing, ahead=ahead)


def _outcome(row: Row, arrival: Arrival, standing: Standing) -> Outcome:
    if row["prior_id"] is None:
        return Outcome.BUSY if standing.turns or standing.is_held else Outcome.AGAIN
    return Outcome.SEEN if row["prior_digest"] == arrival.body_digest else Outcome.REUSED


def _standing(row: Row) -> Standing:
    return Standing(
        SessionId(row["session_id"]),
        row["version"],
        float(row["busy_for_s"]),
        tuple(
            OpenTurn(TurnId(UUID(t["id"])), t["status"], t["stop"], t["begun"]) for t in row["ahead"] or ()
        ),
    )


def _granted(row: Row, arrival: Arrival) -> Grant:
    history = read_history(row["history"])
    if row["prior_id"] is None:
        history += (Message.from_client(row["message_seq"], arrival.content),)
    return Grant(
        hold=hold_of(row, arrival.turn_id),
        user_id=UserId(row["user_id"]),
        turn_seq=row["own_seq"],
        turn_created_at=row["turn_created_at"],
        first_seq=row["first_seq"],
        turn_usage={},
        session_usage=row["usage"],
        active_agent=row["active_agent"],
        rewrites=row["rewrites"],
        history=history,
        compaction=read_compaction(row),
        is_followed=arrival.is_followed,
    )
