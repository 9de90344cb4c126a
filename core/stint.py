"""A stint: how long a function can stay with a turn, and whether another goes on with what it cannot end."""

from core.compaction import Window
from core.deadline import Deadline
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Stint:
    """How long a function can stay with a turn, and whether another goes on with what it cannot end."""

    until: Deadline
    # What must be left of it to begin with asking the model.
    room_to_ask_s: float
    # Somebody with more time can go on.
    can_hand_over: bool
    # What fails for want of time has failed.
    is_last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    turn_budget_s: float
    worker_budget_s: float
    # How many messages a turn may add, and how many holders may die over it.
    longest_turn: int
    most_crashes: int
    # How often one message may be handed over, and how long whoever holds a conversation keeps it, unless it says itself.
    most_handovers: int
    lock_ttl_s: int
    # How much the model is told before the conversation is compacted.
    window: Window
