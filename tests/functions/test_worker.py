"""The worker: what the queue brings is gone on with, once, and nothing of it is lost."""

import importlib
import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.deadline import Deadline
from core.errors import DatabaseUnavailable
from core.holding import HoldLost
from core.house import House, build_house
from core.ids import SessionId
from core.settings import Settings
from dev.demo_model import DemoModel, Fault, Reply
from functions import metrics
from tests.agents import Workshop, call
from tests.bells import Bell
from tests.conversations import answer, arrival, asking, expire, refusals, taken, until
from tests.databases import run


class Context:
    """Lambda's: how long there is."""

    def __init__(self, left_s: float = 330) -> None:
        self.left_s = left_s

    def get_remaining_time_in_millis(self) -> int:
        return int(self.left_s * 1000)


class OneHouse:
    """A wiring that gives this house, or what it is told to raise."""

    def __init__(self, house: House) -> None:
        self.built = house
        self.settings = house.settings
        self.error: Exception | None = None

    def house(self) -> House:
        if self.error is not None:
            raise self.error
        return self.built


@pytest.fixture
def house(settings: Settings, shop: Workshop) -> Iterator[House]:
    built = build_house(settings, shop.roster())
    built.turns.wakeups = Bell()
    yield built
    built.close()


@pytest.fixture
def wiring(house: House) -> OneHouse:
    return OneHouse(house)


