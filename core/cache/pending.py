"""Something that is being done in the background."""

from typing import Protocol

from core.cache.allowance import Allowance
from core.values import dataclass


class Pending(Protocol):
    def join(self, allowance: Allowance) -> bool:
        """Waits for it within the allowance. True: it is known to have arrived."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What was over before anybody could wait for it."""

    arrived: bool

    def join(self, allowance: Allowance) -> bool:  # noqa: ARG002 - there is nothing to wait for
        return self.arrived
