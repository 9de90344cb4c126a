"""What the runbook has one paste at night runs, and each alarm leads to its section."""

import re
from uuid import uuid4

import psycopg2
import pytest

from tests.databases import run
from tests.docs.pages import ROOT, anchors, blocks, page

RUNBOOK = page("runbook.md")
GIVEN = {
    "SESSION-ID": str(uuid4()),
    "DEVICE-ID": str(uuid4()),
    "USER-DIGEST": "0" * 64,
    "POINT-IN-TIME": "2026-11-21 12:00+00",
}
STATEMENTS = [
    statement.strip()
    for block in blocks(RUNBOOK, "sql")
    for statement in block.strip().split(";")
    if statement.strip()
]


def filled(statement: str) -> str:
    for name, value in GIVEN.items():
        statement = statement.replace(name, value)
    return statement.replace("%", "%%")


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: " ".join(statement.split())[:50])
def test_a_query_of_the_runbook_runs(statement: str, database_url: str) -> None:
    run(database_url, filled(statement))


def test_there_are_queries_and_one_that_is_wrong_would_show(database_url: str) -> None:
    assert len(STATEMENTS) > 10
    with pytest.raises(psycopg2.Error):
        run(database_url, STATEMENTS[0].replace("lease_expires_at", "leased_until"))


def test_every_alarm_names_a_section_that_is_there() -> None:
    """The template's parts are read as text: whatever they say of the runbook, in whichever of them."""
    parts = [ROOT / "serverless.yml", *sorted((ROOT / "stack").glob("*.yml"))]
    told = [
        named
        for part in parts
        if part.exists()
        for named in re.findall(r"runbook\.md#([\w-]+)", part.read_text())
    ]
    assert set(told) <= anchors(RUNBOOK)
    alarms = {
        "dead-letters",
        "queue-age",
        "server-errors",
        "slow-turns",
        "wakes-lost",
        "throttles",
        "worker-errors",
        "cleanup-stopped",
        "defects",
        "archive-failures",
    }
    assert alarms <= anchors(RUNBOOK)
