"""Budgets: how much a turn, a conversation, and a day of a user or an organisation may cost, in tokens and in money.

What can go wrong, and why it cannot:

* *Many turns at once each see money left and together spend more.* Before the model is asked, the most that the call can cost
  is reserved for the day of the user and of the organisation, in a statement that tells the sum of all that is spent and
  reserved. Whoever is beyond the limit with its own part does not ask.
* *A function dies after it asked.* Its reservation stays with the turn. Whoever goes on counts it as spent, since it may have
  been billed, and reserves its own.
* *The reply to a statement is lost.* A reservation names its attempt, and a settlement is part of a commit that counts once.

A turn's and a conversation's own budgets need no reserving: they have one writer at a time, and it knows what was spent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from core.errors import (
    BudgetExceeded,
    OrgBudgetExceeded,
    SessionBudgetExceeded,
    TurnBudgetExceeded,
    UserBudgetExceeded,
)
from core.model.prices import price_of
from core.model.prompt import Prompt
from core.store.spending import DoorLimits, Total
from core.store.used import Amount, used_of
from core.values import dataclass

_OVER: Final[Mapping[str, type[BudgetExceeded]]] = {
    "turn": TurnBudgetExceeded,
    "session": SessionBudgetExceeded,
    "user": UserBudgetExceeded,
    "org": OrgBudgetExceeded,
}


@dataclass(frozen=True, slots=True)
class Limit:
    """None: without end."""

    micros: int | None = None
    tokens: int | None = None

    @property
    def is_set(self) -> bool:
        return self.micros is not None or self.tokens is not None

    def holds(self, amount: Amount) -> bool:
        return (self.micros is None or amount.micros <= self.micros) and (
            self.tokens is None or amount.tokens <= self.tokens
        )


@dataclass(frozen=True, slots=True)
class Budgets:
    turn: Limit = field(default=Limit())
    session: Limit = field(default=Limit())
    # Of a day, in UTC.
    user: Limit = field(default=Limit())
    org: Limit = field(default=Limit())
    # What no answer is reserved less than.
    least: Amount = field(default=Amount(1, 1))

    @property
    def are_set(self) -> bool:
        return any(limit.is_set for limit in (self.turn, self.session, self.user, self.org))

    @property
    def are_reserved(self) -> bool:
        return self.user.is_set or self.org.is_set

    @property
    def need_prices(self) -> bool:
        return any(limit.micros is not None for limit in (self.turn, self.session, self.user, self.org))

    def at_the_door(self) -> DoorLimits | None:
        """What a new message must leave room in; None: nothing is limited that is known there."""
        if not (self.session.is_set or self.are_reserved):
            return None
        return DoorLimits(
            session_micros=self.session.micros,
            session_tokens=self.session.tokens,
            user_micros=self.user.micros,
            user_tokens=self.user.tokens,
            org_micros=self.org.micros,
            org_tokens=self.org.tokens,
            least_micros=self.least.micros,
            least_tokens=self.least.tokens,
        )

    def check_own(self, turn: Mapping[str, Any], session: Mapping[str, Any], needed: Amount) -> None:
        """Of the turn and its conversation, by what they have used."""
        for scope, limit, used in (("turn", self.turn, turn), ("session", self.session, session)):
            if not limit.holds(used_of(used).plus(needed)):
                raise over(scope)

    def check_day(self, totals: Iterable[Total]) -> None:
        """Of the user's and the organisation's day, by all that is spent and reserved."""
        limits = {"user": self.user, "org": self.org}
        for total in totals:
            if not limits[total.scope].holds(total.amount):
                raise over(total.scope)


def over(scope: str) -> BudgetExceeded:
    error = _OVER[scope]()
    if scope in ("user", "org"):
        now = datetime.now(UTC)
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        error.retry_after_s = max(1, int((midnight - now).total_seconds()))
    return error


def least_of(answers: Iterable[tuple[str, int]]) -> Amount:
    """What no call costs less than at the most, of the models that are asked and their longest answers in tokens."""
    each = [(_micros(model, 0, tokens), tokens) for model, tokens in answers]
    return Amount(min(micros for micros, _ in each), min(tokens for _, tokens in each))


def most_of(prompt: Prompt) -> Amount:
    """The most that a call can cost: all of the prompt written to the cache for an hour, and the longest answer."""
    told = prompt.tokens
    return Amount(_micros(prompt.model, told, prompt.max_tokens), told + prompt.max_tokens)


def _micros(model: str, told: int, said: int) -> int:
    price = price_of(model, told)
    return 0 if price is None else -int(-(told * price.write_1h + said * price.output) // 1)
