"""Steps: what the holder of a conversation writes, one statement each.

What can go wrong, and why it cannot:

* *A zombie writes.* Each write is chained to an UPDATE of the session's row that names the epoch of the grant. Once
  another was granted, the row says another epoch, the UPDATE matches nothing, and nothing at all is written.
* *The reply to a write is lost.* Sent again, a step finds its message number used up and an end finds the lease let go
  of: neither writes twice. `look` tells which it was.
* *A stop or a steering message comes in the last moment.* It counts the session's `signal_seq` up under the same row's
  lock. A turn ends only at the count that its holder has seen, so what was accepted before the end is never passed over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import TextClause, text

from core.content import dump
from core.store.database import Database, Row
from core.store.holds import Hold


@dataclass(frozen=True, slots=True)
class Stepped:
    message_seq: int
    # More than the holder has seen: something has arrived, and `look` tells what.
    signal_seq: int


# The fence of every write below.
_FENCE: Final = "id = :session_id AND lease_epoch = :epoch AND lease_expires_at IS NOT NULL"

_CLOCK: Final = "clock AS MATERIALIZED (SELECT COALESCE(CAST(:now AS timestamptz), now()) AS at)"

# A step renews the lease and takes the next message number; it tells what has arrived from outside.
_STEP: Final = f"""
WITH {_CLOCK},
held AS (
    UPDATE conversation_states
    SET message_seq = message_seq + 1, version = version + 1, usage = CAST(:session_usage AS jsonb),
        lease_expires_at = at + make_interval(secs => :lease_ttl_s)
    FROM clock
    WHERE {_FENCE} AND message_seq = :message_seq
    RETURNING message_seq, signal_seq
),
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's reply as it is stored, and what the turn and the session have used with it."""

    agent: str
    content: str
    prefix_digest: str
    stop_reason: str
    usage: str
    turn_usage: str
    session_usage: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A tool call that a reply asks for."""

    id: str
    name: str
    effect: str
    input_digest: str
    # Of the approval that it waits for, if it needs one.
    approval_id: str | None


# Appends a reply that the turn goes on from, with its tool calls: those that need nobody's yes are on record as started
# before any of them runs. All or nothing, under the epoch, once.
_REPLY: Final = text(f"""
{_STEP}
reply AS (
    INSERT INTO messages (session_id, seq, turn_id, role, agent, content, prefix_digest, stop_reason, usage, created_at)
    SELECT :session_id, message_seq, :turn_id, 'assistant', :agent, :content, :prefix_digest, :stop_reason,
        CAST(:usage AS jsonb), at
    FROM held, clock
),
asked AS (
    SELECT id, name, effect, input_digest, approval_id
    FROM jsonb_to_recordset(CAST(:calls AS jsonb))
        AS a(id text, name text, effect text, input_digest text, approval_id uuid)
),
calls AS (
    INSERT INTO tool_calls (session_id, id, turn_id, message_seq, name, effect, status, input_digest, created_at)
    SELECT :session_id, id, :turn_id, message_seq, name, effect,
        CASE WHEN approval_id IS NULL THEN 'started' ELSE 'asked' END, input_digest, at
    FROM held, asked, clock
),
waiting AS (
    INSERT INTO approvals (session_id, id, turn_id, tool_call_id, input_digest, status, created_at, expires_at)
    SELECT :session_id, approval_id, :turn_id, id, input_digest, 'pending', at, at + make_interval(secs => :approval_ttl_s)
    FROM held, asked, clock WHERE approval_id IS NOT NULL
),
turn AS (
    UPDATE turns SET agent = :agent, last_seq = held.message_seq, usage = CAST(:turn_usage AS jsonb)
    FROM held WHERE session_id = :session_id AND id = :turn_id
)
SELECT message_seq, signal_seq FROM held
""")


def append_reply(
    database: Database,
    hold: Hold,
    reply: Reply,
    calls: Sequence[Asked],
    *,
    lease_ttl_s: float,
    approval_ttl_s: int,
    now: datetime | None = None,
) -> Stepped | None:
    """None: the epoch or the message number has passed; nothing was written."""
    asked = [{field: getattr(call, field) for field in Asked.__slots__} for call in calls]
    given = {
        **_reply(reply),
        "calls": dump(asked),
        "lease_ttl_s": lease_ttl_s,
        "approval_ttl_s": approval_ttl_s,
    }
    return _stepped(_write(database, _REPLY, hold, given, now))


# Appends a message of the user's side: the results of tool calls, which are settled by it. All or nothing, under the
# epoch, once.
_RESULTS: Final = text(f"""
{_STEP}
results AS (
    INSERT INTO messages (session_id, seq, turn_id, role, content, created_at)
    SELECT :session_id, message_seq, :turn_id, 'user', :content, at FROM held, clock
),
settled AS (
    UPDATE tool_calls c SET status = s.status, result = NULL, ended_at = COALESCE(c.ended_at, at)
    FROM held, clock, jsonb_to_recordset(CAST(:settled AS jsonb)) AS s(id text, status text)
    WHERE c.session_id = :session_id AND c.turn_id = :turn_id AND c.id = s.id
),
turn AS (
    UPDATE turns SET last_seq = held.message_seq FROM held WHERE session_id = :session_id AND id = :turn_id
)
SELECT message_seq, signal_seq FROM held
""")


def append_results(
    database: Database,
    hold: Hold,
    content: str,
    settled: dict[str, str],
    *,
    session_usage: str,
    lease_ttl_s: float,
    now: datetime | None = None,
) -> Stepped | None:
    """`settled` gives each call's end. None: the epoch or the message number has passed; nothing was written."""
    given = {
        "content": content,
        "settled": dump([{"id": id_, "status": status} for id_, status in settled.items()]),
        "session_usage": session_usage,
        "lease_ttl_s": lease_ttl_s,
    }
    return _stepped(_write(database, _RESULTS, hold, given, now))


