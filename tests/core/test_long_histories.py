"""Ten thousand messages: what is loaded and what is sent stay bounded, whether they were compacted on their way or never."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from core import folding
from core.compaction import Window
from core.house import House, build_house
from core.settings import Settings
from core.store import claims, compactions, takes
from core.store.database import Database
from dev.demo_model import DemoModel
from tests.agents import Workshop
from tests.conversations import answer, arrival, refusals, statuses
from tests.databases import run


@pytest.fixture
def house(settings: Settings, model: DemoModel) -> Iterator[House]:
    built = opened(settings)
    yield built
    built.close()
    assert refusals(model) == []


@pytest.fixture
def elsewhere(settings: Settings) -> Iterator[House]:
    built = opened(settings)
    yield built
    built.close()


def opened(settings: Settings) -> House:
    built = build_house(settings, Workshop().roster(thinking=True))
    # A machine that is busy with tests may be slow.
    built.turns.limits = dataclasses.replace(built.turns.limits, turn_budget_s=100.0)
    return built


def grown(url: str, device: UUID, messages: int) -> None:
    """A conversation from before there were compactions."""
    session, user = str(uuid4()), str(uuid4())
    run(url, "INSERT INTO users (id) VALUES (%s)", user)
    run(
        url,
        "INSERT INTO conversation_states (id, user_id, message_seq) VALUES (%s, %s, %s)",
        session,
        user,
        messages,
    )
    run(
        url,
        "INSERT INTO connections (device_id, user_id, session_id) VALUES (%s, %s, %s)",
        str(device),
        user,
        session,
    )
    run(
        url,
        "INSERT INTO messages (session_id, seq, turn_id, role, content) SELECT %s, n, gen_random_uuid(), "
        "CASE n %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END, "
        """'[{"type":"text","text":"Message ' || n || repeat(' of the usual length', 10) || '"}]' """
        "FROM generate_series(1, %s) AS n",
        session,
        messages,
    )


def summaries(model: DemoModel) -> list[list[Any]]:
    """The messages of each request for one."""
    asked = (request.body["messages"] for request in model.requests)
    return [messages for messages in asked if messages[-1]["content"][-1].get("text") == folding._ASK]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The history that each claim got."""
    histories: list[str] = []
    real = Database.row

    def row(self: Database, statement: Any, given: Any) -> Any:
        found = real(self, statement, given)
        if statement in (claims._CLAIM, takes._TAKE) and found is not None:
            histories.append(found["history"] or "[]")
        return found

    monkeypatch.setattr(Database, "row", row)
    return histories


def test_a_conversation_of_ten_thousand_messages_loads_and_sends_little(
    house: House, elsewhere: House, model: DemoModel, database_url: str, device: UUID, loaded: list[str]
) -> None:
    grown(database_url, device, 10_000)
    assert answer(house, arrival(device, "say 1")).status == "completed"
    pieces = summaries(model)
    assert len(pieces) >= 5, "it did not fit into one request"
    assert max(len(json.dumps(piece)) for piece in pieces) < 400_000

    for turn, built in enumerate((elsewhere, house, elsewhere), start=2):
        built.turns.reception.memory.of_session(_session(database_url))
        assert answer(built, arrival(device, f"say {turn}")).status == "completed"
        assert len(json.loads(loaded[-1])) <= Window().messages
        assert len(loaded[-1]) < 100_000
        sent = model.requests[-1].body["messages"]
        assert len(sent) <= Window().messages
        assert len(json.dumps(sent)) < 100_000
    assert len(summaries(model)) == len(pieces)
    assert run(database_url, "SELECT count(*) FROM messages WHERE NOT left_out") == [(10_008,)]

    kinds = ("cache_read_input_tokens", "cache_creation_input_tokens", "input_tokens")
    figures = ", ".join(f"(usage ->> '{kind}')::int" for kind in kinds)
    for read, written, rest in run(
        database_url,
        f"SELECT {figures} FROM messages WHERE role = 'assistant' AND seq > 10003 ORDER BY seq",
    ):
        assert read >= 0.9 * (read + written + rest)


def test_who_comes_after_a_crash_goes_on_behind_the_last_piece(
    house: House,
    elsewhere: House,
    model: DemoModel,
    database_url: str,
    device: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grown(database_url, device, 400)
    for built in (house, elsewhere):
        built.turns.limits = dataclasses.replace(built.turns.limits, window=Window(tokens=5_000))
    real, laid = compactions.add, 0

    def add(*given: Any, **named: Any) -> bool:
        nonlocal laid
        laid += 1
        if laid == 3:
            raise ZeroDivisionError
        return real(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(compactions, "add", add)
        with pytest.raises(ZeroDivisionError):
            answer(house, arrival(device, "say 1", "k"))
    assert len(summaries(model)) == 3
    assert answer(elsewhere, arrival(device, "say 1", "k")).status == "completed"
    again, *_ = summaries(model)[3:]
    assert again == summaries(model)[2], "from where the second had left it"
    uptos = [seq for (seq,) in run(database_url, "SELECT upto_seq FROM compactions ORDER BY created_at, 1")]
    assert uptos == sorted(uptos)
    assert len(summaries(model)) == len(uptos) + 1
    assert statuses(database_url) == [("completed", None)]


def _session(url: str) -> Any:
    return UUID(str(run(url, "SELECT id FROM conversation_states")[0][0]))
