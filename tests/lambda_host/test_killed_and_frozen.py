"""What only a process that is stopped or killed from outside can show, with the artifact itself: a turn is gone on with, and dead
connections are no matter.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dev.demo_model import Fault
from dev.lambda_host.queue import record_of
from dev.postgres.processes import until
from tests.databases import run
from tests.lambda_host.deployment import Deployment

ASK = "I would like an appointment with a doctor tomorrow"


def test_a_worker_that_is_killed_in_the_middle_of_a_turn_is_taken_up_from_by_the_next(
    deployment: Deployment,
) -> None:
    device, model, host = deployment.device(), deployment.model, deployment.service.host
    url = deployment.database_url
    gate = threading.Event()
    # What others left to be done here is done, and its processes are gone: all that the model is asked from here on is of this turn.
    workers = host.fleet("worker")
    until(lambda: run(url, "SELECT id FROM turns WHERE status = 'running'") == [], 30)
    assert workers.wait_until_idle(30)
    workers.reap(0)
    asked = model.requests.total
    # The first step is answered, the second is on its way for longer than the worker lives.
    model.faults.add(Fault.delay(0), Fault.gate(gate))
    turn = device.say(ASK, wait_s=0)
    assert turn["status"] == "queued"
    assert model.requests.wait_for(asked + 2, 60)
    first = workers.sandboxes[-1]
    first.time_out()
    host.logs.wait_for("Task timed out after 330.00 seconds", "worker")
    # Half a minute later its lease is over, and eleven minutes later the message comes again.
    run(url, "UPDATE conversation_states SET lease_expires_at = now() WHERE id = %s", turn["session_id"])
    deployment.service.queue.come_again()
    gate.set()
    ended = device.ended(turn["id"])
    assert (ended["status"], ended["agent"]) == ("completed", "scheduling")
    assert [call["name"] for call in ended["tool_calls"]] == ["hand_over", "find_free_slots"]
    assert first.number not in [sandbox.number for sandbox in workers.sandboxes]
    # One bill for the step that was finished: it was asked for once, and the one that was cut off twice.
    steps = [_told(request) for request in list(model.requests)[asked:]]
    assert len(steps) == 4
    assert steps[1] == steps[2]
    assert len({str(step) for step in steps}) == 3
    replies = run(
        url,
        "SELECT count(*) FROM messages WHERE turn_id = %s AND role = 'assistant'",
        turn["id"],
    )
    assert replies == [(3,)]


def _told(request: Any) -> list[Any]:
    return [message["role"] for message in request.body["messages"]]


_OTHERS = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"


@contextmanager
def _connections_that_die(url: str) -> Iterator[None]:
    """Those that are idle for long, as a pooler or the database itself ends them. Those that are there end now."""
    (name,) = run(url, "SELECT current_database()")[0]
    run(url, f"ALTER DATABASE {name} SET idle_session_timeout = '300ms'")
    run(url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {_OTHERS}")
    try:
        yield
    finally:
        run(url, f"ALTER DATABASE {name} RESET idle_session_timeout")


def _all_are_dead(url: str) -> bool:
    return run(url, f"SELECT count(*) FROM pg_stat_activity WHERE {_OTHERS}") == [(0,)]


def test_a_function_that_was_frozen_for_longer_than_its_connections_lived_answers(
    deployment: Deployment,
) -> None:
    with _connections_that_die(deployment.database_url):
        device = deployment.device()
        assert device.say("My name is Ada.")["status"] == "completed"
        (sandbox,) = deployment.service.host.fleet("api").sandboxes
        for message in ("What is my name?", "Tell me a joke"):
            assert until(lambda: _all_are_dead(deployment.database_url), 10)
            turn = device.say(message)
            assert turn["status"] == "completed"
        assert until(lambda: _all_are_dead(deployment.database_url), 10)
        status, page = device.call("GET", "/v1/session/messages")
        assert (status, len(page["items"])) == (200, 6)
        assert deployment.service.host.fleet("api").sandboxes == [sandbox]


def test_a_worker_that_was_frozen_for_longer_than_its_connections_lived_goes_on(
    deployment: Deployment,
) -> None:
    with _connections_that_die(deployment.database_url):
        device = deployment.device()
        for words in ("My name is Ada.", "What is my name?"):
            turn = device.say(words, wait_s=0)
            ended = device.ended(turn["id"])
            assert ended["status"] == "completed"
            assert deployment.service.host.fleet("worker").wait_until_idle()
            assert until(lambda: _all_are_dead(deployment.database_url), 10)
        assert "Ada" in ended["reply"]
        (sandbox,) = deployment.service.host.fleet("worker").sandboxes
        assert sandbox.served >= 2
        # And a wake-up that has nothing to do any more is done.
        message = {"MessageId": "m", "ReceiptHandle": "r", "MD5OfBody": "", "Attributes": {}}
        body = f'{{"session_id": "{ended["session_id"]}"}}'
        record = record_of({**message, "Body": body}, "arn:aws:sqs:eu-central-1:123456789012:turns.fifo")
        answer = deployment.service.host.invoke("worker", {"Records": [record]})
        assert answer.json == {"batchItemFailures": []}
