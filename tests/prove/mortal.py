"""Functions that die in a walk: a crash is an exception that nothing of ours may catch, and after it the function does
nothing more, not even tidy up.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from core.budgets import Limit
from core.compaction import Window
from core.house import House
from core.shown import Turn
from core.store.database import Database
from tests.bells import Deaf
from tests.prove.agents import Release, roster
from tests.prove.errands import BUDGETED, Points, Trap, open_house
from tests.prove.stage import Scene


class Killed(BaseException):
    """The function is gone."""


class _Mortal(Points):
    """Dies at the trap's number, and stays dead: whatever it touches afterwards raises again."""

    def arm(self, trap: Trap | None) -> None:
        self._trap, self.passed = trap, []

    def __call__(self, name: str) -> None:
        self.passed.append(name)
        if self._trap is not None and len(self.passed) >= self._trap.number:
            raise Killed(name)


class _MortalDatabase(Database):
    """A database by way of a point before and after each statement."""

    points: _Mortal

    def row(self, statement: Any, parameters: Any) -> Any:
        self.points("before a statement")
        row = super().row(statement, parameters)
        self.points("after a statement")
        return row

    def rows(self, statement: Any, parameters: Any) -> Any:
        self.points("before a statement")
        rows = super().rows(statement, parameters)
        self.points("after a statement")
        return rows


class Function:
    def __init__(self, scene: Scene) -> None:
        self.points = _Mortal(None)
        place = dataclasses.replace(scene.place, settings={"TURN_BUDGET_S": "60", **BUDGETED})
        self._marks_url = scene.place.marks_url
        self.house: House = open_house(place, self.points)
        # So small that conversations are compacted on the way.
        limits = self.house.turns.limits
        self.house.turns.limits = dataclasses.replace(limits, window=Window(messages=6))
        database = self.house.turns.reception.database
        database.__class__ = _MortalDatabase
        database.points = self.points  # type: ignore[attr-defined]
        model: Any = self.house.turns.asking.model
        model._sleep = lambda _: None
        self.house.turns.wakeups = Deaf()

    def do(self, trap: Trap | None, errand: Callable[[House], Turn | None]) -> Turn | None:
        self.points.arm(trap)
        try:
            return errand(self.house)
        except Killed:
            return None
        finally:
            self.points.arm(None)

    def deploy(self, release: Release) -> None:
        self.house.turns.roster = roster(self._marks_url, self.points, release)

    def budget(self, micros: int) -> None:
        """What a user may spend in a day from now on."""
        turns = self.house.turns
        budgets = dataclasses.replace(turns.asking.budgets, user=Limit(micros))
        turns.asking.budgets = budgets
        turns.reception = dataclasses.replace(turns.reception, budgets=budgets)
