"""As on Lambda: lines as its own runtime makes them, and metrics, in one list in the order in which they were written."""

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from functions import invocations, metrics
from tests import left_out

CONTEXT = SimpleNamespace(aws_request_id="lambdas-own-request-id")
TRACE = "1-5759e988-bd862e3fe1be46a994272793"


@dataclass(slots=True)
class Log:
    written: list[str] = field(default_factory=list)

    def log(self, text: str, frame_type: bytes | None = None) -> None:  # noqa: ARG002 - Lambda's runtime calls it so
        self.written.append(text)

    @property
    def text(self) -> str:
        return "".join(self.written)

    @property
    def all(self) -> list[dict[str, Any]]:
        """Each in a line of its own."""
        assert all(text.endswith("\n") and text.count("\n") == 1 for text in self.written), self.written
        return [json.loads(text) for text in self.written]

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [line for line in self.all if "_aws" not in line]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [line for line in self.all if "_aws" in line]

    def of(self, name: str) -> list[dict[str, Any]]:
        """The lines that tell this metric."""
        return [line for line in self.metrics if name in line]


@contextmanager
def on_lambda(monkeypatch: pytest.MonkeyPatch, level: str = "INFO") -> Iterator[Log]:
    try:
        from awslambdaric.bootstrap import LogFormat, _setup_logging
    except ImportError:
        left_out.leave_out("awslambdaric is not here: it is made for Linux alone")
    log, root = Log(), logging.getLogger()
    factory, hook, unraisable, handlers, converter = (
        logging.getLogRecordFactory(),
        threading.excepthook,
        sys.unraisablehook,
        root.handlers[:],
        logging.Formatter.converter,
    )
    loggers = [
        root,
        *(logger for logger in root.manager.loggerDict.values() if isinstance(logger, logging.Logger)),
    ]
    levels = {logger: logger.level for logger in loggers}
    monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root={TRACE};Parent=53995c3f42cd8ad8;Sampled=1")
    try:
        _setup_logging(LogFormat.JSON, level, log)
        invocations.begin("dev", "api")
        metrics.begin("dev", log.log)
        yield log
    finally:
        metrics.end()
        logging.setLogRecordFactory(factory)
        threading.excepthook = hook
        sys.unraisablehook = unraisable
        root.handlers = handlers
        logging.Formatter.converter = converter
        for logger in root.manager.loggerDict.values():
            if isinstance(logger, logging.Logger):
                logger.setLevel(levels.get(logger, logging.NOTSET))
        root.setLevel(levels[root])


def now_ms() -> int:
    return round(1000 * time.time())
