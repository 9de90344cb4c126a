"""One invocation of a function, in a process of its own that can be killed or stopped at any point of its way.

The points are not chosen here: they are every statement that goes to the database, every request to the model and every
tool call that the code makes on that way, each before and after. A trap counts them and strikes at its number.
"""

import dataclasses
import importlib
import multiprocessing
import os
import pkgutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause

from core import store
from core.content import dump
from core.house import House, build_house
from core.ids import DeviceId, SessionId, TurnId, new_session_id, new_turn_id, new_user_id
from core.model.claude import Claude
from core.settings import read_settings
from core.shown import Turn
from core.store.claims import Arrival
from core.store.database import Database
from tests.images import image
from tests.prove.agents import roster

# Made ready once, by loading everything; each errand is a fork of it.
functions = multiprocessing.get_context("forkserver")
functions.set_forkserver_preload(["__main__", "tests.prove.errands", "anthropic", "httpx2"])

LEASE_TTL_S = 2.0
LEASE_MARGIN_S = 0.5
# What a user may spend in a day: far more than any of them does, and so every call is reserved for.
BUDGETED = {"BUDGET_USER_DAY_USD": "1000"}


def _statements() -> Iterator[tuple[str, TextClause]]:
    """Every statement of the store, by its name; of those that come in several forms each."""
    for found in pkgutil.iter_modules(store.__path__):
        module = importlib.import_module(f"{store.__name__}.{found.name}")
        for name, held in vars(module).items():
            for statement in held.values() if isinstance(held, dict) else (held,):
                if isinstance(statement, TextClause):
                    yield f"{found.name}.{name.strip('_').lower()}", statement


_NAMES: dict[int, str] = {id(statement): name for name, statement in _statements()}


@dataclass(frozen=True, slots=True)
class Place:
    """Where an errand finds what it needs: the database (by way of whatever stands before it), the model."""

    database_url: str
    marks_url: str
    model_url: str
    settings: Mapping[str, str] = field(default_factory=dict)
    lease_ttl_s: float = LEASE_TTL_S

    def budgeted(self) -> "Place":
        return dataclasses.replace(self, settings={**self.settings, **BUDGETED})


@dataclass(frozen=True, slots=True)
class Trap:
    """At the point of this number the process strikes itself with this signal."""

    number: int
    strike: int = signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Errand:
    """What the function is asked to do."""

    does: str  # say, work, cancel, decide, end
    device: UUID
    text: str = ""
    key: str | None = None
    on_busy: str = "queue"
    wait_s: float = 25.0
    session_id: UUID | None = None
    turn_id: UUID | None = None
    approval_id: UUID | None = None
    yes: bool = True
    # A picture beside the text.
    pictured: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """How it ended. Without a turn and without a problem, the process was killed."""

    turn: dict[str, Any] | None = None
    problem: str | None = None
    points: tuple[str, ...] = ()


class Points:
    """Every point that the errand passes, in order."""

    def __init__(self, trap: Trap | None) -> None:
        self.passed: list[str] = []
        self._trap = trap

    def __call__(self, name: str) -> None:
        self.passed.append(name)
        if self._trap is not None and len(self.passed) == self._trap.number:
            os.kill(os.getpid(), self._trap.strike)


def open_house(place: Place, points: Points) -> House:
    given = {
        "DATABASE_URL": place.database_url,
        "DATABASE_POOL_SIZE": "4",
        "ANTHROPIC_API_KEY": "demo",
        "ANTHROPIC_BASE_URL": place.model_url,
        # Conversations end here only where that is what is tried.
        "SESSION_TTL": "86400",
        # Each message is charged, and none is one too many.
        "RATE_DEVICE_PER_MINUTE": "100000",
        "RATE_DEVICE_BURST": "100000",
        **place.settings,
    }
    house = build_house(read_settings(given), roster(place.marks_url, points))
    house.turns.reception = dataclasses.replace(
        house.turns.reception, lease_ttl_s=place.lease_ttl_s, lease_margin_s=LEASE_MARGIN_S
    )
    return house


def watch(points: Points) -> None:
    """Every way to the database and to the model goes by a point before and a point after."""
    row, rows, reply = Database.row, Database.rows, Claude._reply

    def by_points(name: str, go: Any, *arguments: Any) -> Any:
        points(f"before {name}")
        came = go(*arguments)
        points(f"after {name}")
        return came

    def watched_row(self: Database, statement: TextClause, given: Mapping[str, Any]) -> Any:
        return by_points(_NAMES[id(statement)], row, self, statement, given)

    def watched_rows(self: Database, statement: TextClause, given: Mapping[str, Any]) -> Any:
        return by_points(_NAMES[id(statement)], rows, self, statement, given)

    def watched_reply(self: Claude, *arguments: Any) -> Any:
        return by_points("model", reply, self, *arguments)

    watched = (
        (Database, "row", watched_row),
        (Database, "rows", watched_rows),
        (Claude, "_reply", watched_reply),
    )
    for owner, name, by_way_of in watched:
        setattr(owner, name, by_way_of)


def run(house: House, errand: Errand) -> Turn | None:
    device = DeviceId(errand.device)
    if errand.does == "say":
        return house.turns.answer(arrival(errand), errand.wait_s)
    if errand.does == "cancel":
        assert errand.turn_id is not None
        return house.turns.cancel(device, TurnId(errand.turn_id))
    if errand.does == "decide":
        assert errand.approval_id is not None
        house.turns.decide(device, errand.approval_id, yes=errand.yes)
        return None
    if errand.does == "end":
        house.sessions.end_session(device)
        return None
    assert errand.session_id is not None
    house.turns.work(SessionId(errand.session_id))
    return None


def arrival(errand: Errand) -> Arrival:
    return Arrival(
        device_id=DeviceId(errand.device),
        content=dump([*([image()] if errand.pictured else []), {"type": "text", "text": errand.text}]),
        body_digest=f"{errand.text} {errand.on_busy}"[:64],
        idempotency_key=errand.key,
        turn_id=new_turn_id(),
        session_id=new_session_id(),
        user_id=new_user_id(),
        on_busy=errand.on_busy,
    )


def main(place: Place, errand: Errand, trap: Trap | None, answer: Connection) -> None:
    points = Points(trap)
    watch(points)
    house = open_house(place, points)
    try:
        turn = run(house, errand)
        shown = None if turn is None else {"id": str(turn.id), "status": turn.status, "reply": turn.reply}
        answer.send(Result(turn=shown, points=tuple(points.passed)))
    except Exception as error:
        answer.send(Result(problem=f"{type(error).__name__}: {error}", points=tuple(points.passed)))
    house.close()


class Function:
    """A process that runs one errand."""

    def __init__(self, place: Place, errand: Errand, trap: Trap | None = None) -> None:
        self._receiver, sender = functions.Pipe(duplex=False)
        self.process = functions.Process(target=main, args=(place, errand, trap, sender), daemon=True)
        self.process.start()
        sender.close()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def result(self, patience_s: float = 60.0) -> Result:
        """An empty one if it was killed."""
        if not self._receiver.poll(patience_s):
            self.process.kill()
            raise AssertionError(f"process {self.pid} neither answered nor died within {patience_s:g} s")
        try:
            result: Result = self._receiver.recv()
        except EOFError:
            result = Result()
        self.process.join(patience_s)
        self._receiver.close()
        self.process.close()
        return result


def send(place: Place, errand: Errand, trap: Trap | None = None) -> Result:
    return Function(place, errand, trap).result()
