"""Metrics are those of the list, and CloudWatch takes each line that tells one."""

import ast
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from functions import metrics
from functions.metrics import BY_NAME, DIMENSIONS, METRICS, NAMESPACE
from tests.databases import ROOT
from tests.lines.emf import broken_rules
from tests.lines.on_lambda import Log

_LIST = ROOT / "functions" / "metrics.py"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_cloudwatch_takes_each_metric(log: Log, metric: metrics.Metric) -> None:
    metrics.tell({metric.name: 1}, {metric.also_by: "completed"} if metric.also_by else {})
    (line,) = log.metrics
    assert broken_rules(line) == []
    told = {
        (directive["Namespace"], tuple(names), one["Name"], one["Unit"])
        for directive in line["_aws"]["CloudWatchMetrics"]
        for names in directive["Dimensions"]
        for one in directive["Metrics"]
    }
    assert told == {(NAMESPACE, names, metric.name, metric.unit) for names in metric.dimensions}
    assert (line["service"], line["stage"]) == ("latchkey", "dev")


def test_each_metric_says_what_it_means() -> None:
    assert len(BY_NAME) == len(METRICS)
    assert all(metric.means and metric.dimensions[0] == DIMENSIONS for metric in METRICS)


def test_what_is_not_in_the_list_is_not_told(log: Log) -> None:
    with pytest.raises(ValueError, match="Wonders"):
        metrics.count("Wonders")
    assert log.written == []


def test_where_there_is_no_lambda_nothing_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    metrics.count("Defects")
    assert "".join(capfd.readouterr()) == ""


def test_on_lambda_it_is_a_line_of_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    metrics.begin("prod")
    try:
        metrics.count("Defects", error="KeyError")
    finally:
        metrics.end()
    out, err = capfd.readouterr()
    line = json.loads(out)
    assert (out.count("\n"), err, line["Defects"], line["error"], line["stage"]) == (
        1,
        "",
        1,
        "KeyError",
        "prod",
    )


def test_threads_do_not_write_into_each_others_lines(log: Log) -> None:
    def many(name: str) -> None:
        for number in range(200):
            metrics.tell({name: number}, of=name)

    names = ("TurnTime", "Cleanups", "Defects", "CostUsd")
    threads = [threading.Thread(target=many, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.metrics) == 800
    for line in log.metrics:
        assert [name for name in names if name in line] == [line["of"]]
        assert broken_rules(line) == []


def test_a_line_that_cannot_be_written_breaks_nothing(log: Log) -> None:
    def write(_: str) -> None:
        raise BrokenPipeError

    metrics.begin("dev", write)
    metrics.count("Defects")


# ---- the list and the code


def _texts() -> dict[str, list[str]]:
    """Every text of the functions, but for the list of metrics itself, and where it stands."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "functions").rglob("*.py")):
        tree = ast.parse(path.read_text())
        if path == _LIST:
            tree.body = [node for node in tree.body if not _is_the_list(node)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.setdefault(node.value, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def _is_the_list(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "METRICS"
    )


def _told_by_name() -> list[tuple[str, str]]:
    """The names in calls of `count` and `tell`."""
    calls = (
        (path, node)
        for path in (ROOT / "functions").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and _called(node) in ("metrics.count", "metrics.tell")
    )
    return [(name, f"{path}:{node.lineno}") for path, node in calls for name in _named(node.args[0])]


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def _named(argument: ast.expr) -> list[Any]:
    given = argument.keys if isinstance(argument, ast.Dict) else [argument]
    return [key.value for key in given if isinstance(key, ast.Constant)]


def test_what_the_functions_tell_is_in_the_list() -> None:
    told = _told_by_name()
    assert len(told) >= 4, "the reader of calls has gone blind"
    assert [(name, where) for name, where in told if name not in BY_NAME] == []


def test_each_metric_of_the_list_is_told_by_some_function() -> None:
    texts = _texts()
    assert [metric.name for metric in METRICS if metric.name not in texts] == []


def test_the_page_of_the_log_says_what_each_metric_means() -> None:
    page = Path(ROOT / "docs" / "logs.md").read_text()
    missing = [
        metric for metric in METRICS if f"| `{metric.name}` | {metric.unit} | {metric.means} |" not in page
    ]
    assert missing == []
