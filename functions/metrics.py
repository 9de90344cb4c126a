"""Metrics: the one list of them, and how one is told.

A metric is a number in a line of the log, in CloudWatch's embedded metric format (EMF): no call is made to tell it, so telling
costs nothing that can fail, and what else the line says can be searched. CloudWatch reads it from the log. Where there is
no Lambda (`make run`) nobody reads such lines, and none are written: `begin` is what a Lambda handler calls.

Alarms and the dashboard name these metrics, and a test holds them to this list; another holds the code to it.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from functions.lines import known

NAMESPACE = "Latchkey"
SERVICE = "latchkey"
# Every metric is told by these. A stage is a deployment of its own.
DIMENSIONS = ("service", "stage")

COUNT, MS, NONE = "Count", "Milliseconds", "None"


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    unit: str
    means: str
    # Told once more for each value of this one.
    also_by: str | None = None

    @property
    def dimensions(self) -> tuple[tuple[str, ...], ...]:
        return (DIMENSIONS,) if self.also_by is None else (DIMENSIONS, (*DIMENSIONS, self.also_by))


METRICS: tuple[Metric, ...] = (
    # Of one function's stint with one turn: a turn that was handed over is told once by each that had it.
    Metric("Turns", COUNT, "Stints with a turn, and by what became of it", also_by="status"),
    Metric("TurnTime", MS, "From the message's arrival at this function to the end of its stint"),
    Metric("ClaimTime", MS, "Until the message was stored and the conversation was this function's"),
    Metric("ModelTime", MS, "In which the model was waited for"),
    Metric("ToolTime", MS, "In which tools were waited for"),
    Metric("CommitTime", MS, "In which the database stored steps, the last one included"),
    Metric(
        "TurnOverhead",
        MS,
        "What was neither the model nor tools: the service's own share, the database's included",
    ),
    Metric("InputTokens", COUNT, "Tokens that the model read, those of its cache left out"),
    Metric("OutputTokens", COUNT, "Tokens that the model wrote"),
    Metric("CacheReadTokens", COUNT, "Tokens that the model read from its cache"),
    Metric("CacheWriteTokens", COUNT, "Tokens that the model put into its cache"),
    Metric("CostUsd", NONE, "Dollars, where the model's price is known"),
    Metric("HandedOver", COUNT, "Stints that left the rest of their turn to another function"),
    Metric("TurnsFailed", COUNT, "Turns that ended as failed"),
    # Of functions.
    Metric("ServerErrors", COUNT, "Answers with a status of 500 or more"),
    Metric("Defects", COUNT, "Exceptions that nobody expected, in any function"),
    Metric("WorkerErrors", COUNT, "Records that a worker gave back to the queue"),
    Metric("ColdStarts", COUNT, "Processes that were begun: their first invocation"),
    # Of clean-ups.
    Metric("Cleanups", COUNT, "Clean-ups that went through"),
    Metric("CleanupLeft", COUNT, "What was left to be cleaned up when one ended"),
    Metric("Recovered", COUNT, "Turns that nobody went on with and somebody was woken for"),
    Metric("SessionsExpired", COUNT, "Conversations that were taken away because their time was over"),
    Metric("SessionsArchived", COUNT, "Of them: those that the archive holds"),
    Metric("ArchiveFailures", COUNT, "Conversations that could not be archived, and so were not taken away"),
)
BY_NAME: dict[str, Metric] = {metric.name: metric for metric in METRICS}


class _Book:
    """Where metrics are told, once a Lambda handler has begun. It has no state of its own: threads may write at once."""

    def __init__(self, stage: str, write: Callable[[str], object]) -> None:
        self._dimensions = {"service": SERVICE, "stage": stage}
        self._write = write
        self._serialize: Callable[..., Any] | None = None

    def line(
        self, values: Mapping[str, float], also_by: Mapping[str, str], properties: Mapping[str, Any]
    ) -> None:
        serialize = self._serialize or self._load()
        metrics = {name: {"Unit": BY_NAME[name].unit, "Value": [value]} for name, value in values.items()}
        said = serialize(metrics=metrics, dimensions=self._dimensions, metadata={**properties, **also_by})
        # One value each: a number is found by its name in a query, and the first one of a list is not.
        said |= values
        for name, dimension in ((name, BY_NAME[name].also_by) for name in values):
            if dimension is not None and dimension in also_by:
                said["_aws"]["CloudWatchMetrics"].append(_more(BY_NAME[name]))
        self._write(json.dumps(said, separators=(",", ":")) + "\n")

    def _load(self) -> Callable[..., Any]:
        # Loaded at the first line: what is told is told after the work.
        from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import (
            AmazonCloudWatchEMFProvider,
        )

        provider = AmazonCloudWatchEMFProvider(
            namespace=NAMESPACE, service=SERVICE, default_dimensions=self._dimensions
        )
        self._serialize = provider.serialize_metric_set
        return self._serialize


def _more(metric: Metric) -> dict[str, Any]:
    return {
        "Namespace": NAMESPACE,
        "Dimensions": [list(metric.dimensions[-1])],
        "Metrics": [{"Name": metric.name, "Unit": metric.unit}],
    }


def _to_stdout(line: str) -> None:
    # At once and in one piece; whoever captures it may have changed it since.
    sys.stdout.write(line)
    sys.stdout.flush()


_book: _Book | None = None


def begin(stage: str, write: Callable[[str], object] | None = None) -> None:
    """From here on metrics are told. Called once a process, by a function on Lambda, before its first invocation."""
    global _book
    _book = _Book(stage, write or _to_stdout)


def end() -> None:
    global _book
    _book = None


def count(name: str, by: float = 1, **properties: Any) -> None:
    tell({name: by}, **properties)


def tell(values: Mapping[str, float], also_by: Mapping[str, str] | None = None, **properties: Any) -> None:
    """One line with all of them. What is known of the request, and the properties, are said in it without being metrics.

    `also_by`: the values of further dimensions, for those metrics that are told by them as well.
    """
    unlisted = values.keys() - BY_NAME.keys()
    if unlisted:
        raise ValueError(f"{', '.join(sorted(unlisted))}: not in the list of metrics")
    if _book is not None and values:
        _book.line(values, also_by or {}, {**known(), **properties})
