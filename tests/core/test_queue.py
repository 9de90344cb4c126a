"""Wake-ups over SQS: each arrives, none holds anybody up, and a dead worker's does not stand in the way of the sweep's."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from core.house import House, build_house
from core.ids import SessionId
from core.queue import Queue
from core.settings import Settings
from tests.aws import new_queue, pretended, sqs
from tests.cleaning import clean
from tests.conversations import answer, arrival
from tests.databases import run


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with pretended(monkeypatch):
        yield new_queue(sqs())


@pytest.fixture
def queue(url: str) -> Queue:
    return Queue(url)


def session() -> SessionId:
    return SessionId(uuid4())


def received(url: str) -> list[dict[str, Any]]:
    """All that can be received now; it stays in flight."""
    found: list[dict[str, Any]] = []
    while (
        got := sqs()
        .receive_message(QueueUrl=url, MaxNumberOfMessages=1, AttributeNames=["All"])
        .get("Messages")
    ):
        found += got
    return found


def woken(url: str) -> list[str]:
    return [json.loads(message["Body"])["session_id"] for message in received(url)]


def test_a_wake_up_names_the_conversation_and_nothing_else(queue: Queue, url: str) -> None:
    session_id = session()
    queue.wake(session_id)
    (message,) = received(url)
    assert json.loads(message["Body"]) == {"session_id": str(session_id)}
    assert message["Attributes"]["MessageGroupId"] == str(session_id)
    assert "AWSTraceHeader" not in message["Attributes"]


def test_one_right_after_another_is_not_swallowed(queue: Queue, url: str) -> None:
    """What happened since the first was received may be what the second is for."""
    session_id = session()
    for _ in range(3):
        queue.wake(session_id)
    assert (
        int(
            sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])[
                "Attributes"
            ]["ApproximateNumberOfMessages"]
        )
        == 3
    )


def test_what_a_sweep_finds_again_and_again_is_one_message(queue: Queue, url: str) -> None:
    one, other = session(), session()
    for _ in range(3):
        queue.recover(one, 4)
        queue.recover(other, 1)
    assert sorted(woken(url)) == sorted([str(one), str(other)])


def test_the_next_one_who_dies_over_it_is_recovered_from_too(queue: Queue, url: str) -> None:
    session_id = session()
    queue.recover(session_id, 4)
    assert woken(url) == [str(session_id)]
    queue.recover(session_id, 5)
    assert woken(url) == [str(session_id)], "the first is in flight still"


def test_a_dead_workers_message_does_not_keep_the_sweeps_back(queue: Queue, url: str) -> None:
    """Nothing of its group comes until it is visible again; without groups of their own recoveries would wait for that."""
    session_id = session()
    queue.wake(session_id)
    queue.wake(session_id)
    assert woken(url) == [str(session_id)], "the second waits for the first"
    queue.recover(session_id, 1)
    assert woken(url) == [str(session_id)]


def test_a_recovery_whose_worker_failed_before_it_began_does_not_keep_a_later_one_back(
    queue: Queue, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epoch is the same then. SQS takes the same deduplication ID again after five minutes."""
    session_id = session()
    queue.recover(session_id, 1)
    (first,) = received(url)
    later = time.time() + 301
    monkeypatch.setattr("core.queue.time.time", lambda: later)
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr("core.queue.client", lambda *_: Sends(sent.append))
    queue.recover(session_id, 1)
    assert sent[0]["MessageGroupId"] != first["Attributes"]["MessageGroupId"]
    assert sent[0]["MessageDeduplicationId"] == first["Attributes"]["MessageDeduplicationId"]
    assert len(sent[0]["MessageGroupId"]) <= 128


def test_the_trace_of_the_request_goes_along(queue: Queue, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
    queue.wake(session())
    (message,) = received(url)
    assert message["Attributes"]["AWSTraceHeader"] == trace


class Sends:
    def __init__(self, send: Callable[[dict[str, Any]], Any]) -> None:
        self._send = send

    def send_message(self, **message: Any) -> None:
        self._send(message)


@pytest.mark.parametrize("error", [ConnectionError("refused"), ValueError("a defect")])
def test_it_never_raises(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("core.queue.client", lambda *_: Sends(fail))
    session_id = session()
    assert not queue.recover(session_id, 1)
    queue.wake(session_id)
    assert len(caplog.records) == 2
    assert "the sweep will find it" in caplog.text
    assert str(session_id) not in caplog.text


def test_nobody_waits_for_it_for_long(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hangs = threading.Event()
    monkeypatch.setattr("core.queue.client", lambda *_: Sends(lambda _: hangs.wait(30)))
    begun = time.monotonic()
    queue.wake(session())
    assert time.monotonic() - begun < 4
    assert "TimeoutError" in caplog.text
    hangs.set()


def test_a_sweep_that_finds_hundreds_does_not_wait_for_a_dead_queue_each_time(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def hang(message: object) -> None:
        asked.append(message)
        hangs.wait(30)

    hangs = threading.Event()
    monkeypatch.setattr("core.queue._LONGEST_S", 0.05)
    monkeypatch.setattr("core.queue.client", lambda *_: Sends(hang))
    assert not any(queue.recover(session(), 1) for _ in range(100))
    assert len(asked) == 1
    queue.wake(session())
    assert len(asked) == 2, "a request tries all the same"
    hangs.set()
    monkeypatch.setattr("core.queue.client", lambda *_: Sends(asked.append))
    queue.wake(session())
    assert queue.recover(session(), 1)
    assert len(asked) == 4, "it is well again"


def test_a_queue_that_is_not_there_costs_a_line(
    queue: Queue, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    lost: list[str] = []
    Queue(url + "-gone", lambda: lost.append("one")).wake(session())
    assert "nobody was woken" in caplog.text
    assert lost == ["one"], "and an alarm listens for it"


@pytest.fixture
def house(settings: Settings, url: str) -> Iterator[House]:
    built = build_house(replace(settings, queue_url=url))
    yield built
    built.close()


def test_a_house_with_a_queue_leaves_to_it_what_a_request_has_no_time_for(house: House, url: str) -> None:
    turn = answer(house, arrival(uuid4()), 0)
    assert turn.status == "queued"
    assert woken(url) == [str(turn.session_id)]


def test_a_house_without_one_wakes_nobody(settings: Settings) -> None:
    built = build_house(settings)
    assert built.turns.wakeups is None
    built.close()


def test_the_sweep_recovers_by_the_epoch(house: House, url: str) -> None:
    turn = answer(house, arrival(uuid4()), 0)
    received(url)
    assert isinstance(house.turns.wakeups, Queue)
    for _ in range(2):
        assert clean(house.database, house.turns.wakeups) == {"turns": 1}
    (message,) = received(url)
    assert message["Attributes"]["MessageDeduplicationId"] == f"{turn.session_id}-{turn.epoch}"


def test_a_redelivery_comes_in_another_order_and_the_turns_are_in_theirs(
    house: House, url: str, database_url: str
) -> None:
    """moto's queue reorders what it hands over again in larger batches, and SQS may where it is told twice: a wake-up is only a
    word, and which turn is next is in the rows.
    """
    device = uuid4()
    for number in range(3):
        answer(house, arrival(device, f"message {number}", str(number)), 0)
    client = sqs()
    first = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    for message in first:
        client.change_message_visibility(
            QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )
    for message in client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"][::-1]:
        house.turns.work(SessionId(json.loads(message["Body"])["session_id"]))
    assert run(database_url, "SELECT seq, status FROM turns ORDER BY ended_at") == [
        (number, "completed") for number in (1, 2, 3)
    ]
