"""No surprise bill: what a call may cost is reserved before it, settled after it, and refused clearly beyond the limit."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from starlette.testclient import TestClient

from core.agents.refusal import WrongDeclaration
from core.agents.roster import Roster
from core.budgets import most_of
from core.compaction import Window
from core.content import Message, dump
from core.conversation import Conversation
from core.errors import LatchkeyError
from core.holding import HoldLost
from core.house import House, build_house
from core.ids import DeviceId
from core.settings import Settings, SettingsError, read_settings
from core.shown import Turn
from core.store import claims, ends, spending
from core.store.claims import Outcome
from core.store.database import Database
from core.store.used import Amount, Used
from dev.demo_model import DemoModel, Fault, Reply
from functions.app import build_app
from tests.agents import Workshop, call
from tests.conversations import (
    answer,
    arrival,
    expire,
    held,
    losing_replies,
    refusals,
    row_held,
    taken,
    until,
    wait_for_locks,
)
from tests.databases import run

# A plain turn with the demo model costs far less than a cent; the most that one can cost is about four.
MANY = 1_000_000


@pytest.fixture
def roster(shop: Workshop) -> Roster:
    return shop.roster()


def built(settings: Settings, roster: Roster, **budgets: int) -> House:
    return build_house(replace(settings, **budgets), roster)  # type: ignore[arg-type]  # all of them are budgets


@pytest.fixture
def house(settings: Settings, roster: Roster, model: DemoModel) -> Iterator[House]:
    """Its users may spend a dollar a day."""
    made = built(settings, roster, budget_user_micros=MANY)
    yield made
    made.close()
    assert refusals(model) == []


def day(url: str, scope: str = "user") -> tuple[int, int, int, int]:
    """Spent and reserved, in micro-dollars and tokens, of all days and users."""
    columns = ("spent_micros", "spent_tokens", "reserved_micros", "reserved_tokens")
    sums = ", ".join(f"COALESCE(sum({column}), 0)::bigint" for column in columns)
    ((found),) = run(url, f"SELECT {sums} FROM spending WHERE scope = '{scope}'")
    return tuple(found)


def spent(url: str) -> int:
    """By what is kept with the conversations."""
    ((micros,),) = run(
        url, "SELECT COALESCE(sum((usage ->> 'cost_micros')::bigint), 0)::bigint FROM conversation_states"
    )
    return int(micros)


def code(turn: Turn) -> str | None:
    return turn.error["code"] if turn.error else None


def least_call(house: House, text: str = "Hello") -> Amount:
    told = Conversation([Message.from_client(1, dump([{"type": "text", "text": text}]))])
    return most_of(house.turns.asking.prompt(house.turns.roster.manager, told))


def test_what_was_spent_is_charged_and_nothing_stays_reserved(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    assert answer(house, arrival(device)).status == "completed"
    first = spent(database_url)
    assert day(database_url)[0] == first > 0
    model.replies.add(Reply(call("peek")), Reply(call("pay", "post")))
    assert answer(house, arrival(device)).status == "completed"
    assert day(database_url)[0] == spent(database_url) > first
    assert day(database_url)[2:] == (0, 0)
    ((tokens,),) = run(
        database_url,
        "SELECT (SELECT sum(v::bigint) FROM jsonb_each_text(usage) AS e(k, v) WHERE k <> 'cost_micros')::bigint FROM conversation_states",
    )
    assert day(database_url)[1] == tokens
    assert run(database_url, "SELECT sum(reserved_micros)::bigint, count(reservation) FROM turns") == [(0, 0)]


def test_while_the_model_answers_the_most_that_it_can_cost_is_reserved(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        turn = pool.submit(answer, house, arrival(device))
        assert model.requests.wait_for(1)
        most = least_call(house)
        assert day(database_url)[2:] == (most.micros, most.tokens)
        gate.set()
        assert turn.result(20).status == "completed"
    assert 0 < day(database_url)[0] <= most.micros
    assert day(database_url)[2:] == (0, 0)


def test_of_many_at_once_only_as_many_ask_as_there_is_money_for(
    settings: Settings, roster: Roster, model: DemoModel, database_url: str
) -> None:
    """Ten conversations of one user, each on its own device; the day has room for three calls."""
    probe = built(settings, roster)
    most = least_call(probe).micros
    probe.close()
    house = built(settings, roster, budget_user_micros=3 * most)
    devices = [uuid4() for _ in range(10)]
    for device in devices:
        held(house, arrival(device))
    ((user,),) = run(database_url, "SELECT id FROM users LIMIT 1")
    run(database_url, f"UPDATE conversation_states SET user_id = '{user}', lease_expires_at = NULL")
    run(database_url, f"UPDATE connections SET user_id = '{user}'")
    run(database_url, "UPDATE turns SET status = 'queued'")
    gate = threading.Event()
    model.faults.add(*[Fault.gate(gate) for _ in range(10)])
    sessions = [session for (session,) in run(database_url, "SELECT id FROM conversation_states")]
    with ThreadPoolExecutor(10) as pool:
        working = [pool.submit(house.turns.work, UUID(session)) for session in sessions]  # type: ignore[arg-type]
        refused = "SELECT count(*) FROM turns WHERE status = 'failed'"
        until(lambda: run(database_url, refused) == [(7,)])
        assert model.requests.wait_for(3)
        assert model.requests.total == 3
        gate.set()
        for work in working:
            work.result(20)
    assert run(
        database_url, "SELECT status, error ->> 'code', count(*) FROM turns GROUP BY 1, 2 ORDER BY 1"
    ) == [
        ("completed", None, 3),
        ("failed", "user_budget_exceeded", 7),
    ]
    assert day(database_url)[0] == spent(database_url) <= 3 * most
    assert day(database_url)[2:] == (0, 0)
    house.close()


def test_a_function_that_died_after_it_asked_has_spent_what_it_reserved(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    """It may have been billed. The turn goes on with a reservation of its own, and the conversation's usage is what is known."""
    holding = held(house, arrival(device, key="k"))
    asking = house.turns.asking
    prompt = asking.prompt(house.turns.roster.manager, holding.conversation)
    asking._afford(holding, prompt)
    most = most_of(prompt)
    assert day(database_url)[2:] == (most.micros, most.tokens)
    expire(database_url)
    turn = answer(house, arrival(device, key="k"))
    assert turn.status == "completed"
    assert day(database_url)[0] == most.micros + spent(database_url)
    assert day(database_url)[1] > most.tokens
    assert day(database_url)[2:] == (0, 0)


