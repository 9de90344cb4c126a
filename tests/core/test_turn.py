"""The story of a turn where it can go wrong: two at once, a zombie, a lost reply, a dead connection, a dead function.

Each test here fails if the guard that it names is taken out of the statement or the story.
"""

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest

from core.content import dump
from core.deadline import Deadline
from core.errors import DatabaseConflict, IdempotencyKeyReused, SessionBusy
from core.house import House
from core.ids import DeviceId, new_session_id, new_turn_id, new_user_id
from core.store import claims, sessions, turns
from core.store.claims import Arrival, Claim, Grant, Outcome
from core.store.database import ConnectionDied, Database
from core.store.turns import Reply
from core.turn import Turn
from dev.demo_model import DemoModel, Fault
from dev.demo_model import Reply as Scripted
from tests.databases import run

LATER = timedelta(seconds=31)


def arrival(device: UUID, text: str = "Hello", key: str | None = None) -> Arrival:
    return Arrival(
        device_id=DeviceId(device),
        content=dump([{"type": "text", "text": text}]),
        body_digest=text,
        idempotency_key=key,
        turn_id=new_turn_id(),
        session_id=new_session_id(),
        user_id=new_user_id(),
    )


def claim(house: House, arrived: Arrival, *, now: datetime | None = None) -> Claim:
    abandoned = {"code": "turn_abandoned", "detail": "-"}
    return claims.claim(
        house.database, arrived, lease_ttl_s=30, session_ttl_s=86_400, abandoned=abandoned, now=now
    )


def granted(house: House, arrived: Arrival, *, now: datetime | None = None) -> Grant:
    grant = claim(house, arrived, now=now).grant
    assert grant is not None
    return grant


def finish(house: House, grant: Grant, text: str = "Hi.") -> turns.Ended | None:
    reply = Reply("manager", dump([{"type": "text", "text": text}]), "0" * 64, "end_turn", "{}")
    return turns.finish(house.database, grant, reply, turn_usage={}, session_usage={})


def answer(house: House, arrived: Arrival) -> Turn:
    return house.turns.answer(arrived, Deadline.after(20))


def history(url: str) -> list[tuple[int, str, str]]:
    return [
        (seq, role, content)  # the whole conversation of the only session there is
        for seq, role, content in run(
            url, "SELECT seq, role, content::json->0->>'text' FROM messages ORDER BY seq"
        )
    ]


@pytest.fixture
def device() -> UUID:
    return uuid4()


InLine = Callable[[Callable[[], Any], Callable[[], Any]], tuple[Any, Any]]


@pytest.fixture
def in_line(database_url: str) -> InLine:
    """Runs two things that want the session's row, one right behind the other: the second has read before the first commits.

    The row is held until both stand in line for it, which the server shows; nothing is slept for.
    """

    def two(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
        with closing(psycopg2.connect(database_url)) as connection, ThreadPoolExecutor(2) as pool:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT FROM conversation_states FOR UPDATE")
                ahead = pool.submit(first)
                wait_for_locks(database_url, 1)
                behind = pool.submit(second)
                wait_for_locks(database_url, 2)
            return ahead.result(20), behind.result(20)

    return two


def wait_for_locks(url: str, count: int) -> None:
    deadline = Deadline.after(10)
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while len(run(url, waiting)) < count:
        assert deadline.left_s(), "nobody waited for the row"


# ---- the lease


def test_of_many_claims_at_once_one_is_granted(house: House, device: UUID) -> None:
    answer(house, arrival(device))
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda n: claim(house, arrival(device, f"m{n}")), range(8)))
    assert sorted(c.outcome for c in claims) == sorted([Outcome.GRANTED] + [Outcome.BUSY] * 7)


def test_a_refused_claim_writes_nothing(house: House, database_url: str, device: UUID) -> None:
    granted(house, arrival(device, "first"))
    before = run(database_url, "SELECT * FROM conversation_states"), history(database_url)
    assert claim(house, arrival(device, "second")).outcome is Outcome.BUSY
    assert (run(database_url, "SELECT * FROM conversation_states"), history(database_url)) == before
    with pytest.raises(SessionBusy):
        answer(house, arrival(device, "third"))


