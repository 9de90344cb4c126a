"""What docs/postgres.md says of roles and of the length of statements."""

import re
from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest

from core.house import build_house
from core.settings import Settings, read_settings
from tests.conversations import answer, arrival
from tests.databases import migrate, run
from tests.docs.pages import blocks, page
from tests.wire import WireCounter

POSTGRES = page("postgres.md")
# What RDS Proxy shares, in bytes of a statement's text.
SHARED = 16 * 1024


@pytest.fixture
def by_two_roles(empty_database_url: str) -> Iterator[tuple[str, str]]:
    """The addresses of whom the page has own the tables, and of whom it has work with them."""
    statements = [one.strip() for block in blocks(POSTGRES, "sql") for one in block.split(";") if one.strip()]
    # Roles belong to the whole server, where other tests are.
    suffix = re.search(r"/(\w+)\?", empty_database_url).group(1)  # type: ignore[union-attr]  # or the test fails
    names = {role: f"{role}_{suffix}" for role in ("latchkey_owner", "latchkey_app")}
    for statement in statements:
        for role, name in names.items():
            statement = statement.replace(role, name)
        run(empty_database_url, statement)
    owner, app = (empty_database_url.replace("postgres@", f"{name}@") for name in names.values())
    yield owner, app
    for name in names.values():
        run(empty_database_url, f"DROP OWNED BY {name} CASCADE")
        run(empty_database_url, f"DROP ROLE {name}")


def test_one_role_migrates_and_the_other_talks(
    by_two_roles: tuple[str, str], settings: Settings, device: UUID
) -> None:
    owner, app = by_two_roles
    migrate(owner)
    house = build_house(replace(settings, database_url=read_settings({"DATABASE_URL": app}).database_url))
    assert answer(house, arrival(device, "Hello")).status == "completed"
    house.close()
    assert run(app, "SELECT count(*) FROM messages") == [(2,)]
    with pytest.raises(Exception, match="must be owner"):
        run(app, "ALTER TABLE messages DROP COLUMN content")


@pytest.mark.parametrize(("budgets", "characters"), [({}, 4_500), ({"BUDGET_SESSION_USD": "100"}, 2_500)])
def test_a_claim_of_so_many_characters_is_short_enough_to_share_a_connection(
    budgets: dict[str, str], characters: int, settings: Settings, database_url: str, device: UUID
) -> None:
    assert f"{characters:,} characters" in " ".join(POSTGRES.split())
    with WireCounter(database_url) as counter:
        given = {
            "DATABASE_URL": counter.url,
            "ANTHROPIC_API_KEY": "demo",
            "ANTHROPIC_BASE_URL": settings.anthropic_base_url,
            **budgets,
        }
        house = build_house(read_settings(given))
        for length in (characters, characters + 1_000):
            answer(house, replace(arrival(device, "x" * length), body_digest="d" * 64))
        house.close()
        claims = [sql for sql in counter.count.statements if "asker AS" in sql]
    assert len(claims[0]) < SHARED < len(claims[1])
