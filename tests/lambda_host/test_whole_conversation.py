"""A whole conversation through `make lambda`, over HTTP: a handoff, an approval, turns that the worker takes over, one that a dead
function left behind, its end in the archive, and the erasure of all that. And then: what each function asked AWS for in its course
is what its role in the template permits, no less and no more.
"""

import json
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dev.demo_model import DemoModel, Fault
from dev.lambda_host.aws import client_of
from dev.lambda_host.declared import DECLARED
from dev.lambda_host.stack import BUCKET
from dev.postgres import EmbeddedPostgres
from dev.postgres.processes import is_over, until
from tests.databases import new_database, run
from tests.lambda_host.deployment import Device
from tests.lambda_host.running import Running
from tests.template.stack import Stack
from tests.template.test_roles import EVENTS, LOGS, TRACES, actions, role_of

# What a permission is for that this conversation has no occasion for: the parts of a very long one, which could not all be sent.
NO_OCCASION = {"s3:AbortMultipartUpload"}


class Talk:
    def __init__(self, running: Running, model: DemoModel, database_url: str) -> None:
        self.running = running
        self.model = model
        self.url = database_url
        self.device = Device(running.url).register()

    def says(self, message: str, **more: Any) -> Any:
        """The turn when it is over, or when it waits for somebody."""
        turn = self.device.say(message, **more)
        return self.settled(turn["id"])

    def said_by(self, function: str, what: str) -> int:
        """How many lines of it begin so."""
        return len(re.findall(rf"(?m)^{function}-[0-9]+  {what}", self.running.said))

    def settled(self, turn_id: str) -> Any:
        def is_settled() -> bool:
            return self.device.turn(turn_id, wait_s=2)["status"] in ("completed", "failed", "waiting")

        assert until(is_settled, 60), self.device.turn(turn_id)
        return self.device.turn(turn_id)


@pytest.fixture
def talk(task_root: Path, postgres: EmbeddedPostgres, model: DemoModel, tmp_path: Path) -> Iterator[Talk]:
    with (
        new_database(postgres, "template0") as url,
        Running(
            f"--calls={tmp_path / 'calls.json'}",
            "--cleanup-every=3",
            # Other tests run beside this one.
            "--init-timeout=60",
            "--verbose",
            DATABASE_URL=url,
            ANTHROPIC_API_KEY="demo",
            ANTHROPIC_BASE_URL=model.url,
            TURN_BUDGET_S="3",
        ) as running,
    ):
        running.wait_for("^curl ")
        yield Talk(running, model, url)


def test_a_whole_conversation_and_what_it_asks_of_aws(talk: Talk, tmp_path: Path, stack: Stack) -> None:
    _is_handed_from_agent_to_agent(talk)
    _waits_for_a_yes_in_the_worker(talk)
    _is_handed_over_to_the_worker(talk)
    _outlives_a_function_that_is_killed(talk)
    s3 = client_of(talk.running.wait_for(r"^latchkey  aws +moto, at (http://[0-9.:]+):")[1], "s3")
    _expires_into_the_archive(talk, s3)
    _is_erased_from_there_too(talk, s3)
    _is_erased_by_the_clean_up_where_somebody_died(talk, s3)
    functions = [
        process for name in DECLARED for process in talk.running.processes(f"functions.{name}.handler")
    ]
    assert len(functions) >= 3
    assert "latchkey  stopped" in talk.running.end()
    assert talk.running.process.returncode == 0
    assert all(until(lambda one=process: is_over(one), 5) for process in functions)  # type: ignore[misc]
    asked = json.loads((tmp_path / "calls.json").read_text())
    for name in DECLARED:
        permitted = actions(stack, role_of(stack, name)) - LOGS - TRACES - EVENTS - NO_OCCASION
        assert {call["action"] for call in asked[name]} == permitted, name
        _are_about_what_the_role_names(asked[name])


def _is_handed_from_agent_to_agent(talk: Talk) -> None:
    assert talk.says("Hello, my name is Ada.")["agent"] == "manager"
    turn = talk.says("I would like an appointment with a doctor tomorrow")
    assert (turn["status"], turn["agent"]) == ("completed", "scheduling")
    assert [call["name"] for call in turn["tool_calls"]] == ["hand_over", "find_free_slots"]
    booked = talk.says("Book tomorrow at 9:30 with doctor Lindqvist")
    assert "Booked. Appointment 1" in booked["reply"]