# Appends what was steered into the turn, as it was read, if nothing more has arrived since. All or nothing, under the
# epoch, once.
_ABSORB: Final = text(f"""
WITH {_CLOCK},
held AS (
    UPDATE conversation_states
    SET message_seq = message_seq + 1, version = version + 1, lease_expires_at = at + make_interval(secs => :lease_ttl_s)
    FROM clock
    WHERE {_FENCE} AND message_seq = :message_seq AND signal_seq = :signal_seq
    RETURNING message_seq, signal_seq
),
said AS (
    INSERT INTO messages (session_id, seq, turn_id, role, content, created_at)
    SELECT :session_id, message_seq, :turn_id, 'user', :content, at FROM held, clock
),
turn AS (
    UPDATE turns SET last_seq = held.message_seq, input = NULL FROM held WHERE session_id = :session_id AND id = :turn_id
)
SELECT message_seq, signal_seq FROM held
""")


def absorb(
    database: Database, hold: Hold, content: str, *, lease_ttl_s: float, now: datetime | None = None
) -> Stepped | None:
    """None: the epoch has passed, or more has arrived; nothing was written."""
    given = {"content": content, "lease_ttl_s": lease_ttl_s}
    return _stepped(_write(database, _ABSORB, hold, given, now))


@dataclass(frozen=True, slots=True)
class Ended:
    ended_at: datetime
    # Later messages have been accepted meanwhile.
    more: bool


# Stores the reply, settles the turn and frees the conversation, all or nothing, if the epoch and the message number are
# still the row's and nothing has arrived that the holder has not seen. Sent twice it writes once.
_FINISH: Final = text(f"""
WITH {_CLOCK},
held AS (
    UPDATE conversation_states
    SET message_seq = message_seq + 1, version = version + 1, lease_expires_at = NULL,
        usage = CAST(:session_usage AS jsonb)
    WHERE {_FENCE} AND message_seq = :message_seq AND signal_seq = :signal_seq
    RETURNING message_seq, turn_seq
),
reply AS (
    INSERT INTO messages
        (session_id, seq, turn_id, role, agent, content, prefix_digest, stop_reason, usage, created_at)
    SELECT :session_id, message_seq, :turn_id, 'assistant', :agent, :content, :prefix_digest, :stop_reason,
        CAST(:usage AS jsonb), at
    FROM held, clock
)
UPDATE turns
SET status = 'completed', agent = :agent, last_seq = held.message_seq, usage = CAST(:turn_usage AS jsonb), ended_at = at
FROM held, clock
WHERE session_id = :session_id AND id = :turn_id
RETURNING ended_at, held.turn_seq > seq AS more
""")


