"""docs/upgrade.md: the statement that it gives does what it says."""

import re
from uuid import uuid4

from core.house import House
from core.store import figures
from tests.conversations import answer, arrival
from tests.databases import ROOT, run


def test_what_was_counted_twice_is_set_right(house: House, database_url: str) -> None:
    for _ in range(3):
        answer(house, arrival(uuid4()))
    run(
        database_url,
        "UPDATE conversation_states SET counted = true WHERE id = (SELECT id FROM conversation_states LIMIT 1)",
    )
    for label, value in (("begun", 40), ("ended", 9)):
        run(
            database_url,
            "INSERT INTO daily_stats (day, hour, name, label, shard, value) VALUES ('2026-01-01', 3, 'sessions', %s, 1, %s)",
            label,
            value,
        )
    assert figures.kept(house.database) != 3
    statement = re.search(
        r"```sql\n(INSERT INTO daily_stats.*?)```", (ROOT / "docs" / "upgrade.md").read_text(), re.DOTALL
    )
    assert statement is not None
    for _ in range(2):
        run(database_url, statement[1])
        assert figures.kept(house.database) == 3
