"""Cleaning for tests: until nothing is left, and what was done by it, but for what it only counted."""

from typing import Any

from core.cleaning import Cleaning
from core.deadline import Deadline
from core.store import counting
from core.store.database import Database
from core.wakeups import Wakeups


def clean(
    database: Database, wakeups: Wakeups | None = None, *, key_ttl_s: int = 86_400, **more: Any
) -> dict[str, int]:
    cleaned = Cleaning(database, wakeups, key_ttl_s, **more).clean(Deadline.after(20))
    assert not cleaned.failed
    return {kind: number for kind, number in cleaned.done.items() if kind not in counting.KINDS}
