"""Steps: what the holder of a conversation writes in the middle of a turn, one statement each, all under the fence.

What can go wrong, and why it cannot: the reply to a step is lost. Sent again, it finds its message number used up and does
not write twice; `look` tells which it was. What has arrived from outside meanwhile is counted in the answer to each step.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import text

from core.content import dump
from core.store.database import Database, Row
from core.store.fence import CLOCK, FENCE, Reply, named, write
from core.store.holds import Hold
from core.store.locks import NOTED, RELOCK, Relock, named_relock
from core.store.outcomes import ASKED, UNKNOWN
from core.store.spending import GIVEN_BACK, SETTLED
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Stepped:
    message_seq: int
    # More than the holder has seen: something has arrived, and `look` tells what.
    signal_seq: int


# A step renews the lease and takes the next message number; it tells what has arrived from outside.
_STEP: Final = f"""
WITH {CLOCK},
held AS (
    UPDATE conversation_states s
    SET message_seq = message_seq + 1, version = version + 1, usage = CAST(:session_usage AS jsonb),
        lease_expires_at = at + make_interval(secs => :lease_ttl_s) %s
    FROM clock
    WHERE {FENCE} AND message_seq = :message_seq
    RETURNING message_seq, signal_seq, session_ttl, user_id, org_id
),
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A tool call that a reply asks for."""

    id: str
    name: str
    effect: str
    input_digest: str
    # Of the approval that it waits for, if it needs one.
    approval_id: str | None
    # The least that whoever decides over it must be in the conversation.
    approver: str = "owner"


# Appends a reply that the turn goes on from, with its tool calls: those that need nobody's yes are on record as started
# before any of them runs. All or nothing, under the epoch, once.
_REPLY: Final = text(f"""
{_STEP % ""}
reply AS (
    INSERT INTO messages (session_id, seq, turn_id, role, agent, content, prefix_digest, stop_reason, usage, created_at)
    SELECT :session_id, message_seq, :turn_id, 'assistant', :agent, :content, :prefix_digest, :stop_reason,
        CAST(:usage AS jsonb), at
    FROM held, clock
),
asked AS (
    SELECT id, name, effect, input_digest, approval_id, approver
    FROM jsonb_to_recordset(CAST(:calls AS jsonb))
        AS a(id text, name text, effect text, input_digest text, approval_id uuid, approver text)
),
calls AS (
    INSERT INTO tool_calls (session_id, id, turn_id, message_seq, name, effect, status, input_digest, approver, created_at)
    SELECT :session_id, id, :turn_id, message_seq, name, effect,
        CASE WHEN approval_id IS NULL THEN 'started' ELSE 'asked' END, input_digest, approver, at
    FROM held, asked, clock
),
waiting AS (
    INSERT INTO approvals (session_id, id, turn_id, tool_call_id, role, input_digest, status, created_at, expires_at)
    SELECT :session_id, approval_id, :turn_id, id, approver, input_digest, 'pending', at,
        at + make_interval(secs => :approval_ttl_s)
    FROM held, asked, clock WHERE approval_id IS NOT NULL
),
{SETTLED}
turn AS (
    UPDATE turns SET agent = :agent, last_seq = held.message_seq, usage = CAST(:turn_usage AS jsonb), {GIVEN_BACK}
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
        **named(reply),
        "calls": dump(asked),
        "lease_ttl_s": lease_ttl_s,
        "approval_ttl_s": approval_ttl_s,
    }
    return _stepped(write(database, _REPLY, hold, given, now))


# Appends a message of the user's side: the results of tool calls, which are settled by it; and what they change of the
# conversation: who holds it, what is to be done. A person is asked for the outcomes that nobody knows. All or nothing,
# under the epoch, once.
_RESULTS: Final = text(f"""
{_STEP % RELOCK}
results AS (
    INSERT INTO messages (session_id, seq, turn_id, role, content, created_at)
    SELECT :session_id, message_seq, :turn_id, 'user', :content, at FROM held, clock
),
settled AS (
    UPDATE tool_calls c SET status = s.status, result = NULL, ended_at = COALESCE(c.ended_at, at)
    FROM held, clock, jsonb_to_recordset(CAST(:settled AS jsonb)) AS s(id text, status text)
    WHERE c.session_id = :session_id AND c.turn_id = :turn_id AND c.id = s.id
    RETURNING {UNKNOWN}
),
todo AS (
    INSERT INTO todos (session_id, position, content, status, updated_at)
    SELECT :session_id, position, content, status, at
    FROM held, clock, jsonb_to_recordset(CAST(:todos AS jsonb)) AS t(position integer, content text, status text)
    ON CONFLICT (session_id, position)
    DO UPDATE SET content = EXCLUDED.content, status = EXCLUDED.status, updated_at = EXCLUDED.updated_at
),
no_more AS (
    DELETE FROM todos t USING held
    WHERE t.session_id = :session_id AND t.position > jsonb_array_length(CAST(:todos AS jsonb))
),
{NOTED},
unknown AS (
    SELECT * FROM settled WHERE status = 'unknown'
),
{ASKED},
turn AS (
    UPDATE turns SET last_seq = held.message_seq FROM held WHERE session_id = :session_id AND id = :turn_id
)
SELECT message_seq, signal_seq FROM held
""")


