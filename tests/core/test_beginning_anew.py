"""A device whose conversation has ended, or whose time is over, is in a new one with its next message, and in one only."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from core.errors import BudgetExceeded, DatabaseConflict
from core.house import House, build_house
from core.ids import DeviceId
from core.settings import Settings, read_settings
from core.store import claims, endings, locks, sessions
from core.store.claims import Arrival, Claim, Outcome
from core.store.locks import LockTtl
from dev.demo_model import DemoModel
from tests.conversations import (
    answer,
    arrival,
    conversations,
    held,
    idle,
    in_the_way,
    join,
    losing_replies,
    row_held,
    sent,
    wait_for_locks,
)
from tests.databases import run
from tests.wire import WireCounter

ENDS = ["its time is over", "it was ended"]
ENDS_AT = "SELECT last_active_at + make_interval(secs => idle_ttl) FROM conversation_states"
PLACES = "SELECT session_id, user_id FROM connections"


def claim(house: House, arrived: Arrival, *, now: datetime | None = None) -> Claim:
    return claims.claim(house.database, arrived, lease_ttl_s=30, lock_ttl_s=86_400, idle_ttl_s=1_800, now=now)


def gone(house: House, url: str, device: UUID, how: str) -> None:
    """Something was said, and the conversation is no more."""
    answer(house, arrival(device, "My name is Ada.", "k"))
    if how == "it was ended":
        assert endings.end(house.database, DeviceId(device)) is not None
    else:
        idle(url)


@pytest.mark.parametrize("how", ENDS)
def test_the_next_message_begins_a_new_one_for_the_same_user(
    house: House, model: DemoModel, database_url: str, device: UUID, how: str
) -> None:
    gone(house, database_url, device, how)
    ((_, user),) = run(database_url, PLACES)
    run(database_url, "UPDATE users SET org_id = id")
    old = conversations(database_url)
    turn = answer(house, arrival(device, "What is my name?"))
    assert (turn.status, turn.seq) == ("completed", 1)
    assert turn.session_id not in old
    assert sent(model) == [("user", ["What is my name?"])], "the model is told of nothing before it"
    assert run(database_url, PLACES) == [(str(turn.session_id), user)]
    new = "SELECT user_id, org_id, lease_epoch, idle_ttl FROM conversation_states WHERE id = %s"
    assert run(database_url, new, str(turn.session_id)) == [(user, user, 1, 1_800)]
    assert run(database_url, "SELECT count(*) FROM users") == [(1,)]
    assert answer(house, arrival(device)).session_id == turn.session_id


@pytest.mark.parametrize("how", ENDS)
def test_it_costs_no_more_statements(model: DemoModel, database_url: str, device: UUID, how: str) -> None:
    given = {"ANTHROPIC_API_KEY": "demo", "ANTHROPIC_BASE_URL": model.url}
    with WireCounter(database_url) as wire:
        house = build_house(read_settings({"DATABASE_URL": wire.url, **given}))
        gone(house, database_url, device, how)
        wire.count.clear()
        assert answer(house, arrival(device)).status == "completed"
        assert (len(wire.count.statements), wire.count.round_trips) == (2, 2)
        house.close()


@pytest.mark.parametrize("how", ENDS)
def test_a_key_of_a_conversation_that_is_gone_is_a_new_message(
    house: House, model: DemoModel, database_url: str, device: UUID, how: str
) -> None:
    gone(house, database_url, device, how)
    again = answer(house, arrival(device, "My name is Ada.", "k"))
    assert (again.status, again.seq) == ("completed", 1)
    assert answer(house, arrival(device, "My name is Ada.", "k")).id == again.id
    assert len(model.requests) == 2


def test_a_session_lives_as_long_as_the_setting_says(
    settings: Settings, database_url: str, device: UUID
) -> None:
    house = build_house(replace(settings, session_ttl_s=7))
    answer(house, arrival(device))
    assert run(database_url, "SELECT idle_ttl FROM conversation_states") == [(7,)]
    house.close()


def test_whoever_has_spent_all_spends_no_more_in_a_new_one(
    settings: Settings, database_url: str, device: UUID
) -> None:
    """Neither of the day of the user nor of that of the organisation."""
    given = {
        "budget_user_micros": 1_000_000,
        "budget_org_micros": 1_000_000,
    }
    house = build_house(replace(settings, **given))  # type: ignore[arg-type]  # all of them are budgets
    for scope in ("user", "org"):
        for how in ENDS:
            gone(house, database_url, device, how)
            run(database_url, "UPDATE users SET org_id = id")
            run(database_url, "DELETE FROM spending")
            run(
                database_url,
                "INSERT INTO spending (scope, id, day, spent_micros) SELECT %s, id, (now() AT TIME ZONE 'UTC')::date, 1000000 FROM users",
                scope,
            )
            before = run(database_url, PLACES), conversations(database_url)
            with pytest.raises(BudgetExceeded):
                answer(house, arrival(device))
            assert (run(database_url, PLACES), conversations(database_url)) == before
            run(database_url, "DELETE FROM spending")
    house.close()


def test_what_the_old_one_had_spent_is_its_own(settings: Settings, database_url: str, device: UUID) -> None:
    house = build_house(replace(settings, budget_session_micros=1_000_000))
    gone(house, database_url, device, "its time is over")
    run(database_url, """UPDATE conversation_states SET usage = '{"cost_micros": 1000000}'""")
    assert answer(house, arrival(device)).status == "completed"
    house.close()


# ---- at once


@pytest.mark.parametrize("how", ENDS)
def test_of_many_at_once_one_begins_it(house: House, database_url: str, device: UUID, how: str) -> None:
    gone(house, database_url, device, how)
    old = conversations(database_url)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: claim(house, arrival(device, f"m{n}")), range(8)))
    assert [c.outcome for c in made].count(Outcome.GRANTED) == 1
    assert {c.outcome for c in made} <= {Outcome.GRANTED, Outcome.BUSY, Outcome.AGAIN}
    assert len(conversations(database_url)) == len(old) + 1
    with ThreadPoolExecutor(8) as pool:
        turns = list(pool.map(lambda n: answer(house, arrival(device, f"n{n}"), 0), range(8)))
    assert len({turn.session_id for turn in turns}) == 1
    assert len(conversations(database_url)) == len(old) + 1


@pytest.mark.parametrize(
    ("how", "held_row"),
    [
        ("it was ended", "SELECT FROM connections FOR UPDATE"),
        ("its time is over", "SELECT FROM connections FOR UPDATE"),
        ("its time is over", "SELECT FROM conversation_states FOR UPDATE"),
    ],
)
def test_whoever_stood_in_line_behind_another_comes_again_and_finds_it(
    house: House, database_url: str, device: UUID, how: str, held_row: str
) -> None:
    gone(house, database_url, device, how)
    old = conversations(database_url)
    with ThreadPoolExecutor(2) as pool:
        with in_the_way(database_url, held_row):
            ahead = pool.submit(claim, house, arrival(device, "first"))
            wait_for_locks(database_url, 1)
            behind = pool.submit(claim, house, arrival(device, "second"))
            wait_for_locks(database_url, 2)
        assert ahead.result(20).outcome is Outcome.GRANTED
        assert behind.result(20).outcome is Outcome.AGAIN
    assert claim(house, arrival(device, "second")).outcome is Outcome.BUSY
    assert len(conversations(database_url)) == len(old) + 1


@pytest.mark.parametrize("by", ["the same device", "a second device in it"])
@pytest.mark.parametrize("quicker", ["who goes on", "who begins anew"])
def test_of_one_who_goes_on_and_one_who_begins_anew_one_comes_too_late(
    house: House, database_url: str, device: UUID, by: str, quicker: str
) -> None:
    """Their clocks are on both sides of the end."""
    answer(house, arrival(device))
    other = device if by == "the same device" else join(database_url, uuid4())
    ((end,),) = run(database_url, ENDS_AT)
    (old,) = conversations(database_url)
    tries = {
        "who goes on": (arrival(other, "on"), end - timedelta(milliseconds=1)),
        "who begins anew": (arrival(device, "anew"), end),
    }
    (slower,) = tries.keys() - {quicker}
    with ThreadPoolExecutor(2) as pool:
        with row_held(database_url):
            ahead = pool.submit(claim, house, tries[quicker][0], now=tries[quicker][1])
            wait_for_locks(database_url, 1)
            behind = pool.submit(claim, house, tries[slower][0], now=tries[slower][1])
            wait_for_locks(database_url, 2)
        assert ahead.result(20).outcome is Outcome.GRANTED
        assert behind.result(20).outcome is Outcome.AGAIN
    begun = [id_ for id_ in conversations(database_url) if id_ != old]
    assert len(begun) == (0 if quicker == "who goes on" else 1)


def test_a_look_that_extends_it_a_moment_before_its_end_keeps_it(
    house: House, database_url: str, device: UUID
) -> None:
    answer(house, arrival(device))
    ((end,),) = run(database_url, ENDS_AT)
    looks = {"who": DeviceId(device), "now": end - timedelta(milliseconds=1)}
    with ThreadPoolExecutor(2) as pool:
        with row_held(database_url):
            ahead = pool.submit(sessions.look, house.database, **looks)
            wait_for_locks(database_url, 1)
            behind = pool.submit(claim, house, arrival(device), now=end)
            wait_for_locks(database_url, 2)
        found = ahead.result(20)
        assert behind.result(20).outcome is Outcome.AGAIN
    assert found is not None
    assert claim(house, arrival(device), now=end).outcome is Outcome.GRANTED
    assert conversations(database_url) == [found.id]


def test_a_question_that_is_asked_a_moment_before_keeps_it(
    house: House, database_url: str, device: UUID
) -> None:
    """As whoever mends a conversation asks it: its own time is over, and another version says that there is a reason now."""
    turn = answer(house, arrival(device))
    idle(database_url)
    with ThreadPoolExecutor(1) as pool:
        with in_the_way(database_url, "UPDATE conversation_states SET version = version + 1") as also:
            behind = pool.submit(claim, house, arrival(device))
            wait_for_locks(database_url, 1)
            also(
                "INSERT INTO approvals (session_id, id, turn_id, tool_call_id, kind, input_digest, status, expires_at) "
                "SELECT session_id, id, id, 'c', 'outcome', 'd', 'pending', now() + interval '1 hour' FROM turns"
            )
        assert behind.result(20).outcome is Outcome.AGAIN
    assert answer(house, arrival(device)).session_id == turn.session_id


@pytest.mark.parametrize("what", ["a look", "a lock that is set", "a lock that is cleared"])
def test_what_another_has_passed_over_does_not_live_on(
    house: House, database_url: str, device: UUID, what: str
) -> None:
    answer(house, arrival(device))
    house.sessions.set_session_lock(DeviceId(device), "manager")
    ((end,),) = run(database_url, ENDS_AT)
    (old,) = conversations(database_url)
    db, id_, just = house.database, DeviceId(device), end - timedelta(milliseconds=1)
    ttl = LockTtl(None, None, 60)
    uses = {
        "a look": lambda: sessions.look(db, id_, now=just),
        "a lock that is set": lambda: locks.set_lock(db, id_, "x", ttl, actor="me", reason=None, now=just),
        "a lock that is cleared": lambda: locks.clear_lock(db, id_, actor="me", reason=None, now=just),
    }
    with ThreadPoolExecutor(2) as pool:
        with row_held(database_url):
            ahead = pool.submit(claim, house, arrival(device), now=end)
            wait_for_locks(database_url, 1)
            behind = pool.submit(uses[what])
            wait_for_locks(database_url, 2)
        assert ahead.result(20).outcome is Outcome.GRANTED
        if what == "a look":
            seen = behind.result(20)
            assert seen is not None
            assert seen.expires_at == end, "as it was read, a moment before"
        else:
            with pytest.raises(DatabaseConflict):
                behind.result(20)
    at = "SELECT last_active_at + make_interval(secs => idle_ttl), active_agent FROM conversation_states WHERE id = %s"
    assert run(database_url, at, str(old)) == [(end, "manager")]


def test_a_claim_that_meets_the_clean_up_comes_again(house: House, database_url: str, device: UUID) -> None:
    gone(house, database_url, device, "its time is over")
    message = arrival(device)
    with ThreadPoolExecutor(1) as pool:
        with in_the_way(database_url, "DELETE FROM conversation_states"):
            waiting = pool.submit(claim, house, message)
            wait_for_locks(database_url, 1)
        assert waiting.result(20).outcome is Outcome.AGAIN
    assert claim(house, message).outcome is Outcome.GRANTED
    assert conversations(database_url) == [message.session_id]


def test_a_claim_that_meets_an_end_begins_anew(house: House, database_url: str, device: UUID) -> None:
    """It found the conversation alive, and stood in line behind whoever ended it."""
    answer(house, arrival(device))
    with ThreadPoolExecutor(1) as pool:
        with in_the_way(database_url, "DELETE FROM conversation_states"):
            waiting = pool.submit(answer, house, arrival(device))
            wait_for_locks(database_url, 1)
        turn = waiting.result(20)
    assert (turn.status, turn.seq) == ("completed", 1)
    assert conversations(database_url) == [turn.session_id]


@pytest.mark.parametrize("how", ENDS)
def test_a_beginning_whose_reply_was_lost_is_one_beginning(
    house: House,
    model: DemoModel,
    database_url: str,
    device: UUID,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    gone(house, database_url, device, how)
    old = conversations(database_url)
    lost = losing_replies(monkeypatch, claims._CLAIM, 2)
    turn = answer(house, arrival(device, "And now?"))
    assert len(lost) == 2
    assert (turn.status, turn.seq) == ("completed", 1)
    assert len(conversations(database_url)) == len(old) + 1
    said = "SELECT count(*) FROM messages WHERE session_id = %s"
    assert run(database_url, said, str(turn.session_id)) == [(2,)]
    assert len(model.requests) == 2


def test_a_second_device_begins_one_of_its_own(house: House, database_url: str, device: UUID) -> None:
    gone(house, database_url, device, "its time is over")
    other = join(database_url, uuid4())
    first, second = answer(house, arrival(device)), answer(house, arrival(other))
    assert first.session_id != second.session_id
    assert run(database_url, "SELECT count(DISTINCT user_id) FROM conversation_states") == [(1,)]


def test_a_holder_keeps_it_alive(house: House, database_url: str, device: UUID) -> None:
    holding = held(house, arrival(device, "first"))
    idle(database_url)
    waiting = claim(house, arrival(device, "second"), now=datetime.now(UTC))
    assert waiting.outcome is Outcome.BUSY
    assert waiting.standing is not None
    assert waiting.standing.session_id == holding.hold.session_id