def finish(database: Database, hold: Hold, reply: Reply, *, now: datetime | None = None) -> Ended | None:
    """None: the epoch or the number has passed, or a signal has arrived; nothing was written."""
    return _ended(_write(database, _FINISH, hold, _reply(reply), now))


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
WITH {_CLOCK},
held AS (
    UPDATE conversation_states
    SET version = version + 1, lease_expires_at = NULL, usage = CAST(:session_usage AS jsonb),
        rewrites = rewrites + CASE WHEN CAST(:left_out_from AS bigint) IS NULL THEN 0 ELSE 1 END
    WHERE {_FENCE} AND message_seq = :message_seq AND signal_seq = :signal_seq
    RETURNING turn_seq
),
rolled_back AS (
    UPDATE messages m SET left_out = true
    FROM held WHERE m.session_id = :session_id AND m.turn_id = :turn_id AND m.seq >= :left_out_from
),
dropped AS (
    UPDATE tool_calls c SET ended_at = at,
        status = CASE WHEN c.status = 'started' AND c.effect = 'once' AND c.id <> ALL(CAST(:not_run AS text[]))
            THEN 'unknown' ELSE 'dropped' END
    FROM held, clock
    WHERE c.session_id = :session_id AND c.turn_id = :turn_id AND c.status IN ('asked', 'ready', 'started')
),
withdrawn AS (
    UPDATE approvals a SET status = 'withdrawn', decided_at = at
    FROM held, clock WHERE a.session_id = :session_id AND a.turn_id = :turn_id AND a.status = 'pending'
)
UPDATE turns
SET status = :status, agent = COALESCE(:agent, agent), error = CAST(:error AS jsonb), ended_at = at,
    usage = CAST(:turn_usage AS jsonb)
