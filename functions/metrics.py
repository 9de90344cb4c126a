"""Metrics: the one list of them, and how one is told.

A metric is a number in a line of the log, in CloudWatch's embedded metric format (EMF): no call is made to tell it, so telling
costs nothing that can fail, and what else the line says can be searched. CloudWatch reads it from the log. Where there is
no Lambda (`make run`) nobody reads such lines, and none are written: `begin` is what a Lambda handler calls.

Alarms and the dashboard name these metrics, and a test holds them to this list; another holds the code to it.
"""

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from core import about, reports
from core.attendance import on_a_thread
from core.reports import Report
from core.values import dataclass

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
    Metric("WakesLost", COUNT, "Wake-ups for a worker that could not be sent: the clean-up tries again"),
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
        serialize = self._serialize or self.load()
        metrics = {name: {"Unit": BY_NAME[name].unit, "Value": [value]} for name, value in values.items()}
        said = serialize(metrics=metrics, dimensions=self._dimensions, metadata={**properties, **also_by})
        # One value each: a number is found by its name in a query, and the first one of a list is not.
        said |= values
        for name, dimension in ((name, BY_NAME[name].also_by) for name in values):
            if dimension is not None and dimension in also_by:
                said["_aws"]["CloudWatchMetrics"].append(_more(BY_NAME[name]))
        # What was done is done, also where nobody can be told of it.
        with suppress(OSError):
            self._write(json.dumps(said, separators=(",", ":"), default=str) + "\n")

    def load(self) -> Callable[..., Any]:
        # Not at import: it takes longer than all that is told in a minute.
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


def warm() -> None:
    """Loads what tells them, while a first request waits for others."""
    if _book is not None:
        on_a_thread(_book.load, "warm-metrics")


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
        _book.line(values, also_by or {}, {**about.current(), **properties})


def stint(report: Report) -> None:
    """Of one function with one turn. Where nobody reads metrics it is a line for people."""
    if _book is None:
        reports.log(report)
        return
    ms = {purpose: _ms(spent_s) for purpose, spent_s in report.spent_s.items()}
    values: dict[str, float] = {
        "Turns": 1,
        "TurnTime": _ms(report.total_s),
        "ClaimTime": ms["claim"],
        "ModelTime": ms["model"],
        "ToolTime": ms["tools"],
        "CommitTime": ms["commits"] + ms["finish"],
        "TurnOverhead": _ms(report.overhead_s),
    }
    if report.asked:
        values |= {name: report.usage[kind] for name, kind in _TOKENS.items()}
        if report.cost_usd is not None:
            values["CostUsd"] = report.cost_usd
    if report.became in _COUNTED:
        values[_COUNTED[report.became]] = 1
    tell(values, {"status": report.became}, **_more_of(report, ms))


_TOKENS = {
    "InputTokens": "input_tokens",
    "OutputTokens": "output_tokens",
    "CacheReadTokens": "cache_read_input_tokens",
    "CacheWriteTokens": "cache_creation_input_tokens",
}
_COUNTED = {"handed_over": "HandedOver", "failed": "TurnsFailed"}


def _more_of(report: Report, ms: Mapping[str, float]) -> dict[str, Any]:
    """What can be searched for, and is no metric."""
    said = {
        "session": report.session,
        "turn": report.turn,
        "epoch": report.epoch,
        "agent": report.agent,
        "code": report.code,
        "commit_ms": ms["commits"],
        "finish_ms": ms["finish"],
        "own_ms": ms["own"],
        "first_word_ms": None if report.first_word_s is None else _ms(report.first_word_s),
        "model_calls": report.asked,
        "tool_calls": report.ran,
        "commits": report.commits,
        "attempt": report.crashes + 1,
        "loaded": report.loaded,
    }
    return {name: value for name, value in said.items() if value is not None}


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)
