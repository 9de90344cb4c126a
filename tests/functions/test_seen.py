"""GET /v1/admin/sessions/{id} and /search: what was done in a conversation, step by step, and not a word of what was said in it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from core.house import House, build_house
from core.ids import SessionId
from core.settings import Secret, Settings
from core.store import lookups, seen
from core.store.seen import Window
from dev.demo_model import DemoModel, Reply
from functions.shapes_seen import FoundShape
from tests.agents import Workshop, call
from tests.bells import Bell
from tests.conversations import arrival, expire, held, idle
from tests.databases import run
from tests.operators import TOKEN, Operator, noted
from tests.transfer.test_refusals import sealed

PHRASE = "Zanzibar"


@pytest.fixture
def house(settings: Settings, shop: Workshop) -> Iterator[House]:
    built = build_house(replace(settings, admin_token=Secret(TOKEN)), shop.roster())
    yield built
    built.close()


@pytest.fixture
def operator(client: TestClient) -> Operator:
    return Operator(client)


def say(client: TestClient, text: str = "My name is Ada.", **more: Any) -> dict[str, Any]:
    answered: dict[str, Any] = client.post("/v1/turns", json={"message": text, **more}).json()
    return answered


def found(operator: Operator, q: str) -> list[tuple[str, str]]:
    answer = operator.call("GET", "search", params={"q": q})
    assert answer.status_code == 200, answer.text
    FoundShape.model_validate_json(answer.text)
    return [(one["session_id"], one["found_by"]) for one in answer.json()["items"]]


# ---- one conversation


def test_a_turn_is_shown_with_each_of_its_steps(
    client: TestClient, operator: Operator, model: DemoModel, shop: Workshop
) -> None:
    model.replies.add(Reply(call("post")), Reply(call("burn")))
    turn = say(client, "burn it")
    shown = operator.see(turn["session_id"])
    assert (shown["open_turns"], shown["members"], shown["lease_is_held"], shown["lock_is_held"]) == (
        *(1, 0),
        *(False, False),
    )
    (one,) = shown["turns"]
    assert (one["id"], one["status"], one["stop"], one["crashes"]) == (turn["id"], "waiting", None, 0)
    assert [(m["seq"], m["role"], m["agent"], m["stop_reason"]) for m in one["messages"]] == [
        (1, "user", None, None),
        (2, "assistant", "manager", "tool_use"),
        (3, "user", None, None),
        (4, "assistant", "manager", "tool_use"),
    ]
    assert [m["usage"] is None for m in one["messages"]] == [True, False, True, False]
    assert one["messages"][1]["usage"]["input_tokens"] > 0
    assert [(c["name"], c["effect"], c["status"], c["message_seq"]) for c in one["calls"]] == [
        ("post", "once", "done", 2),
        ("burn", "once", "asked", 4),
    ]
    assert (one["calls"][0]["ended_at"] is None, one["calls"][1]["ended_at"]) == (False, None)
    (asked,) = one["approvals"]
    assert (asked["kind"], asked["status"], asked["role"]) == ("call", "pending", "owner")
    assert asked["tool_call_id"] == one["calls"][1]["id"]
    assert asked["id"] == turn["approvals"][0]["id"]


def test_how_long_a_message_is_is_told_without_what_it_says(
    client: TestClient, operator: Operator, database_url: str
) -> None:
    shown = operator.see(say(client, "äöü " * 5_000)["session_id"])
    ((stored,),) = run(database_url, "SELECT octet_length(content) FROM messages WHERE seq = 1")
    assert shown["turns"][0]["messages"][0]["bytes"] == stored > 20_000


def test_nobodys_words_are_in_any_answer(
    client: TestClient, operator: Operator, model: DemoModel, shop: Workshop, database_url: str
) -> None:
    asked = [{"type": "tool_use", "name": "burn", "input": {PHRASE: PHRASE}}]
    shop.does["peek"] = lambda _context, _arguments: PHRASE
    model.replies.add(Reply(call("peek")), Reply([{"type": "text", "text": PHRASE}, *asked]))
    turn = say(client, PHRASE)
    session = turn["session_id"]
    client.patch("/v1/session", json={"metadata": {PHRASE: PHRASE}})
    client.put("/v1/session/lock", json={"agent": "manager", "reason": PHRASE})
    approval = turn["approvals"][0]["id"]
    assert (
        client.post(f"/v1/approvals/{approval}", json={"decision": "deny", "note": PHRASE}).status_code == 200
    )
    run(database_url, 'UPDATE turns SET error = \'{"code": "x", "detail": "Zanzibar"}\'')
    run(
        database_url,
        "INSERT INTO compactions (session_id, upto_seq, content, agent) VALUES (%s, 1, %s, 'manager')",
        session,
        json.dumps(PHRASE),
    )
    run(
        database_url,
        "INSERT INTO todos (session_id, position, content, status) VALUES (%s, 1, %s, 'pending')",
        *(session, PHRASE),
    )
    tables = ("messages", "audit_log", "approvals", "compactions", "todos", "turns", "conversation_states")
    for table in tables:
        assert run(database_url, f"SELECT 1 FROM {table} t WHERE t::text LIKE '%%{PHRASE}%%'"), table
    path = f"sessions/{session}"
    for method, where in (
        ("GET", path),
        ("GET", f"search?q={session}"),
        ("POST", f"{path}/recover"),
        ("POST", f"{path}/cancel"),
        ("DELETE", f"{path}/lock"),
        ("GET", path),
        ("GET", "overview"),
        ("DELETE", path),
        ("DELETE", path),
    ):
        answer = operator.call(method, where)
        assert answer.status_code in (200, 204, 404), answer.text
        assert PHRASE not in answer.text, f"{method} {where}"


def test_what_a_release_kept_of_the_work_on_a_turn_is_shown_and_what_it_did_not_is_null(
    client: TestClient, operator: Operator, database_url: str
) -> None:
    turns = [say(client) for _ in range(3)]
    run(database_url, "UPDATE turns SET usage = usage - 'run'")
    stages = {"claim": 4.1, "model": 812.0, "tools": 0.0, "finish": 3.2}
    for turn, run_of_it in zip(
        turns[1:], ({**stages, "epochs": [3, 4], "history": "kept"}, {"epochs": [5]}), strict=True
    ):
        run(
            database_url,
            "UPDATE turns SET usage = usage || jsonb_build_object('run', CAST(%s AS jsonb)) WHERE id = %s",
            *(json.dumps(run_of_it), turn["id"]),
        )
    shown = operator.see(turns[0]["session_id"])["turns"]
    assert [one["run"] for one in shown] == [
        None,
        {"stages_ms": stages, "epochs": [3, 4], "history": "kept"},
        {"stages_ms": None, "epochs": [5], "history": None},
    ]
    assert [set(one["usage"]) for one in shown] == [set(turns[0]["usage"])] * 3


def test_how_long_a_turn_waited_is_told(
    client: TestClient, operator: Operator, house: House, database_url: str
) -> None:
    session = say(client)["session_id"]
    house.turns.wakeups = Bell()
    for _ in range(3):
        say(client, wait_s=0)
    run(
        database_url,
        "UPDATE turns SET created_at = created_at - make_interval(secs => 10 * CAST(seq AS integer))",
    )
    run(database_url, "UPDATE turns SET status = 'cancelled', ended_at = now() WHERE seq = 4")
    first, second, third, fourth = operator.see(session)["turns"]
    assert 10 <= first["queued_s"] < 11, "until its first message was begun with"
    assert 20 <= second["queued_s"] < 40
    assert 30 <= third["queued_s"] < 50, "it waits still"
    assert fourth["queued_s"] is None, "it was never begun with"


def test_a_message_that_joined_another_says_which(
    client: TestClient, operator: Operator, house: House
) -> None:
    session = say(client)["session_id"]
    house.turns.wakeups = Bell()
    for text in ("one", "two", "three"):
        say(client, text, on_busy="merge", wait_s=0)
    turns = operator.see(session)["turns"]
    assert [one["status"] for one in turns] == ["completed", "queued", "queued", "joined"]
    assert [len(one["messages"]) for one in turns] == [2, 1, 0, 0], (
        "the second was begun with, and handed over"
    )
    assert turns[3]["joined_to"] == turns[2]["id"]
    assert turns[3]["queued_s"] is None


def test_who_holds_it_is_told_as_of_now(
    client: TestClient, operator: Operator, house: House, database_url: str
) -> None:
    device = uuid4()
    holding = held(house, arrival(device))
    session = holding.hold.session_id
    client.put("/v1/session/lock", json={"agent": "manager"}, headers={"X-Device-ID": str(device)})
    shown = operator.see(session)
    assert (shown["lease_is_held"], shown["lock_is_held"], shown["active_agent"]) == (True, True, "manager")
    assert shown["lease_epoch"] == holding.hold.epoch
    assert shown["as_of"] < shown["lease_expires_at"]
    expire(database_url)
    run(database_url, "UPDATE conversation_states SET locked_at = now() - make_interval(secs => session_ttl)")
    shown = operator.see(session)
    assert (shown["lease_is_held"], shown["lock_is_held"]) == (False, False)


def test_one_whose_time_is_over_is_shown_until_it_is_cleaned_up(
    client: TestClient, operator: Operator, database_url: str
) -> None:
    session = say(client)["session_id"]
    idle(database_url)
    assert client.get("/v1/session").status_code == 404
    assert operator.see(session)["is_alive"] is False
    ((used,),) = run(database_url, "SELECT last_active_at FROM conversation_states")
    assert operator.see(session)["last_active_at"][:19] == used.isoformat()[:19], "a look extends nothing"


def test_older_turns_and_lines_are_shown_page_by_page(
    client: TestClient, operator: Operator, database_url: str
) -> None:
    session = say(client)["session_id"]
    run(
        database_url,
        "INSERT INTO turns (session_id, id, seq, body_digest, status, ended_at) "
        "SELECT %s, gen_random_uuid(), n, '', 'cancelled', now() FROM generate_series(2, 7) n",
        session,
    )
    run(
        database_url,
        "INSERT INTO audit_log (session_id, actor, action) SELECT %s, 'user', 'forked' FROM generate_series(1, 450)",
        session,
    )
    pages = [operator.see(session, turns=3)]
    while pages[-1]["next_turns"] is not None:
        pages.append(operator.see(session, turns=3, before=pages[-1]["next_turns"]))
    assert [[turn["seq"] for turn in page["turns"]] for page in pages] == [[5, 6, 7], [2, 3, 4], [1]]
    lines = [operator.see(session)]
    while lines[-1]["next_audit"] is not None:
        lines.append(operator.see(session, audit_before=lines[-1]["next_audit"]))
    assert [len(page["audit"]) for page in lines] == [200, 200, 50]
    ids = [line["id"] for page in reversed(lines) for line in page["audit"]]
    assert ids == sorted(set(ids))
    assert operator.see(session, turns=7)["next_turns"] is None
    assert operator.see(session, before=1)["turns"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("turns=0", "turns"),
        ("turns=101", "turns"),
        ("before=x", "before"),
        ("before=-1", "before"),
        (f"audit_before={2**63}", "audit_before"),
    ],
)
def test_what_is_no_page_is_refused(client: TestClient, operator: Operator, query: str, field: str) -> None:
    answer = operator.call("GET", f"sessions/{say(client)['session_id']}?{query}")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_compactions_and_members_are_told(client: TestClient, operator: Operator, database_url: str) -> None:
    session = say(client)["session_id"]
    run(
        database_url,
        "INSERT INTO compactions (session_id, upto_seq, content, agent) SELECT %s, n, '[]', 'manager' FROM generate_series(1, 120) n",
        session,
    )
    run(database_url, "INSERT INTO users (id) VALUES (%s)", str(UUID(int=5)))
    run(
        database_url,
        "INSERT INTO members (session_id, user_id, role) VALUES (%s, %s, 'viewer')",
        session,
        str(UUID(int=5)),
    )
    shown = operator.see(session)
    assert shown["members"] == 1
    assert [one["upto_seq"] for one in shown["compactions"]] == list(range(21, 121)), "the last hundred"


def test_it_is_read_by_keys_and_indexes_alone(house: House, client: TestClient, database_url: str) -> None:
    """However many there are of others: no table is read as a whole."""
    session = say(client)["session_id"]
    for statement in (
        "INSERT INTO users (id) SELECT gen_random_uuid() FROM generate_series(1, 3000)",
        "INSERT INTO conversation_states (id, user_id) SELECT gen_random_uuid(), id FROM users",
        "INSERT INTO turns (session_id, id, seq, body_digest, status, first_seq, last_seq, ended_at) "
        "SELECT id, gen_random_uuid(), 1, '', 'completed', 1, 1, now() FROM conversation_states WHERE turn_seq = 0",
        "INSERT INTO messages (session_id, seq, turn_id, role, content) SELECT session_id, 1, id, 'user', '[]' FROM turns "
        "WHERE body_digest = ''",
        "INSERT INTO tool_calls (session_id, id, turn_id, message_seq, name, effect, status, input_digest) "
        "SELECT session_id, 'x', id, 1, 'x', 'read', 'done', '' FROM turns WHERE body_digest = ''",
        "INSERT INTO approvals (session_id, id, turn_id, tool_call_id, input_digest, status, expires_at) "
        "SELECT session_id, gen_random_uuid(), id, 'x', '', 'approved', now() FROM turns WHERE body_digest = ''",
        "INSERT INTO audit_log (session_id, actor, action) SELECT id, 'user', 'forked' FROM conversation_states",
        "INSERT INTO compactions (session_id, upto_seq, content, agent) SELECT id, 1, '[]', 'x' FROM conversation_states",
        "INSERT INTO application_sessions (session_id, namespace, epoch, version, body, idle_ttl) "
        "SELECT id, 'x', 1, 1, '{}', 60 FROM conversation_states",
        "INSERT INTO members (session_id, user_id, role) SELECT id, user_id, 'viewer' FROM conversation_states",
    ):
        run(database_url, statement)
    run(database_url, "ANALYZE")
    given = {"turns": 50, "before": None, "audit_before": None, "after_all": 2**63 - 1, "lines": 200}
    plans = [
        (seen._SEE.text, {**given, "session_id": session, "now": None}),
        (
            lookups._FIND.text,
            {
                "low": str(UUID(session)),
                "high": str(UUID(session)),
                "user_id": session,
                "limit": 21,
                "now": None,
            },
        ),
    ]
    for statement, values in plans:
        plan = "\n".join(line for (line,) in run_named(database_url, f"EXPLAIN {statement}", values))
        assert "Seq Scan" not in plan, plan


def run_named(url: str, statement: str, values: dict[str, Any]) -> list[Any]:
    from sqlalchemy import text

    from tests.databases import engine_of

    engine = engine_of(url)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]
    finally:
        engine.dispose()


# ---- the search


def test_a_conversation_is_found_by_its_id_and_by_how_that_begins(
    client: TestClient, operator: Operator
) -> None:
    session = say(client)["session_id"]
    other = str(uuid4())
    for q in (session, session.upper(), session.replace("-", ""), session[:13], session[:8], session[:4]):
        assert (session, "session") in found(operator, q), q
    assert found(operator, other) == []
    assert found(operator, session.replace("-", "") + "00") == [], "no ID begins so"


def test_a_users_conversations_are_found_the_newest_first(
    client: TestClient, operator: Operator, database_url: str
) -> None:
    session = say(client)["session_id"]
    ((user,),) = run(database_url, "SELECT user_id::text FROM conversation_states")
    assert found(operator, user) == [(session, "user")]
    for number in range(25):
        run(
            database_url,
            "INSERT INTO conversation_states (id, user_id, created_at) VALUES (gen_random_uuid(), %s, now() + make_interval(secs => %s))",
            *(user, number + 1),
        )
    answer = operator.call("GET", "search", params={"q": user}).json()
    assert (len(answer["items"]), answer["more"]) == (20, True)
    times = [datetime.fromisoformat(one["created_at"]) for one in answer["items"]]
    assert times == sorted(times, reverse=True)
    assert session not in {one["session_id"] for one in answer["items"]}


@pytest.mark.parametrize("q", ["", "abc", "12 4", "zzzz", "ab-cdef", "a" * 37, "%%%%", "1234' OR 1=1"])
def test_what_is_no_beginning_of_an_id_is_refused(operator: Operator, q: str) -> None:
    answer = operator.call("GET", "search", params={"q": q})
    assert answer.status_code == 422, q
    assert [error["field"] for error in answer.json()["errors"]] == ["q"]


def test_a_turns_id_and_a_digest_of_the_log_find_nothing(client: TestClient, operator: Operator) -> None:
    from core.about import short

    turn = say(client)
    assert found(operator, turn["id"]) == []
    assert found(operator, short(SessionId(UUID(turn["session_id"])))) == []


def test_the_window_is_the_last_turns_where_nothing_is_said(house: House, client: TestClient) -> None:
    session = SessionId(UUID(say(client)["session_id"]))
    one = seen.see(house.database, session, Window())
    assert one is not None
    assert [turn["seq"] for turn in one.turns] == [1]
    assert noted({"audit": one.audit}) == []


def test_what_was_imported_is_shown_without_the_words_that_it_has_for_numbers(
    client: TestClient, operator: Operator
) -> None:
    """Whoever imports a conversation says what was used in it: nobody hides one from operators by that, or speaks to them."""
    say(client)
    lines = [json.loads(line) for line in client.get("/v1/session/export").text.split("\n")[:-1]]
    for line in lines:
        if line["kind"] == "turn":
            line["usage"] = {"input_tokens": 3, "run": 7}
        if line["kind"] == "message":
            line["usage"] = {"input_tokens": PHRASE, "output_tokens": [PHRASE], "cost_micros": PHRASE}
    imported = client.post("/v1/sessions/import", content=sealed(lines))
    assert imported.status_code == 201, imported.text
    seen = operator.see(imported.json()["id"])
    assert PHRASE not in json.dumps(seen)
    (turn,) = seen["turns"]
    assert (turn["usage"]["input_tokens"], turn["run"]) == (3, None)
    assert {message["usage"]["input_tokens"] for message in turn["messages"]} == {0}