def test_one_that_ends_without_asking_again_settles_it_as_well(
    settings: Settings, roster: Roster, device: UUID, database_url: str
) -> None:
    house = built(settings, roster, budget_user_micros=MANY, most_crashes=1)
    holding = held(house, arrival(device, key="k"))
    most = least_call(house)
    holding.reserve(most)
    expire(database_url)
    assert code(answer(house, arrival(device, key="k"))) == "turn_crashed"
    assert day(database_url) == (most.micros, most.tokens, 0, 0)
    house.close()


@pytest.mark.parametrize("which", ["reserve", "finish"])
def test_a_statement_whose_reply_was_lost_counts_once(
    house: House,
    model: DemoModel,
    device: UUID,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    which: str,
) -> None:
    answer(house, arrival(device))
    lost = losing_replies(monkeypatch, spending._RESERVE if which == "reserve" else ends._FINISH)
    assert answer(house, arrival(device)).status == "completed"
    assert lost
    assert day(database_url)[0] == spent(database_url)
    assert day(database_url)[2:] == (0, 0)


def test_a_reservation_that_is_taken_back_for_another_is_made_again(
    house: House, device: UUID, database_url: str
) -> None:
    """Somebody has the organisation's day and wants the user's, while it has the user's and wants the organisation's."""
    holding = held(house, arrival(device))
    run(database_url, "UPDATE users SET org_id = gen_random_uuid()")
    run(
        database_url, "UPDATE conversation_states s SET org_id = u.org_id FROM users u WHERE u.id = s.user_id"
    )
    holding.reserve(Amount(10, 10))
    a_day = "UPDATE spending SET spent_micros = spent_micros + 1 WHERE scope = %s"
    with ThreadPoolExecutor(1) as pool, closing(psycopg2.connect(database_url)) as other:
        with other, other.cursor() as cursor:
            # So that it is not this one that is taken back.
            cursor.execute("SET deadlock_timeout = '20s'")
            cursor.execute(a_day, ("org",))
            reserving = pool.submit(holding.reserve, Amount(20, 20))
            wait_for_locks(database_url, 1)
            cursor.execute(a_day, ("user",))
        assert {total.scope: total.amount.micros for total in reserving.result(20)} == {"user": 21, "org": 21}


