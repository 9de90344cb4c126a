"""The tally: what a turn and its conversation have used, as one holder counts it, and what of it is still to be charged."""

from collections.abc import Mapping
from typing import Any

from core.content import dump
from core.model.bill import Spent, added, counted
from core.store.used import Amount, Used, used_of


class Tally:
    def __init__(
        self, turn_usage: Mapping[str, Any], session_usage: Mapping[str, Any], *, charges: bool
    ) -> None:
        self.turn: Spent = counted(turn_usage)
        self.session: Mapping[str, Any] = session_usage
        # By this holder alone.
        self.here: Spent = counted({})
        self._uncharged = Amount(0, 0)
        self._charges = charges
        # Until this holder has reserved or settled by itself, what stands reserved is an earlier one's.
        self._inherits = True

    def spend(self, spent: Mapping[str, int]) -> None:
        """Counts what was paid for, whether or not it can be used; written with the next commit."""
        self.turn = added(self.turn, spent)
        self.session = added(self.session, spent)
        self.here = added(self.here, spent)
        self._uncharged = self._uncharged.plus(used_of(spent))

    def used(self, run: Mapping[str, Any]) -> Used:
        """As the next commit writes it; `run`: what the turn's time went into, which is kept beside what it used."""
        turn = {**self.turn, "run": run}
        return Used(dump(turn), dump(self.session), self._uncharged, self._charges, self._inherits)

    def charged(self) -> None:
        """That commit is made."""
        self._uncharged, self._inherits = Amount(0, 0), False
