"""A worker's errand that fails ends nothing but itself, and whoever runs the service is told why."""

import logging
from uuid import uuid4

import psycopg2
import pytest

from core.errors import DatabaseUnavailable
from core.ids import SessionId
from core.wakeups import WorkerThreads
from tests.conversations import until


def test_the_log_says_why_and_not_what_a_client_should_do(caplog: pytest.LogCaptureFixture) -> None:
    """In the driver's words. What others say may quote somebody: of them the kind is told."""
    causes = [psycopg2.OperationalError("no route to db.example"), OSError("no such file: zanzibar4711")]
    done: list[SessionId] = []

    def work(session_id: SessionId) -> None:
        done.append(session_id)
        if causes:
            raise DatabaseUnavailable from causes.pop(0)
        raise ValueError("a defect")

    workers = WorkerThreads(work, lambda: None, threads=1, sweep_every_s=60)
    with caplog.at_level(logging.WARNING, "core.wakeups"):
        workers.start()
        for _ in range(3):
            workers.wake(SessionId(uuid4()))
        until(lambda: len(caplog.records) == 3)
        workers.stop()
    outage, another, defect = caplog.records
    assert outage.getMessage() == (
        "worker: database_unavailable: no route to db.example; the next sweep tries again"
    )
    assert another.getMessage() == "worker: database_unavailable: OSError; the next sweep tries again"
    assert outage.exc_info is None
    assert defect.getMessage() == "worker: unexpected ValueError"
    assert defect.exc_info
    assert len(done) == 3
