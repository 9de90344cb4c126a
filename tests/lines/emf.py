"""What CloudWatch takes as a metric: its embedded metric format, as AWS specifies it. What breaks a rule is ignored there, in silence."""

from math import isfinite
from typing import Any

from tests.lines.on_lambda import now_ms

_UNITS = {"Count", "Milliseconds", "None"}
_MOST_METRICS, _MOST_DIMENSIONS, _MOST_BYTES = 100, 30, 1_000_000
_FORTNIGHT_MS, _TWO_HOURS_MS = 14 * 86_400_000, 7_200_000


def broken_rules(line: dict[str, Any]) -> list[str]:
    about = line.get("_aws", {})
    broken = []
    at = about.get("Timestamp")
    if type(at) is not int or not now_ms() - _FORTNIGHT_MS < at < now_ms() + _TWO_HOURS_MS:
        broken.append("its time is not of now, in whole milliseconds")
    directives = about.get("CloudWatchMetrics")
    if not isinstance(directives, list) or not directives:
        return [*broken, "it has no metrics"]
    for directive in directives:
        broken += _of_directive(directive, line)
    return broken


def _of_directive(directive: dict[str, Any], line: dict[str, Any]) -> list[str]:
    broken = []
    if directive.keys() != {"Namespace", "Dimensions", "Metrics"}:
        broken.append(f"a directive of {sorted(directive)}")
    if not 1 <= len(directive["Namespace"]) <= 1024:
        broken.append("no namespace")
    if not directive["Dimensions"] or not directive["Metrics"] or len(directive["Metrics"]) > _MOST_METRICS:
        broken.append("no dimensions, no metrics, or too many")
    for names in directive["Dimensions"]:
        if len(names) > _MOST_DIMENSIONS:
            broken.append("too many dimensions")
        broken += [
            f"the dimension {name} has no text"
            for name in names
            if not isinstance(line.get(name), str) or not 1 <= len(line[name]) <= 1024
        ]
    for metric in directive["Metrics"]:
        if (
            metric.keys() != {"Name", "Unit"}
            or metric["Unit"] not in _UNITS
            or not 1 <= len(metric["Name"]) <= 1024
        ):
            broken.append(f"the metric {metric}")
        value = line.get(metric["Name"])
        if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
            broken.append(f"{metric['Name']} is no number")
    return broken