def test_a_woken_zombie_cannot_finish(house: House, database_url: str, device: UUID) -> None:
    zombie = granted(house, arrival(device, "first", "k"))
    heir = granted(house, arrival(device, "first", "k"), now=datetime.now(UTC) + LATER)
    assert heir.epoch == zombie.epoch + 1
    assert heir.turn_id == zombie.turn_id
    assert finish(house, zombie, "from the zombie") is None
    assert turns.fail(house.database, zombie, agent="manager", error={"code": "x", "detail": "y"}) is None
    turns.release(house.database, zombie)
    assert run(database_url, "SELECT lease_expires_at IS NULL FROM conversation_states") == [(False,)]
    assert finish(house, heir, "from the heir") is not None
    assert finish(house, zombie, "from the zombie") is None
    assert history(database_url) == [(1, "user", "first"), (2, "assistant", "from the heir")]


def test_the_epoch_never_falls_and_outlives_the_lease(house: House, database_url: str, device: UUID) -> None:
    for expected in (1, 2, 3):
        answer(house, arrival(device))
        assert run(database_url, "SELECT lease_epoch, lease_expires_at FROM conversation_states") == [
            (expected, None)
        ]


def test_a_lease_is_not_taken_before_its_time(house: House, device: UUID) -> None:
    begun = datetime.now(UTC)
    granted(house, arrival(device, "first"), now=begun)
    early = claim(house, arrival(device, "second"), now=begun + timedelta(seconds=29.9))
    assert early.outcome is Outcome.BUSY
    assert early.busy_for_s == pytest.approx(0.1, abs=0.01)
    assert (
        claim(house, arrival(device, "second"), now=begun + timedelta(seconds=30)).outcome is Outcome.GRANTED
    )


def test_the_agent_that_holds_the_conversation_is_found_until_its_time_is_over(
    house: House, database_url: str, device: UUID
) -> None:
    answer(house, arrival(device))
    begun = datetime.now(UTC)
    run(
        database_url,
        "UPDATE conversation_states SET active_agent = 'billing', locked_at = %s, session_ttl = 60",
        begun,
    )
    held = granted(house, arrival(device), now=begun + timedelta(seconds=59))
    assert held.active_agent == "billing"
    turns.release(house.database, held)
    assert granted(house, arrival(device), now=begun + timedelta(seconds=60)).active_agent is None


# ---- what a claim read before it waited: a holder that is late, but not yet replaced, commits just before it


def test_a_claim_that_waited_reads_again_what_was_committed_meanwhile(
    house: House, model: DemoModel, database_url: str, device: UUID, in_line: InLine
) -> None:
    holder = granted(house, arrival(device, "first"), now=datetime.now(UTC) - LATER)
    _, second = in_line(
        lambda: finish(house, holder, "Aha."), lambda: answer(house, arrival(device, "second"))
    )
    assert second.status == "completed"
    sent = [message["content"][0]["text"] for message in model.requests[-1].body["messages"]]
    assert sent == ["first", "Aha.", "second"]
    assert [seq for seq, _, _ in history(database_url)] == [1, 2, 3, 4]


def test_a_retry_that_waited_while_its_turn_was_finished_gets_that_turn(
    house: House, model: DemoModel, database_url: str, device: UUID, in_line: InLine
) -> None:
    holder = granted(house, arrival(device, "first", "k"), now=datetime.now(UTC) - LATER)
    _, retry = in_line(
        lambda: finish(house, holder, "Done."), lambda: answer(house, arrival(device, "first", "k"))
    )
    assert (retry.id, retry.status, retry.reply) == (holder.turn_id, "completed", "Done.")
    assert len(model.requests) == 0
    assert run(database_url, "SELECT lease_expires_at FROM conversation_states") == [(None,)], (
        "let go of again"
    )


def test_a_retry_that_waited_while_its_turn_failed_gets_that_turn(
    house: House, model: DemoModel, device: UUID, in_line: InLine
) -> None:
    holder = granted(house, arrival(device, "first", "k"), now=datetime.now(UTC) - LATER)
    error = {"code": "model_billing", "detail": "-"}
    _, retry = in_line(
        lambda: turns.fail(house.database, holder, agent="manager", error=error),
        lambda: answer(house, arrival(device, "first", "k")),
    )
    assert (retry.id, retry.status, retry.error) == (holder.turn_id, "failed", error)
    assert len(model.requests) == 0


def test_two_who_meet_a_new_device_at_once_end_in_one_conversation(
    house: House, database_url: str, device: UUID
) -> None:
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda n: claim(house, arrival(device, f"m{n}")), range(8)))
    assert [c.outcome for c in claims].count(Outcome.GRANTED) == 1
    assert {c.outcome for c in claims} <= {Outcome.GRANTED, Outcome.BUSY, Outcome.AGAIN}
    counts = "SELECT (SELECT count(*) FROM connections), (SELECT count(*) FROM users), (SELECT count(*) FROM conversation_states)"
    assert run(database_url, counts) == [(1, 1, 1)]


