"""Every alarm listens to something that is said, in the unit that it is said in, and somebody is told."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from functions.metrics import DIMENSIONS, METRICS, NAMESPACE, SERVICE
from tests.template.stack import ROOT, Stack

UNITS: Final = {metric.name: metric.unit for metric in METRICS}

# AWS's own, as far as we listen to them: what each is told by.
AWS: Final[dict[str, dict[str, str]]] = {
    "AWS/SQS": dict.fromkeys(
        ("ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"), "QueueName"
    ),
    "AWS/ApiGateway": dict.fromkeys(("Count", "4xx", "5xx", "Latency"), "ApiId"),
    "AWS/Lambda": dict.fromkeys(("Errors", "Throttles", "Duration", "ConcurrentExecutions"), "FunctionName"),
}
# The runbook's parts; an alarm without one wakes somebody who then stands there.
RUNBOOK: Final = {
    "dead-letters",
    "queue-age",
    "server-errors",
    "slow-turns",
    "turns-failed",
    "wakes-lost",
    "throttles",
    "worker-errors",
    "cleanup-stopped",
    "defects",
    "archive-failures",
}


@dataclass(frozen=True, slots=True)
class Listening:
    where: str
    namespace: str
    name: str
    dimensions: dict[str, str]


def problems(stack: Stack, heard: Listening) -> Iterator[str]:
    """Why nothing would ever be heard."""
    if heard.namespace == NAMESPACE:
        if heard.name not in UNITS:
            yield f"{heard.where}: no code tells {heard.name}"
        if heard.dimensions != dict(zip(DIMENSIONS, (SERVICE, stack.stage), strict=True)):
            yield f"{heard.where}: {heard.name} is not told by {heard.dimensions}"
        return
    by = AWS.get(heard.namespace, {}).get(heard.name)
    if by is None or list(heard.dimensions) != [by]:
        yield f"{heard.where}: AWS does not tell {heard.namespace} {heard.name} by {heard.dimensions}"
        return
    resource, _, attribute = heard.dimensions[by].strip("<>").partition(".")
    type_ = stack.resources.get(resource, {}).get("Type")
    of = {
        "QueueName": "AWS::SQS::Queue",
        "ApiId": "AWS::ApiGatewayV2::Api",
        "FunctionName": "AWS::Lambda::Function",
    }
    if type_ != of[by] or attribute != ("QueueName" if by == "QueueName" else ""):
        yield f"{heard.where}: {heard.dimensions[by]} is no {by}"


def of_alarms(stack: Stack) -> Iterator[Listening]:
    for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
        dimensions = {said["Name"]: said["Value"] for said in alarm["Dimensions"]}
        yield Listening(name, alarm["Namespace"], alarm["MetricName"], dimensions)


def widgets(stack: Stack) -> list[dict[str, Any]]:
    (dashboard,) = stack.of_type("AWS::CloudWatch::Dashboard").values()
    return list(json.loads(dashboard["DashboardBody"])["widgets"])


def of_the_dashboard(stack: Stack) -> Iterator[Listening]:
    for widget in widgets(stack):
        for metric in widget["properties"].get("metrics", []):
            namespace, name, *told = [part for part in metric if isinstance(part, str)]
            dimensions = dict(zip(told[::2], told[1::2], strict=True))
            yield Listening(widget["properties"]["title"], namespace, name, dimensions)


def test_every_alarm_listens_to_what_is_told(stack: Stack) -> None:
    heard = list(of_alarms(stack))
    assert len(heard) >= 12
    assert not [problem for each in heard for problem in problems(stack, each)]


def test_so_does_the_dashboard(stack: Stack) -> None:
    heard = list(of_the_dashboard(stack))
    assert len(heard) >= 30
    assert not [problem for each in heard for problem in problems(stack, each)]


@pytest.mark.parametrize(
    "deaf",
    [
        Listening("a name that no code tells", NAMESPACE, "Sessions", {}),
        Listening("one dimension short", NAMESPACE, "Defects", {"service": "latchkey"}),
        Listening("another stage", NAMESPACE, "Defects", {"service": "latchkey", "stage": "test"}),
        Listening("not AWS's", "AWS/SQS", "ApproximateAge", {"QueueName": "<Queue.QueueName>"}),
        Listening("by its address", "AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": "<Queue>"}),
        Listening("by a name of REST APIs", "AWS/ApiGateway", "5xx", {"ApiName": "<HttpApi>"}),
        Listening("by its ARN", "AWS/Lambda", "Errors", {"FunctionName": "<ApiLambdaFunction.Arn>"}),
        Listening("another's", "AWS/Lambda", "Errors", {"FunctionName": "<Queue>"}),
    ],
    ids=lambda deaf: str(deaf.where),
)
def test_one_that_would_hear_nothing_is_seen(packed: Any, deaf: Listening) -> None:
    assert list(problems(packed("dev"), deaf))


def test_ours_are_heard_in_the_unit_that_they_are_told_in(stack: Stack) -> None:
    """An alarm for another unit than the metric's never has any data."""
    for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
        if alarm["Namespace"] == NAMESPACE:
            assert alarm["Unit"] == UNITS[alarm["MetricName"]], name
        else:
            assert "Unit" not in alarm, name


