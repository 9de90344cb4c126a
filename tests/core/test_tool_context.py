"""What a tool is given beside its arguments: whose conversation it is, how long it has, a connection of its own."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import text

from core.agents.agent import Agent
from core.agents.roster import Roster
from core.agents.tool import Effect, ToolContext, tool
from core.house import House, build_house
from core.settings import Settings
from dev.demo_model import DemoModel
from tests.conversations import arrival, expire, held, refusals, taken, until
from tests.core.test_tool_functions import told
from tests.databases import run


@tool(effect=Effect.ONCE)
def write_down(context: ToolContext, word: str, then: str = "") -> str:
    """Writes a word into a table."""
    with context.connect() as connection:
        connection.execute(
            text("INSERT INTO words VALUES (:word, :user)"), {"word": word, "user": context.user_id}
        )
        if then == "raise":
            raise RuntimeError("after all, no")
        if then == "again":
            connection.execute(
                text("INSERT INTO words VALUES (:word, :user)"), {"word": word, "user": context.user_id}
            )
    return "written"


@tool(effect=Effect.READ, time_limit_s=0.5)
def sleep(context: ToolContext) -> str:
    """Asks the database for something that takes too long."""
    with context.connect() as connection:
        connection.execute(text("SELECT pg_sleep(30)"))
    return "slept"


@pytest.fixture
def house(settings: Settings, model: DemoModel, database_url: str) -> Iterator[House]:
    run(database_url, "CREATE TABLE words (word text UNIQUE, by uuid)")
    agent = Agent(key="manager", prompt="You are one.", tools=(write_down, sleep))
    built = build_house(settings, Roster.of(agent))
    yield built
    built.close()
    assert refusals(model) == []


def test_what_a_tool_wrote_is_committed_and_it_knows_whose_it_is(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    assert told(house, model, device, "write_down", word="one") == ("written", False)
    assert run(database_url, "SELECT word, by = (SELECT user_id FROM conversation_states) FROM words") == [
        ("one", True)
    ]


def test_whoever_goes_on_with_a_turn_knows_whose_it_is_too(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    gone = held(house, arrival(device))
    expire(database_url)
    assert taken(house, gone.hold.session_id).grant.user_id == gone.grant.user_id


def test_what_a_tool_wrote_before_it_failed_is_taken_back(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    assert told(house, model, device, "write_down", word="one", then="raise")[1]
    assert run(database_url, "SELECT * FROM words") == []


def test_of_what_postgres_says_only_the_code_is_logged(
    house: House, model: DemoModel, device: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    content, is_error = told(house, model, device, "write_down", word="hunter2", then="again")
    assert (is_error, "hunter2" in content) == (True, False)
    (line,) = [record for record in caplog.records if "the tool" in record.message]
    assert "the tool write_down failed: IntegrityError, SQLSTATE 23505" in line.message
    assert "in write_down" in line.message
    assert "hunter2" not in caplog.text


def test_a_statement_ends_with_the_time_of_its_tool(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    content, is_error = told(house, model, device, "sleep")
    assert (is_error, "0.5 seconds" in content) == (True, True)
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' AND pid <> pg_backend_pid()"
    until(lambda: not run(database_url, sleeping), 5)