def test_a_claim_that_collided_is_tried_again(
    house: House, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Arrival] = []
    real = claims.claim

    def colliding(database: Database, arrived: Arrival, **given: Any) -> Claim:
        tries.append(arrived)
        if len(tries) < 3:
            raise DatabaseConflict
        return real(database, arrived, **given)

    monkeypatch.setattr(claims, "claim", colliding)
    assert answer(house, arrival(device)).status == "completed"
    assert len(tries) == 3
    assert len(set(tries)) == 1, "the same message each time"


# ---- a retry is free


def test_a_retry_gets_the_stored_turn_and_asks_no_model(house: House, model: DemoModel, device: UUID) -> None:
    first = answer(house, arrival(device, "Hello", "k"))
    again = answer(house, arrival(device, "Hello", "k"))
    assert dataclasses.asdict(again) == dataclasses.asdict(first)
    assert len(model.requests) == 1


def test_a_key_with_another_body_is_an_error(house: House, database_url: str, device: UUID) -> None:
    answer(house, arrival(device, "Hello", "k"))
    with pytest.raises(IdempotencyKeyReused):
        answer(house, arrival(device, "Goodbye", "k"))
    assert len(history(database_url)) == 2


def test_thirty_senders_of_one_key_make_one_turn_and_one_bill(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    with ThreadPoolExecutor(30) as pool:
        seen = list(pool.map(lambda _: answer(house, arrival(device, "Hello", "k")), range(30)))
    assert len({turn.id for turn in seen}) == 1
    assert {turn.status for turn in seen} <= {"running", "completed"}
    assert len(model.requests) == 1
    assert len(history(database_url)) == 2


def test_the_same_key_on_another_device_is_another_turn(house: House, device: UUID) -> None:
    assert answer(house, arrival(device, "Hello", "k")).id != answer(house, arrival(uuid4(), "Bye", "k")).id


# ---- a function dies


def test_a_retry_goes_on_with_the_turn_of_a_dead_function(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    dead = granted(house, arrival(device, "My name is Ada.", "k"), now=datetime.now(UTC) - LATER)
    turn = answer(house, arrival(device, "My name is Ada.", "k"))
    assert (turn.id, turn.seq, turn.status) == (dead.turn_id, 1, "completed")
    assert [role for _, role, _ in history(database_url)] == ["user", "assistant"]
    assert [m["role"] for m in model.requests[-1].body["messages"]] == ["user"]


def test_the_next_message_closes_the_turn_of_a_dead_function(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    dead = granted(house, arrival(device, "My name is Ada."), now=datetime.now(UTC) - LATER)
    turn = answer(house, arrival(device, "What is my name?"))
    assert turn.reply is not None
    assert "Ada" in turn.reply
    stored = house.turns.find(DeviceId(device), dead.turn_id)
    assert (stored.status, stored.error and stored.error["code"]) == ("failed", "turn_abandoned")
    assert [seq for seq, _, _ in history(database_url)] == [1, 2, 3]


def test_one_running_turn_a_conversation_whatever_the_lease_says(
    house: House, database_url: str, device: UUID
) -> None:
    granted(house, arrival(device))
    with pytest.raises(psycopg2.errors.UniqueViolation):
        run(
            database_url,
            "INSERT INTO turns SELECT session_id, gen_random_uuid(), seq + 1, NULL, 'd', 'running', NULL, 1, 1 FROM turns",
        )


# ---- the reply to a statement is lost


def _losing_replies(monkeypatch: pytest.MonkeyPatch, fragment: str, times: int) -> list[str]:
    """The statements that hold `fragment` are committed, and then the connection is said to have died."""
    lost: list[str] = []
    real = Database.row

    def row(self: Database, statement: object, parameters: object) -> object:
        result = real(self, statement, parameters)  # type: ignore[arg-type]
        if fragment in str(statement) and len(lost) < times:
            lost.append(fragment)
            raise ConnectionDied
        return result

    monkeypatch.setattr(Database, "row", row)
    return lost


def test_a_claim_whose_reply_was_lost_takes_back_its_own_lease(
    house: House, model: DemoModel, database_url: str, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(house, arrival(device, "first"))
    lost = _losing_replies(monkeypatch, "taken AS", 2)
    assert answer(house, arrival(device, "second")).status == "completed"
    assert len(lost) == 2
    assert [text for _, role, text in history(database_url) if role == "user"] == ["first", "second"]
    assert len(model.requests) == 2


def test_a_finish_whose_reply_was_lost_counts_once(
    house: House, model: DemoModel, database_url: str, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = _losing_replies(monkeypatch, "'assistant'", 1)
    turn = answer(house, arrival(device))
    assert lost
    assert turn.status == "completed"
    assert len(history(database_url)) == 2
    assert len(model.requests) == 1
    session = sessions.find(house.database, DeviceId(device))
    assert session is not None
    assert session.usage["output_tokens"] == turn.usage["output_tokens"], "and is billed once"


def test_a_connection_that_died_while_the_function_was_frozen_costs_nothing(
    house: House, database_url: str, device: UUID
) -> None:
    answer(house, arrival(device))
    ours = "application_name = 'latchkey' AND datname = current_database()"
    assert run(database_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")
    assert answer(house, arrival(device)).status == "completed"


# ---- the model fails


def test_a_failed_turn_says_why_and_does_not_block_the_next(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    model.faults.add(Fault.status(402))
    failed = answer(house, arrival(device, "first", "k"))
    assert (failed.status, failed.reply, failed.error and failed.error["code"]) == (
        "failed",
        None,
        "model_billing",
    )
    assert dataclasses.asdict(answer(house, arrival(device, "first", "k"))) == dataclasses.asdict(failed)
    assert answer(house, arrival(device, "second")).status == "completed"
    assert [role for _, role, _ in history(database_url)] == ["user", "user", "assistant"]


@pytest.mark.parametrize(
    ("scripted", "code"),
    [
        (Scripted("I won't.", stop_reason="refusal"), "model_refused"),
        (Scripted([], stop_reason="end_turn"), "model_said_nothing"),
        (Scripted([{"type": "tool_use", "name": "x", "input": {}}]), "model_stopped_unexpectedly"),
        (Scripted("Wait", stop_reason="pause_turn"), "model_stopped_unexpectedly"),
    ],
)
def test_a_reply_that_cannot_be_stored_fails_the_turn_and_leaves_a_valid_history(
    house: House, model: DemoModel, device: UUID, scripted: Scripted, code: str
) -> None:
    model.replies.add(scripted)
    turn = answer(house, arrival(device))
    assert (turn.status, turn.error and turn.error["code"]) == ("failed", code)
    assert answer(house, arrival(device)).status == "completed"
    assert model.requests[-1].status == 200


@pytest.mark.parametrize("stop_reason", ["max_tokens", "stop_sequence", "model_context_window_exceeded"])
def test_a_reply_that_was_cut_short_is_still_a_reply(
    house: House, model: DemoModel, device: UUID, stop_reason: str
) -> None:
    model.replies.add(Scripted("As far as I", stop_reason=stop_reason))
    assert answer(house, arrival(device)).reply == "As far as I"
    assert answer(house, arrival(device)).status == "completed"


def test_thinking_is_stored_and_a_new_prompt_does_not_break_the_conversation(
    house: House, model: DemoModel, device: UUID
) -> None:
    roster = house.turns.roster
    thinker = dataclasses.replace(roster.manager, thinking=True, max_tokens=4_096)
    for prompt in ("You are one.", "You are one.", "You are another."):
        agent = dataclasses.replace(thinker, prompt=prompt)
        deployed = dataclasses.replace(house.turns, roster=type(roster).of(agent))
        turn = deployed.answer(arrival(device), Deadline.after(20))
        assert turn.status == "completed", turn.error
        assert turn.content[0]["type"] == "thinking"
    thoughts = [
        sum(b["type"] == "thinking" for m in r.body["messages"] for b in m["content"]) for r in model.requests
    ]
    assert thoughts == [0, 1, 0], "sent behind its own prompt, left out behind another"


def test_a_turn_that_another_took_over_answers_with_what_is_stored(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(answer, house, arrival(device, "Hello", "k"))
        try:
            assert model.requests.wait_for(1)
            run(database_url, "UPDATE conversation_states SET lease_expires_at = now() - interval '1 second'")
            heir = answer(house, arrival(device, "Hello", "k"))
        finally:
            gate.set()
        late = slow.result(20)
    assert dataclasses.asdict(late) == dataclasses.asdict(heir)
    assert len(history(database_url)) == 2
