"""What the functions really write, under Lambda's own runtime: lines that can be asked, metrics that CloudWatch takes, and nothing private."""

import json
from typing import Any

from dev.postgres.processes import until
from functions.metrics import BY_NAME
from tests.databases import run
from tests.lambda_host.deployment import Deployment
from tests.lines.emf import broken_rules

SAID = "My name is Ada, and this stays between us"


def _stints(deployment: Deployment, turn_id: str) -> list[dict[str, Any]]:
    lines = [line.json or {} for line in deployment.service.host.logs.of()]
    return [line for line in lines if line.get("turn") == turn_id and "TurnTime" in line]


def test_a_turn_is_told_by_each_function_that_had_it(deployment: Deployment) -> None:
    device = deployment.device()
    at_once = device.say(SAID)
    device.ended(at_once["id"])
    turn = device.say(SAID, wait_s=0)
    device.ended(turn["id"])
    assert until(lambda: len(_stints(deployment, turn["id"])) == 2, 15)
    (alone,) = _stints(deployment, at_once["id"])
    first, second = _stints(deployment, turn["id"])
    assert (alone["function"], alone["status"]) == ("api", "completed")
    assert [(line["function"], line["status"]) for line in (first, second)] == [
        ("api", "handed_over"),
        ("worker", "completed"),
    ]
    assert alone["session"] == first["session"] == second["session"]
    # What the worker does belongs to the trace of who asked for it, and each has an invocation of its own.
    assert first["trace"] == second["trace"] != alone["trace"]
    assert len({line["requestId"] for line in (alone, first, second)}) == 3
    assert all(line["service"] == "latchkey" and line["stage"] for line in (alone, first, second))


def test_every_metric_that_they_told_is_one_that_cloudwatch_takes(deployment: Deployment) -> None:
    device = deployment.device()
    device.ended(device.say(SAID)["id"])
    deployment.service.host.invoke("cleanup", {})
    told = [line.json for line in deployment.service.host.logs.of() if line.json and "_aws" in line.json]
    assert {"api", "cleanup"} <= {line["function"] for line in told}
    assert {"ColdStarts", "Turns", "Cleanups", "CleanupLeft"} <= {name for line in told for name in line}
    for line in told:
        assert broken_rules(line) == []
        for directive in line["_aws"]["CloudWatchMetrics"]:
            assert {metric["Name"] for metric in directive["Metrics"]} <= BY_NAME.keys()


def test_none_of_their_lines_holds_anything_private(deployment: Deployment) -> None:
    """Of all that was done on this deployment so far."""
    device = deployment.device()
    device.ended(device.say(SAID)["id"])
    device.call("POST", "/v1/turns", {"message": 1, SAID: SAID})
    device.call("GET", f"/v1/sessions/{device.id}")
    deployment.service.host.invoke("cleanup", {})
    rows = run(
        deployment.database_url,
        "SELECT id::text FROM users UNION SELECT id::text FROM conversation_states UNION SELECT device_id::text FROM connections",
    )
    private = [SAID, device.token[-1], json.dumps(SAID)[1:-1], *(id_ for (id_,) in rows)]
    said = "\n".join(line.text for line in deployment.service.host.logs.of())
    assert len(private) > 4
    assert [one for one in private if one in said or one.replace("-", "") in said] == []
