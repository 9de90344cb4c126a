"""A fence: a condition, a key or a check that the promises stand on, and how it is taken out."""

from dataclasses import dataclass

STORE = "tests/store"
# Where each write of a holder is tried at an epoch that has passed.
WRITES = "tests/store/test_steps.py"

_UNFENCED = "id = :session_id AND lease_expires_at IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Fence:
    name: str
    file: str
    # The statement or function that it is in, by how that begins.
    place: str
    old: str
    new: str
    # Where the test is that should notice.
    tests: str


def epoch(name: str, file: str, place: str) -> Fence:
    return Fence(f"the epoch in {name}", file, place, "{FENCE}", _UNFENCED, WRITES)


def gone(name: str, file: str, place: str, old: str, tests: str, new: str = "") -> Fence:
    return Fence(name, file, place, old, new, tests)