def test_a_reservation_that_overtakes_its_own_first_sending_counts_once(
    house: House, device: UUID, database_url: str
) -> None:
    """Both wait for the session's row. The second has read the turn as it was before the first."""
    hold = held(house, arrival(device)).hold
    used, attempt = Used("{}", "{}", Amount(5, 5), charges=True, inherits=True), UUID(int=9)

    def reserve() -> object:
        return spending.reserve(house.database, hold, Amount(70, 7), used, attempt, lease_ttl_s=30)

    with ThreadPoolExecutor(2) as pool:
        with row_held(database_url):
            sent = [pool.submit(reserve)]
            wait_for_locks(database_url, 1)
            sent.append(pool.submit(reserve))
            wait_for_locks(database_url, 2)
        assert [len(one.result(20)) for one in sent] == [1, 1]  # type: ignore[arg-type]  # a list of totals each
    assert day(database_url) == (5, 5, 70, 7)
    assert run(database_url, "SELECT reserved_micros, reserved_tokens FROM turns") == [(70, 7)]


def test_a_zombie_reserves_nothing(house: House, device: UUID, database_url: str) -> None:
    zombie = held(house, arrival(device))
    expire(database_url)
    heir = taken(house, zombie.hold.session_id)
    heir.reserve(Amount(10, 10))
    before = day(database_url)
    with pytest.raises(HoldLost):
        zombie.reserve(Amount(1_000, 1_000))
    assert day(database_url) == before == (0, 0, 10, 10)


