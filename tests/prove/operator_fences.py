"""The fences of operators: they keep nothing alive, undo no merge, are on record, and stop what they mean."""

from tests.prove.fence import Fence, gone

OPERATORS, OPERATING = "core/store/operators.py", "core/operating.py"
SEEN = "core/store/seen.py"
ACTS, LOOKS, WRITES = (
    "tests/functions/test_operators.py",
    "tests/functions/test_seen.py",
    "tests/store/test_operators.py",
)

OPERATOR_FENCES: tuple[Fence, ...] = (
    gone(
        "an operator's clearing keeps no conversation alive",
        OPERATORS,
        "_CLEAR_LOCK: Final",
        'OPERATES, ""',
        ACTS,
        'OPERATES, ", last_active_at = clock.at"',
    ),
    gone(
        "what became a part of another is not cleared",
        OPERATORS,
        "OPERATES: Final",
        " AND s.merged_into IS NULL",
        WRITES,
    ),
    gone(
        "what became a part of another is not ended",
        OPERATORS,
        "_END: Final",
        " AND s.merged_into IS NULL",
        WRITES,
    ),
    gone(
        "an operator's stop is noted of what it stopped",
        OPERATORS,
        "_STOP: Final",
        "FROM stopped o, clock",
        ACTS,
        "FROM stopped o, clock WHERE false",
    ),
    gone(
        "a turn that is to stop already is not stopped again",
        OPERATING,
        "def attempt",
        " if turn.stop is None",
        ACTS,
    ),
    gone(
        "a turn whose function died ends when it is cancelled",
        OPERATING,
        "def cancel",
        "None if standing.held_until else begun",
        ACTS,
        "None",
    ),
    gone(
        "what a function holds is left to it",
        OPERATING,
        "def recover",
        "standing.held_until is not None",
        ACTS,
        "False",
    ),
    gone(
        "what waits for a person is not woken",
        OPERATING,
        "def recover",
        ' or standing.turns[0].status == "waiting"',
        ACTS,
    ),
    gone("the turns before one", SEEN, "page AS MATERIALIZED (", "t.seq < ", LOOKS, "t.seq <= "),
)