def test_every_alarm_tells_somebody_also_when_it_is_over(stack: Stack) -> None:
    for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
        assert alarm["AlarmActions"] == alarm["OKActions"] == ["<AlarmTopic>"], name


def test_the_mail_is_a_switch(stack: Stack, switched: Any) -> None:
    assert not stack.of_type("AWS::SNS::Subscription")
    (mail,) = switched("everything on").of_type("AWS::SNS::Subscription").values()
    assert (mail["TopicArn"], mail["Protocol"]) == ("<AlarmTopic>", "email")


def test_every_alarm_names_its_part_of_the_runbook(stack: Stack) -> None:
    alarms = stack.of_type("AWS::CloudWatch::Alarm")
    named = {
        name: re.findall(r"docs/runbook\.md#([a-z-]+)$", alarm["AlarmDescription"])
        for name, alarm in alarms.items()
    }
    assert all(len(parts) == 1 for parts in named.values()), named
    assert {part for (part,) in named.values()} == RUNBOOK
    assert set(re.findall(r"(?m)^## ([a-z-]+)$", (ROOT / "docs" / "runbook.md").read_text())) >= RUNBOOK
    for name, alarm in alarms.items():
        assert alarm["AlarmName"].startswith(f"latchkey-{stack.stage}-"), name


def test_silence_is_an_alarm_for_the_clean_up_alone(stack: Stack) -> None:
    alarms = stack.of_type("AWS::CloudWatch::Alarm")
    silent = {name for name, alarm in alarms.items() if alarm["TreatMissingData"] == "breaching"}
    assert silent == {"CleanupStoppedAlarm"}
    stopped = alarms["CleanupStoppedAlarm"]
    assert (stopped["ComparisonOperator"], stopped["Threshold"], stopped["Statistic"]) == (
        "LessThanThreshold",
        1,
        "Sum",
    )
    # The clock strikes several times in what one look takes in.
    assert stopped["Period"] >= 180
    others = (alarm for name, alarm in alarms.items() if name not in silent)
    assert {alarm["ComparisonOperator"] for alarm in others} == {"GreaterThanOrEqualToThreshold"}


def test_what_must_wake_somebody_does(stack: Stack) -> None:
    heard = {(each.namespace, each.name, *each.dimensions.values()) for each in of_alarms(stack)}
    ours = ("latchkey", stack.stage)
    assert heard >= {
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "<DeadLetters.QueueName>"),
        ("AWS/SQS", "ApproximateAgeOfOldestMessage", "<Queue.QueueName>"),
        ("AWS/ApiGateway", "5xx", "<HttpApi>"),
        ("AWS/Lambda", "Throttles", "<ApiLambdaFunction>"),
        ("AWS/Lambda", "Throttles", "<WorkerLambdaFunction>"),
        ("AWS/Lambda", "Errors", "<ApiLambdaFunction>"),
        ("AWS/Lambda", "Errors", "<WorkerLambdaFunction>"),
        *(
            (NAMESPACE, name, *ours)
            for name in ("TurnTime", "TurnOverhead", "TurnsFailed", "Defects", "WorkerErrors", "WakesLost")
        ),
        *((NAMESPACE, name, *ours) for name in ("Cleanups", "ArchiveFailures")),
    }


def test_slowness_is_the_slowest_twentieth(stack: Stack) -> None:
    for name in ("SlowTurnsAlarm", "SlowOverheadAlarm"):
        alarm = stack.of_type("AWS::CloudWatch::Alarm")[name]
        assert alarm["ExtendedStatistic"] == "p95"
        assert "Statistic" not in alarm


def test_the_dashboard_shows_every_alarm_and_every_metric_of_ours(stack: Stack) -> None:
    (shown,) = (widget["properties"]["alarms"] for widget in widgets(stack) if widget["type"] == "alarm")
    assert set(shown) == {f"<{name}.Arn>" for name in stack.of_type("AWS::CloudWatch::Alarm")}
    assert UNITS.keys() == {each.name for each in of_the_dashboard(stack) if each.namespace == NAMESPACE}


def test_nothing_on_the_dashboard_lies_upon_another(stack: Stack) -> None:
    taken = [
        (widget["x"] + x, widget["y"] + y)
        for widget in widgets(stack)
        for x in range(widget["width"])
        for y in range(widget["height"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