def test_tries_that_came_to_nothing_are_charged(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    model.faults.add(Fault.cut(after=3))
    turn = answer(house, arrival(device))
    assert turn.status == "completed"
    assert model.requests.total == 2
    assert day(database_url)[0] == turn.usage["cost_micros"] == spent(database_url)
    ((of_the_reply,),) = run(
        database_url, "SELECT usage ->> 'input_tokens' FROM messages WHERE role = 'assistant'"
    )
    assert turn.usage["input_tokens"] + turn.usage["cache_creation_input_tokens"] > int(of_the_reply)


def test_a_summary_is_charged_once(house: House, model: DemoModel, device: UUID, database_url: str) -> None:
    """It is committed with what it cost, and so is the answer behind it, with nothing of that again."""
    house.turns.limits = replace(house.turns.limits, window=Window(messages=4))
    for _ in range(4):
        assert answer(house, arrival(device)).status == "completed"
    assert run(database_url, "SELECT count(*) > 0 FROM compactions") == [(True,)]
    assert day(database_url)[0] == spent(database_url)
    assert day(database_url)[2:] == (0, 0)


# ---- over budget: at the door, and in the middle


def client_of(house: House, device: UUID) -> TestClient:
    return TestClient(build_app(house, one_at_a_time=False), headers={"X-Device-ID": str(device)})


def spend(url: str, scope: str, micros: int, tokens: int = 0) -> None:
    column = "user_id" if scope == "user" else "org_id"
    run(
        url,
        f"INSERT INTO spending (scope, id, day, spent_micros, spent_tokens) "
        f"SELECT '{scope}', {column}, (now() AT TIME ZONE 'UTC')::date, {micros}, {tokens} FROM conversation_states "
        "ON CONFLICT (scope, id, day) DO UPDATE SET spent_micros = EXCLUDED.spent_micros, spent_tokens = EXCLUDED.spent_tokens",
    )


@pytest.mark.parametrize(
    ("scope", "budget", "column"),
    [
        ("session", "budget_session_micros", "micros"),
        ("session", "budget_session_tokens", "tokens"),
        ("user", "budget_user_micros", "micros"),
        ("user", "budget_user_tokens", "tokens"),
        ("org", "budget_org_micros", "micros"),
        ("org", "budget_org_tokens", "tokens"),
    ],
)
def test_over_budget_is_refused_at_the_door_and_stores_nothing(
    settings: Settings,
    roster: Roster,
    model: DemoModel,
    device: UUID,
    database_url: str,
    scope: str,
    budget: str,
    column: str,
) -> None:
    house = built(settings, roster, **{budget: MANY})
    with client_of(house, device) as client:
        first = client.post("/v1/turns", json={"message": "Hello"}, headers={"Idempotency-Key": "first"})
        assert first.json()["status"] == "completed"
        run(database_url, "UPDATE users SET org_id = gen_random_uuid()")
        run(
            database_url,
            "UPDATE conversation_states s SET org_id = u.org_id FROM users u WHERE u.id = s.user_id",
        )
        if scope == "session":
            kind = "cost_micros" if column == "micros" else "cache_read_input_tokens"
            run(database_url, f"UPDATE conversation_states SET usage = usage || '{{\"{kind}\": {MANY}}}'")
        else:
            spend(database_url, scope, **{column: MANY, **({"micros": 0} if column == "tokens" else {})})
        before = run(database_url, "SELECT count(*) FROM turns")
        asked = model.requests.total
        for on_busy in ("queue", "steer"):
            refused = client.post("/v1/turns", json={"message": "More", "on_busy": on_busy})
            assert (refused.status_code, refused.json()["code"]) == (402, f"{scope}_budget_exceeded")
            assert ("Retry-After" in refused.headers) is (scope != "session")
        assert run(database_url, "SELECT count(*) FROM turns") == before
        assert model.requests.total == asked
        again = client.post("/v1/turns", json={"message": "Hello"}, headers={"Idempotency-Key": "first"})
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    house.close()


@pytest.mark.parametrize("scope", ["session", "user", "org"])
@pytest.mark.parametrize("unit", ["micros", "tokens"])
def test_what_is_left_must_do_for_an_answer(
    settings: Settings,
    roster: Roster,
    model: DemoModel,
    device: UUID,
    database_url: str,
    scope: str,
    unit: str,
) -> None:
    """Or each message would be taken, stored, and fail."""
    house = built(settings, roster, **{f"budget_{scope}_{unit}": MANY})
    least = house.turns.reception.budgets.least
    room = MANY - getattr(least, unit)
    answer(house, arrival(device))
    run(database_url, "UPDATE users SET org_id = id")
    run(database_url, "UPDATE conversation_states SET org_id = user_id")
    for used, taken_ in ((room, True), (room + 1, False)):
        if scope == "session":
            kind = "cost_micros" if unit == "micros" else "cache_read_input_tokens"
            others = ["input_tokens", "output_tokens", "cache_creation_input_tokens"]
            usage = dump({kind: used} | {other: 0 for other in others if unit == "tokens"})
            run(database_url, f"UPDATE conversation_states SET usage = usage || '{usage}'")
        else:
            run(database_url, "DELETE FROM spending")
            spend(database_url, scope, **{unit: used, **({"micros": 0} if unit == "tokens" else {})})
        claim = claims.claim(
            house.database,
            arrival(device, "more"),
            lease_ttl_s=0.001,
            lock_ttl_s=60,
            idle_ttl_s=1_800,
            limits=house.turns.reception.budgets.at_the_door(),
        )
        assert (claim.outcome is not Outcome.OVER) is taken_
        run(database_url, "UPDATE turns SET status = 'completed', ended_at = now()")
    house.close()


def test_a_budget_that_no_answer_fits_into_is_refused_at_start(settings: Settings, roster: Roster) -> None:
    with pytest.raises(
        WrongDeclaration, match=r"no agent can answer within BUDGET_TURN_USD .*accepted: more than"
    ):
        built(settings, roster, budget_turn_micros=10)
    with pytest.raises(WrongDeclaration, match="BUDGET_USER_DAY_TOKENS"):
        built(settings, roster, budget_user_tokens=10)


def test_yesterdays_spending_and_others_do_not_count(house: House, device: UUID, database_url: str) -> None:
    answer(house, arrival(device))
    spend(database_url, "user", MANY)
    run(database_url, "UPDATE spending SET day = day - 1")
    assert answer(house, arrival(device)).status == "completed"
    spend(database_url, "user", MANY)
    run(database_url, "UPDATE spending SET id = gen_random_uuid()")
    assert answer(house, arrival(device)).status == "completed"


def test_a_busy_conversation_is_refused_too(house: House, device: UUID, database_url: str) -> None:
    held(house, arrival(device))
    spend(database_url, "user", MANY)
    with pytest.raises(LatchkeyError) as refused:
        answer(house, arrival(device, "more"), 0)
    assert refused.value.code == "user_budget_exceeded"
    assert run(database_url, "SELECT count(*) FROM turns") == [(1,)]


@pytest.mark.parametrize(
    ("budget", "code_"),
    [
        ("budget_turn_micros", "turn_budget_exceeded"),
        ("budget_session_micros", "session_budget_exceeded"),
        ("budget_user_micros", "user_budget_exceeded"),
    ],
)
def test_a_turn_in_progress_stops_gracefully_before_a_call_that_it_cannot_afford(
    settings: Settings,
    roster: Roster,
    model: DemoModel,
    device: UUID,
    database_url: str,
    shop: Workshop,
    budget: str,
    code_: str,
) -> None:
    """The first call is dear, its tool has run, and the second call would be beyond the limit."""
    probe = built(settings, roster)
    most = least_call(probe).micros
    probe.close()
    house = built(settings, roster, **{budget: 2 * most})
    model.replies.add(Reply(call("post"), usage={"output_tokens": 8_000}))
    turn = answer(house, arrival(device))
    assert (turn.status, code(turn)) == ("failed", code_)
    assert turn.tool_calls[0]["status"] == "done"
    assert shop.ran["post"] == 1
    assert model.requests.total == 1
    assert run(database_url, "SELECT role FROM messages ORDER BY seq") == [
        ("user",),
        ("assistant",),
        ("user",),
    ]
    assert day(database_url)[2:] == (0, 0)
    assert house.turns.look(DeviceId(device), turn.id, 0).status == "failed"
    house.close()

    plenty = built(settings, roster)
    assert answer(plenty, arrival(device)).status == "completed"
    assert refusals(model) == []
    plenty.close()


def test_without_budgets_there_is_no_statement_for_them(
    settings: Settings, roster: Roster, device: UUID, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = built(settings, roster)
    sent: list[object] = []
    real = Database._cursor

    def cursor(self: Database, statement: Any, parameters: Any) -> Any:
        sent.append(statement)
        return real(self, statement, parameters)

    monkeypatch.setattr(Database, "_cursor", cursor)
    answer(house, arrival(device))
    assert len(sent) == 2
    assert day(database_url) == (0, 0, 0, 0)
    house.close()


def test_a_budget_in_dollars_needs_prices(settings: Settings, roster: Roster) -> None:
    unknown = replace(settings, anthropic_model="claude-of-tomorrow")
    with pytest.raises(WrongDeclaration, match="claude-of-tomorrow has no known price"):
        built(unknown, roster, budget_turn_micros=MANY)
    built(unknown, roster, budget_turn_tokens=MANY).close()


@pytest.mark.parametrize(("given", "micros"), [("0.50", 500_000), ("12", 12_000_000), ("0.000001", 1)])
def test_dollars_are_read_exactly(given: str, micros: int) -> None:
    assert read_settings({"BUDGET_USER_DAY_USD": given}).budget_user_micros == micros


@pytest.mark.parametrize("given", ["0", "-1", "0.0000001", "1e3", "$5", "5,00", "0.00"])
def test_what_is_no_amount_is_refused(given: str) -> None:
    with pytest.raises(SettingsError, match="BUDGET_TURN_USD"):
        read_settings({"BUDGET_TURN_USD": given})