FROM held, clock
WHERE session_id = :session_id AND id = :turn_id
RETURNING ended_at, held.turn_seq > seq AS more
""")


def close(
    database: Database,
    hold: Hold,
    closing: Closing,
    *,
    turn_usage: str,
    session_usage: str,
    now: datetime | None = None,
) -> Ended | None:
    """None: the epoch has passed, the turn is over already, or a signal has arrived; nothing was written."""
    given = {
        "status": closing.status,
        "agent": closing.agent,
        "error": None if closing.error is None else dump(closing.error),
        "left_out_from": closing.left_out_from,
        "not_run": list(closing.not_run),
        "turn_usage": turn_usage,
        "session_usage": session_usage,
    }
    return _ended(_write(database, _CLOSE, hold, given, now))


# Lets go of the conversation in the middle of its turn, for another holder to go on; tool calls that were not run after
# all are ready again. Only if nothing has arrived that the holder has not seen.
_HAND_OVER: Final = text(f"""
WITH held AS (
    UPDATE conversation_states SET version = version + 1, lease_expires_at = NULL
    WHERE {_FENCE} AND signal_seq = :signal_seq
    RETURNING id
),
ready AS (
    UPDATE tool_calls c SET status = 'ready'
    FROM held
    WHERE c.session_id = held.id AND c.turn_id = :turn_id AND c.id = ANY(CAST(:not_run AS text[])) AND c.status = 'started'
)
UPDATE turns SET status = :status
FROM held WHERE session_id = held.id AND turns.id = :turn_id
RETURNING status
""")


def hand_over(database: Database, hold: Hold, *, waits: bool = False, not_run: Sequence[str] = ()) -> bool:
    """The turn is queued again, or waits for a person. False: the epoch has passed, or a signal has arrived."""
    given = {"status": "waiting" if waits else "queued", "not_run": list(not_run)}
    return _write(database, _HAND_OVER, hold, given, None) is not None


# Lets go of the conversation with its turn still running, as a crash would: whoever takes it next counts one.
_GIVE_UP: Final = text(f"""
UPDATE conversation_states SET lease_expires_at = NULL, version = version + 1
WHERE {_FENCE}
RETURNING id
""")


def give_up(database: Database, hold: Hold) -> None:
    _write(database, _GIVE_UP, hold, {}, None)


# Moves the end of the lease, if the epoch is still the row's; tells what has arrived from outside.
_RENEW: Final = text(f"""
UPDATE conversation_states
SET lease_expires_at = COALESCE(CAST(:now AS timestamptz), now()) + make_interval(secs => :lease_ttl_s)
WHERE {_FENCE}
RETURNING signal_seq
""")


def renew(database: Database, hold: Hold, *, lease_ttl_s: float, now: datetime | None = None) -> int | None:
    """The count of signals. None: the epoch has passed."""
    row = _write(database, _RENEW, hold, {"lease_ttl_s": lease_ttl_s}, now)
    return None if row is None else int(row["signal_seq"])


# Records that calls are about to run, before they do; under the epoch.
_START: Final = text(f"""
WITH {_CLOCK},
held AS (
    UPDATE conversation_states
    SET version = version + 1, lease_expires_at = at + make_interval(secs => :lease_ttl_s)
    FROM clock WHERE {_FENCE}
    RETURNING signal_seq
),
started AS (
    UPDATE tool_calls c SET status = 'started'
    FROM held WHERE c.session_id = :session_id AND c.turn_id = :turn_id AND c.id = ANY(CAST(:ids AS text[]))
)
SELECT signal_seq FROM held
""")


def start_calls(
    database: Database, hold: Hold, ids: Sequence[str], *, lease_ttl_s: float, now: datetime | None = None
) -> bool:
    return _write(database, _START, hold, {"ids": list(ids), "lease_ttl_s": lease_ttl_s}, now) is not None


# Keeps the result of a call while others of the same message still run; under the epoch. Sent twice it says the same.
_KEEP: Final = text(f"""
WITH {_CLOCK},
held AS (
    UPDATE conversation_states
    SET version = version + 1, lease_expires_at = at + make_interval(secs => :lease_ttl_s)
    FROM clock WHERE {_FENCE}
    RETURNING signal_seq
),
kept AS (
    UPDATE tool_calls c SET status = :status, result = :result, ended_at = at
    FROM held, clock WHERE c.session_id = :session_id AND c.turn_id = :turn_id AND c.id = :id
)
SELECT signal_seq FROM held
""")


def keep_result(
    database: Database,
    hold: Hold,
    call_id: str,
    *,
    status: str,
    result: str,
    lease_ttl_s: float,
    now: datetime | None = None,
) -> bool:
    given = {"id": call_id, "status": status, "result": result, "lease_ttl_s": lease_ttl_s}
    return _write(database, _KEEP, hold, given, now) is not None


@dataclass(frozen=True, slots=True)
class Seen:
    """How the conversation and the turn stand, read at once."""

    is_held: bool
    epoch: int
    message_seq: int
    signal_seq: int
    stop: str | None
    input: str | None


_LOOK: Final = text("""
SELECT s.lease_expires_at IS NOT NULL AS is_held, s.lease_epoch AS epoch, s.message_seq, s.signal_seq, t.stop, t.input
FROM conversation_states s JOIN turns t ON t.session_id = s.id
WHERE s.id = :session_id AND t.id = :turn_id
""")


def look(database: Database, hold: Hold) -> Seen | None:
    """None: the conversation is gone."""
    row = database.row(_LOOK, {"session_id": hold.session_id, "turn_id": hold.turn_id})
    return None if row is None else Seen(**row)


def _write(
    database: Database, statement: TextClause, hold: Hold, given: dict[str, Any], now: datetime | None
) -> Row | None:
    named = {field: getattr(hold, field) for field in Hold.__slots__}
    return database.row(statement, {**named, **given, "now": now})


def _reply(reply: Reply) -> dict[str, Any]:
    return {field: getattr(reply, field) for field in Reply.__slots__}


def _stepped(row: Row | None) -> Stepped | None:
    return None if row is None else Stepped(**row)


def _ended(row: Row | None) -> Ended | None:
    return None if row is None else Ended(row["ended_at"], row["more"])