@pytest.fixture
def worker(wiring: OneHouse, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """As in a process of its own: the handler's module is made by its import."""
    monkeypatch.setattr("functions.wiring.wired", lambda _: wiring)
    monkeypatch.setattr("gc.freeze", lambda: None)
    # The first invocation of a process is told, whichever test it is in.
    monkeypatch.setattr("functions.invocations._invoked", count(1))
    sys.modules.pop("functions.worker", None)
    yield importlib.import_module("functions.worker")
    del sys.modules["functions.worker"]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(metrics, "count", lambda name, *_, **__: names.append(name))
    return names


def record(session_id: object, *, group: str | None = None, message_id: str | None = None) -> dict[str, Any]:
    """As SQS hands it over."""
    return {
        "messageId": message_id or str(uuid4()),
        "receiptHandle": "handle",
        "body": json.dumps({"session_id": str(session_id)}),
        "attributes": {
            "ApproximateReceiveCount": "1",
            "MessageGroupId": group or str(session_id),
            "MessageDeduplicationId": uuid4().hex,
        },
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:turns.fifo",
        "awsRegion": "eu-central-1",
    }


def batch(*records: Any) -> dict[str, Any]:
    return {"Records": list(records)}


def given_back(worker: ModuleType, *records: Any, left_s: float = 330) -> list[str]:
    answer = worker.handler(batch(*records), Context(left_s))
    assert set(answer) == {"batchItemFailures"}
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def woken(house: House) -> Bell:
    """Who is woken from here on."""
    bell = Bell()
    house.turns.wakeups = bell
    return bell


def session_of(house: House, device: UUID) -> SessionId:
    turn = answer(house, arrival(device, "Hello", "k"), 0)
    assert turn.session_id is not None
    return turn.session_id


def queued(house: House, device: UUID, text: str = "Hello", key: str = "k") -> SessionId:
    turn = answer(house, arrival(device, text, key), 0)
    assert turn.status == "queued"
    assert turn.session_id is not None
    return turn.session_id


def status(house: House, device: UUID, text: str = "Hello", key: str = "k") -> str:
    return answer(house, arrival(device, text, key), 0).status


def test_it_ends_what_a_request_left_behind(worker: ModuleType, house: House, device: UUID) -> None:
    session_id = queued(house, device)
    assert given_back(worker, record(session_id)) == []
    assert status(house, device) == "completed"


def test_a_conversation_with_nothing_to_do_or_that_is_gone_is_done(
    worker: ModuleType, house: House, device: UUID, model: DemoModel
) -> None:
    session_id = queued(house, device)
    assert given_back(worker, record(session_id), record(session_id), record(uuid4())) == []
    assert len(model.requests) == 1


def test_several_turns_of_a_conversation_are_ended_in_their_order(
    worker: ModuleType, house: House, device: UUID, database_url: str
) -> None:
    session_id = queued(house, device, "first", "1")
    for number in (2, 3):
        queued(house, device, f"message {number}", str(number))
    assert given_back(worker, record(session_id)) == []
    assert run(database_url, "SELECT seq, status FROM turns ORDER BY ended_at") == [
        (number, "completed") for number in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    "body",
    [
        "no json, and the secret words",
        "[]",
        "{}",
        '"secret words"',
        '{"session_id": "secret words"}',
        '{"session_id": 7}',
        '{"session_id": null}',
        None,
        {"session_id": "secret words"},
    ],
)
def test_what_is_not_ours_is_given_back_and_the_rest_is_done(
    worker: ModuleType,
    house: House,
    device: UUID,
    body: object,
    caplog: pytest.LogCaptureFixture,
    counted: list[str],
) -> None:
    session_id = queued(house, device)
    stray = record("x", group="another") | {"body": body, "messageId": "stray"}
    assert given_back(worker, stray, record(session_id)) == ["stray"]
    assert status(house, device) == "completed"
    assert "stray" in caplog.text
    assert "secret words" not in caplog.text
    assert counted == ["WorkerErrors"]


@pytest.mark.parametrize(
    "stray", [None, 7, "text", [], {}, {"body": 3, "attributes": "none", "messageId": 4}]
)
def test_a_record_that_cannot_be_named_brings_the_whole_batch_back(
    worker: ModuleType, house: House, device: UUID, stray: object
) -> None:
    session_id = queued(house, device)
    assert given_back(worker, stray, record(session_id)) == [""]


@pytest.mark.parametrize("event", [None, {}, [], {"Records": None}, {"Records": {}}, "text"])
def test_a_call_that_is_no_batch_is_answered(
    worker: ModuleType, event: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert worker.handler(event, None) == {"batchItemFailures": []}
    assert "no batch" in caplog.text


def test_what_comes_after_one_that_failed_stays_behind_it(
    worker: ModuleType, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its group; the others are gone on with."""
    worked: list[object] = []

    def work(_: object, session_id: object, until: object) -> None:
        worked.append(session_id)
        if session_id == fails:
            raise DatabaseUnavailable from OSError("no route")

    fails, well = uuid4(), uuid4()
    monkeypatch.setattr(type(house.turns), "work", work)
    records = [
        record(fails, message_id="1"),
        record(well, message_id="2"),
        record(fails, message_id="3"),
        record(well, message_id="4"),
    ]
    assert given_back(worker, *records) == ["1", "3"]
    assert worked == [fails, well, well]


def test_a_defect_is_given_back_told_and_counted(
    worker: ModuleType,
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    counted: list[str],
) -> None:
    def work(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(house.turns), "work", work)
    assert given_back(worker, record(uuid4(), message_id="m")) == ["m"]
    assert counted == ["WorkerErrors", "Defects"]
    assert "ZeroDivisionError" in caplog.text


def test_without_secrets_or_a_database_everything_comes_again(
    worker: ModuleType, wiring: OneHouse, counted: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    wiring.error = DatabaseUnavailable()
    one, other = record(uuid4(), message_id="1"), record(uuid4(), message_id="2")
    assert given_back(worker, one, other) == ["1", "2"]
    assert counted == ["WorkerErrors"] * 2
    assert "database_unavailable" in caplog.text


# ---- time


def test_it_hands_over_before_its_time_is_over_and_the_next_goes_on(
    worker: ModuleType, house: House, model: DemoModel, shop: Workshop, device: UUID
) -> None:
    """A tool that might take longer than there is time is left to whoever has more."""
    model.replies.add(Reply(call("peek")))
    session_id = queued(house, device)
    bell = woken(house)
    assert given_back(worker, record(session_id), left_s=18) == []
    assert (status(house, device), shop.ran["peek"]) == ("queued", 0)
    assert bell.woken[0] == session_id
    assert given_back(worker, record(session_id)) == []
    assert (status(house, device), shop.ran["peek"]) == ("completed", 1)
    assert len(model.requests) == 2, "no step was done twice"
    assert refusals(model) == []


def test_it_never_works_for_longer_than_lambda_lets_it(
    worker: ModuleType, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[float] = []
    monkeypatch.setattr(type(house.turns), "work", lambda _, __, until: left.append(until.left_s()))
    for given_s in (330, 100, 10):
        given_back(worker, record(uuid4()), left_s=given_s)
    assert left == [pytest.approx(310, abs=1), pytest.approx(80, abs=1), pytest.approx(5, abs=1)]


def test_nor_for_longer_than_its_budget(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    stints: list[float] = []
    monkeypatch.setattr(type(house.turns), "_go_on", lambda _, __, stint: stints.append(stint.until.left_s()))
    house.turns.work(SessionId(uuid4()), Deadline.after(5_000))
    house.turns.work(SessionId(uuid4()))
    house.turns.work(SessionId(uuid4()), Deadline.after(7))
    assert stints == [pytest.approx(300, abs=1), pytest.approx(300, abs=1), pytest.approx(7, abs=1)]


def test_with_very_little_time_it_asks_the_model_all_the_same(
    worker: ModuleType, house: House, device: UUID
) -> None:
    """Else it would wake another like it, and that one the next, without end and without a result."""
    session_id = queued(house, device)
    bell = woken(house)
    assert given_back(worker, record(session_id), left_s=20) == []
    assert bell.woken == []
    assert status(house, device) == "completed"


def test_what_a_batch_has_no_time_for_comes_again(worker: ModuleType, house: House) -> None:
    first, second = uuid4(), uuid4()
    queued(house, first)
    later = queued(house, second)
    sessions = [session_of(house, first), later]
    given = given_back(
        worker, *[record(one, message_id=str(n)) for n, one in enumerate(sessions)], left_s=100
    )
    assert given == ["1"]
    assert (status(house, first), status(house, second)) == ("completed", "queued")


# ---- several at once


def test_the_same_message_while_its_first_worker_is_frozen(
    worker: ModuleType, house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    session_id = queued(house, device)
    frozen = taken(house, session_id)
    assert given_back(worker, record(session_id)) == [], "somebody has it"
    assert len(model.requests) == 0
    expire(database_url)
    assert given_back(worker, record(session_id)) == []
    assert status(house, device) == "completed"
    with pytest.raises(HoldLost):
        asking(frozen, house, house.turns.roster.manager)
    assert run(database_url, "SELECT role FROM messages ORDER BY seq") == [("user",), ("assistant",)]


def test_two_workers_with_one_message_ask_the_model_once(
    worker: ModuleType, house: House, model: DemoModel, device: UUID
) -> None:
    session_id = queued(house, device)
    opens = threading.Event()
    model.faults.add(Fault.gate(opens))
    with ThreadPoolExecutor(2) as both:
        working = [both.submit(given_back, worker, record(session_id)) for _ in range(2)]
        until(lambda: any(one.done() for one in working))
        opens.set()
        assert [one.result(30) for one in working] == [[], []]
    assert status(house, device) == "completed"
    assert len(model.requests) == 1


def test_a_worker_that_died_is_followed_by_the_next_one_from_its_last_step(
    worker: ModuleType, house: House, model: DemoModel, shop: Workshop, device: UUID, database_url: str
) -> None:
    model.replies.add(Reply(call("pay")))
    session_id = queued(house, device)
    dead_one = taken(house, session_id)
    asking(dead_one, house, house.turns.roster.manager)
    expire(database_url)
    assert given_back(worker, record(session_id)) == []
    assert status(house, device) == "completed"
    assert shop.ran["pay"] == 1
    assert len(model.requests) == 2, "the first step's answer is not asked for again"