def _waits_for_a_yes_in_the_worker(talk: Talk) -> None:
    waiting = talk.says("Please pay invoice 1 of 120", wait_s=0)
    assert (waiting["status"], waiting["agent"]) == ("waiting", "billing")
    assert run(talk.url, "SELECT * FROM clinic_payments") == []
    status, page = talk.device.call("GET", "/v1/approvals")
    (approval,) = page["items"]
    status, decided = talk.device.call(
        "POST",
        f"/v1/approvals/{approval['id']}",
        {"decision": "approve", "input_digest": approval["input_digest"]},
    )
    assert status == 200, decided
    assert until(lambda: talk.device.turn(waiting["id"])["status"] == "completed", 60)
    assert run(talk.url, "SELECT amount_cents FROM clinic_payments") == [(12_000,)]


def _is_handed_over_to_the_worker(talk: Talk) -> None:
    """The model takes longer than a request may, and its client waits for the worker."""
    asked, worked = talk.model.requests.total, talk.said_by("worker", "START")
    talk.model.faults.add(Fault.hang())
    turn = talk.settled(talk.device.say("What is my name?")["id"])
    assert turn["status"] == "completed"
    assert "Ada" in turn["reply"]
    first, second = list(talk.model.requests)[asked:]
    assert str(first.fault) == "hang"
    assert first.body["messages"] == second.body["messages"]
    assert talk.said_by("worker", "START") > worked


def _outlives_a_function_that_is_killed(talk: Talk) -> None:
    gate = threading.Event()
    asked = talk.model.requests.total
    talk.model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(talk.device.call, "POST", "/v1/turns", {"message": "Tell me a joke"})
        assert talk.model.requests.wait_for(asked + 1, 30)
        for process in talk.running.processes("functions.api.handler"):
            process.kill()
        assert sent.result() == (500, {"message": "Internal Server Error"})
    gate.set()
    ((turn_id, session_id),) = run(talk.url, "SELECT id, session_id FROM turns ORDER BY seq DESC LIMIT 1")
    # Half a minute later.
    run(talk.url, "UPDATE conversation_states SET lease_expires_at = now() WHERE id = %s", session_id)
    assert talk.settled(turn_id)["status"] == "completed"


def _expires_into_the_archive(talk: Talk, s3: Any) -> None:
    ((session_id, user_id),) = run(talk.url, "SELECT id, user_id FROM conversation_states")
    run(talk.url, "UPDATE conversation_states SET last_active_at = now() - interval '2 days'")
    assert until(lambda: run(talk.url, "SELECT id FROM conversation_states") == [], 60)
    (found,) = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert found["Key"] == f"users/{user_id}/{session_id}.jsonl"
    lines = s3.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read().decode()
    assert "my name is Ada" in lines
    assert talk.device.call("GET", "/v1/session")[0] == 404


def _is_erased_from_there_too(talk: Talk, s3: Any) -> None:
    status, receipt = talk.device.call("DELETE", "/v1/user")
    assert status == 200, receipt
    assert receipt["removed"]["archive"] == {"objects": 1}
    assert "Versions" not in s3.list_object_versions(Bucket=BUCKET)


def _is_erased_by_the_clean_up_where_somebody_died(talk: Talk, s3: Any) -> None:
    talk.device = Device(talk.running.url).register()
    talk.says("My name is Ada, too.")
    _, session = talk.device.call("GET", "/v1/session")
    run(talk.url, "UPDATE conversation_states SET last_active_at = now() - interval '2 days'")
    assert until(lambda: "Contents" in s3.list_objects_v2(Bucket=BUCKET), 60)
    run(
        talk.url,
        "INSERT INTO erasures (id, user_id, user_digest, device_digest, created_at) "
        "SELECT gen_random_uuid(), user_id, 'of a test', 'of a test', now() - interval '1 hour' FROM connections",
    )
    assert until(lambda: "Versions" not in s3.list_object_versions(Bucket=BUCKET), 60)
    assert until(lambda: run(talk.url, "SELECT count(*) FROM users") == [(0,)], 60)
    assert session["id"]


def _are_about_what_the_role_names(calls: list[dict[str, str]]) -> None:
    for call in calls:
        service, _, action = call["action"].partition(":")
        if service == "s3" and action != "ListBucketVersions" and not action.startswith("Delete"):
            assert call["resource"].startswith(f"{BUCKET}/users/")
        elif service == "s3":
            assert call["resource"] == BUCKET
        else:
            assert (
                call["resource"]
                == {"sqs": "latchkey-local.fifo", "secretsmanager": "latchkey/local"}[service]
            )


def test_what_was_frozen_goes_when_it_is_killed(talk: Talk) -> None:
    functions = talk.running.processes("functions.api.handler")
    assert functions
    talk.running.end(signal.SIGKILL)
    assert all(until(lambda one=process: is_over(one), 5) for process in functions)  # type: ignore[misc]
