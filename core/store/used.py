"""What a commit says was used: by the turn and the session so far, and what of it is still to be charged."""

from collections.abc import Mapping
from typing import Any

from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Amount:
    micros: int
    tokens: int

    def plus(self, other: "Amount") -> "Amount":
        return Amount(self.micros + other.micros, self.tokens + other.tokens)


_TOKENS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def used_of(usage: Mapping[str, Any]) -> Amount:
    return Amount(usage.get("cost_micros") or 0, sum(usage.get(kind) or 0 for kind in _TOKENS))


@dataclass(frozen=True, slots=True)
class Used:
    """What the turn and the session have used with a commit, and what of it is not charged yet."""

    turn_usage: str
    session_usage: str
    spent: Amount = Amount(0, 0)
    # Days are budgeted, so they are charged.
    charges: bool = False
    # What stands reserved is an earlier holder's.
    inherits: bool = False

    def named(self) -> dict[str, Any]:
        return {
            "turn_usage": self.turn_usage,
            "session_usage": self.session_usage,
            "spent_micros": self.spent.micros,
            "spent_tokens": self.spent.tokens,
            "charges": self.charges,
            "inherits": self.inherits,
            "attempt": None,
        }