@dataclass(frozen=True, slots=True)
class Consequences:
    """What calls change of the conversation itself, beside having results."""

    relock: Relock | None = None
    # The whole list, each with its content and status. None: it stays.
    todos: Sequence[dict[str, str]] | None = None

    def named(self) -> dict[str, object]:
        todos = None if self.todos is None else [{"position": n, **t} for n, t in enumerate(self.todos, 1)]
        return {"todos": None if todos is None else dump(todos), **named_relock(self.relock)}


def append_results(
    database: Database,
    hold: Hold,
    content: str,
    settled: dict[str, str],
    consequences: Consequences,
    *,
    session_usage: str,
    lease_ttl_s: float,
    outcome_ttl_s: int,
    now: datetime | None = None,
) -> Stepped | None:
    """`settled` gives each call's end. None: the epoch or the message number has passed; nothing was written."""
    given = {
        "content": content,
        "settled": dump([{"id": id_, "status": status} for id_, status in settled.items()]),
        "session_usage": session_usage,
        "lease_ttl_s": lease_ttl_s,
        **consequences.named(),
        "outcome_ttl_s": outcome_ttl_s,
    }
    return _stepped(write(database, _RESULTS, hold, given, now))


# Appends what was steered into the turn, as it was read, if nothing more has arrived since. All or nothing, under the
# epoch, once.
_ABSORB: Final = text(f"""
WITH {CLOCK},
held AS (
    UPDATE conversation_states
    SET message_seq = message_seq + 1, version = version + 1, lease_expires_at = at + make_interval(secs => :lease_ttl_s)
    FROM clock
    WHERE {FENCE} AND message_seq = :message_seq AND signal_seq = :signal_seq
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
    return _stepped(write(database, _ABSORB, hold, given, now))


# Takes the conversation from whom the change names, where no message says so; under the epoch, once, and not from anybody
# who was given it meanwhile.
_RELOCK: Final = text(f"""
WITH {CLOCK},
held AS (
    UPDATE conversation_states s
    SET version = version + 1, lease_expires_at = at + make_interval(secs => :lease_ttl_s) {RELOCK}
    FROM clock WHERE {FENCE} AND active_agent = :relock_of
    RETURNING signal_seq, session_ttl
),
{NOTED}
SELECT signal_seq FROM held
""")


def relock(
    database: Database, hold: Hold, change: Relock, *, lease_ttl_s: float, now: datetime | None = None
) -> bool:
    """False: the epoch has passed, or somebody else has it; nothing was written."""
    given = {"lease_ttl_s": lease_ttl_s, **named_relock(change)}
    return write(database, _RELOCK, hold, given, now) is not None


@dataclass(frozen=True, slots=True)
class Renewed:
    signal_seq: int
    # Somebody has come to read along.
    is_followed: bool


# Moves the end of the lease, if the epoch is still the row's; tells what has arrived from outside, and whether somebody reads along.
_RENEW: Final = text(f"""
UPDATE conversation_states
SET lease_expires_at = COALESCE(CAST(:now AS timestamptz), now()) + make_interval(secs => :lease_ttl_s)
WHERE {FENCE}
RETURNING signal_seq, COALESCE((SELECT t.is_followed FROM turns t WHERE t.session_id = :session_id AND t.id = :turn_id), false)
    AS is_followed
""")


def renew(
    database: Database, hold: Hold, *, lease_ttl_s: float, now: datetime | None = None
) -> Renewed | None:
    """None: the epoch has passed."""
    row = write(database, _RENEW, hold, {"lease_ttl_s": lease_ttl_s}, now)
    return None if row is None else Renewed(**row)


# Records that calls are about to run, before they do; under the epoch.
_START: Final = text(f"""
WITH {CLOCK},
held AS (
    UPDATE conversation_states
    SET version = version + 1, lease_expires_at = at + make_interval(secs => :lease_ttl_s)
    FROM clock WHERE {FENCE}
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
    return write(database, _START, hold, {"ids": list(ids), "lease_ttl_s": lease_ttl_s}, now) is not None


# Keeps the result of a call while others of the same message still run; under the epoch. Sent twice it says the same.
_KEEP: Final = text(f"""
WITH {CLOCK},
held AS (
    UPDATE conversation_states
    SET version = version + 1, lease_expires_at = at + make_interval(secs => :lease_ttl_s)
    FROM clock WHERE {FENCE}
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
    return write(database, _KEEP, hold, given, now) is not None


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


def _stepped(row: Row | None) -> Stepped | None:
    return None if row is None else Stepped(**row)
