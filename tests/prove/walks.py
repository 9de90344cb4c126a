"""Random walks: turns, crashes, cancels, steers, rollbacks, approvals, deploys and a model that fails, in any order.

Two functions take turns on one conversation. A crash is an exception that nothing of ours may catch, raised at a point of
the way; after it that function does nothing more, not even tidy up. A small model knows what was accepted; the demo
model accepts every request that comes out, or the walk has failed.
"""

import dataclasses
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from core.agents.roster import Roster
from core.compaction import Window
from core.errors import SessionBusy
from core.house import House
from core.ids import DeviceId, SessionId, TurnId
from core.policies import OnBusy
from core.shown import Turn
from core.store import approvals
from core.store.database import Database
from dev.demo_model import Fault, Reply
from tests.databases import run
from tests.prove.agents import SAYS
from tests.prove.checker import Told
from tests.prove.errands import Errand, Points, Trap, arrival, open_house
from tests.prove.stage import Scene, Stage


class Killed(BaseException):
    """The function is gone."""


class _Deaf:
    """Every wake-up is lost: what goes on, goes on because somebody looked."""

    def wake(self, session_id: SessionId) -> None:
        pass


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
        return super().rows(statement, parameters)


def _decided(house: House, device: UUID, approval_id: UUID, yes: bool) -> None:
    house.turns.decide(DeviceId(device), approval_id, yes=yes, wait_s=0)


class Function:
    def __init__(self, scene: Scene) -> None:
        self.points = _Mortal(None)
        place = dataclasses.replace(scene.place, settings={"TURN_BUDGET_S": "60"})
        self.house: House = open_house(place, self.points)
        # So small that conversations are compacted on the way.
        limits = self.house.turns.limits
        self.house.turns.limits = dataclasses.replace(limits, window=Window(messages=6))
        database = self.house.turns.reception.database
        database.__class__ = _MortalDatabase
        database.points = self.points  # type: ignore[attr-defined]
        model: Any = self.house.turns.asking.model
        model._sleep = lambda _: None
        self.house.turns.wakeups = _Deaf()

    def do(self, trap: Trap | None, errand: Callable[[House], Turn | None]) -> Turn | None:
        self.points.arm(trap)
        try:
            return errand(self.house)
        except Killed:
            return None
        finally:
            self.points.arm(None)


_FAULTS = (
    Fault.status(529),
    Fault.status(429, retry_after=0),
    Fault.error_event(after=2),
    Fault.cut(after=3),
    Fault.end_early(after=4),
    Fault.status(402),
)
_REPLIES = (
    Reply("As far as I", stop_reason="max_tokens"),
    Reply("I won't.", stop_reason="refusal"),
    Reply([], stop_reason="end_turn"),
    Reply([{"type": "tool_use", "name": "send_letter", "input": {}}], stop_reason="max_tokens"),
    Reply(
        [
            {"type": "tool_use", "name": "send_letter", "input": {}},
            {"type": "tool_use", "name": "delete_archive", "input": {}},
            {"type": "tool_use", "name": "lookup_weather", "input": {}},
        ]
    ),
    Reply(
        [{"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}],
        stop_reason="pause_turn",
    ),
    Reply([{"type": "tool_use", "name": "no_such_tool", "input": {}}]),
)

TRAPS = st.one_of(st.none(), st.integers(1, 16).map(Trap))
WHICH = st.integers(0, 1)


class Walk(RuleBasedStateMachine):
    scene: Scene
    functions: tuple[Function, Function]

    def __init__(self) -> None:
        super().__init__()
        self.device = uuid4()
        self.number = 0
        self.scene.model.faults.clear()
        self.scene.model.replies.clear()
        self.scene.row.tries += 1

    # ---- what can happen

    @rule(
        kind=st.sampled_from(sorted(SAYS)),
        on_busy=st.sampled_from([policy for policy in OnBusy if policy is not OnBusy.REJECT]),
        which=WHICH,
        trap=TRAPS,
    )
    def say(self, kind: str, on_busy: str, which: int, trap: Trap | None) -> None:
        self.number += 1
        text = f"{SAYS[kind]} ({self.device.hex[:6]}-{self.number})"
        errand = Errand("say", self.device, text, key=str(self.number), on_busy=on_busy)
        waits = [25.0 if self._is_idle() else 0.0, 0.0]
        for attempt, wait_s in zip((trap, None), waits, strict=True):
            message = arrival(errand)
            turn = self.functions[which].do(
                attempt,
                lambda house, said=message, s=wait_s: house.turns.answer(said, s),  # type: ignore[misc]
            )
            if turn is not None:
                self.scene.told.append(Told(self.device, text, str(turn.id), turn.status, turn.reply))
                return

    @rule(which=WHICH, trap=TRAPS)
    def work(self, which: int, trap: Trap | None) -> None:
        if session := self._session():
            self.functions[which].do(trap, lambda house: house.turns.work(SessionId(session)))

    @rule()
    def let_leases_run_out(self) -> None:
        self.scene.expire(self._session())

    @rule(which=WHICH, trap=TRAPS, choice=st.integers(0, 3))
    def cancel(self, which: int, trap: Trap | None, choice: int) -> None:
        if open_ := self.scene.open_turns(self._session()):
            turn_id = TurnId(UUID(open_[choice % len(open_)][0]))
            self.functions[which].do(trap, lambda house: house.turns.cancel(DeviceId(self.device), turn_id))

    @rule(which=WHICH, trap=TRAPS, yes=st.booleans(), kind=st.sampled_from(["call", "outcome"]))
    def decide(self, which: int, trap: Trap | None, yes: bool, kind: str) -> None:
        function = self.functions[which]
        found = approvals.pending(function.house.database, DeviceId(self.device))
        for asked in [approval for approval in found if approval.kind == kind][:1]:
            # What came of a call is not told in the middle of a turn.
            with suppress(SessionBusy):
                function.do(
                    trap,
                    lambda house, id_=asked.id: _decided(house, self.device, id_, yes),  # type: ignore[misc]
                )

    @rule(fault=st.sampled_from(_FAULTS))
    def let_the_model_fail(self, fault: Fault) -> None:
        self.scene.model.faults.add(fault)

    @rule(reply=st.sampled_from(_REPLIES))
    def let_the_model_say(self, reply: Reply) -> None:
        self.scene.model.replies.add(reply)

    @precondition(lambda self: self.number > 0)
    @rule(which=WHICH, prompt=st.sampled_from(["You are at the front desk.", "You are at the back door."]))
    def deploy(self, which: int, prompt: str) -> None:
        turns = self.functions[which].house.turns
        turns.roster = Roster.of(dataclasses.replace(turns.roster.manager, prompt=prompt))

    # ---- what must hold

    @invariant()
    def the_model_has_accepted_everything(self) -> None:
        refused = [asked.refusal for asked in self.scene.model.requests if asked.refusal]
        assert not refused, refused

    def teardown(self) -> None:
        """Nothing fails any more; whatever is open is gone on with, and the conversation can be continued."""
        self.scene.model.faults.clear()
        self.scene.model.replies.clear()
        house = self.functions[0].house
        for _ in range(20):
            session = self._session()
            if session is None or not self.scene.open_turns(session):
                break
            self.scene.expire(session)
            for asked in approvals.pending(house.database, DeviceId(self.device)):
                if asked.kind == "call":
                    house.turns.decide(DeviceId(self.device), asked.id, yes=True)
            house.turns.work(SessionId(session))
        last = Errand("say", self.device, f"Good day to you ({self.device.hex[:6]}-last)", key="last")
        turn = house.turns.answer(arrival(last), 25)
        assert turn.status == "completed", turn
        self.the_model_has_accepted_everything()

    def _session(self) -> UUID | None:
        return self.scene.session_of(self.device)

    def _is_idle(self) -> bool:
        session = self._session()
        return session is None or not self.scene.open_turns(session)


def walk(stage: Stage, *, tries: int, steps: int, rng: random.Random) -> None:
    with stage.scene("random walks") as scene:
        functions = (Function(scene), Function(scene))

        class Here(Walk):
            pass

        Here.scene, Here.functions = scene, functions
        settings = hypothesis.settings(
            max_examples=tries,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        try:
            run_state_machine_as_test(hypothesis.seed(rng.randrange(2**32))(Here), settings=settings)
        except BaseException as failure:
            scene.row.found.invalid.append(f"a walk failed: {failure}")
            stage.tell("".join(getattr(failure, "__notes__", [])))
        scene.check(may_fail=True)
        _check_effects(scene)
        for function in functions:
            function.house.close()


def _check_effects(scene: Scene) -> None:
    for session, status in run(
        scene.url, "SELECT session_id, status FROM tool_calls WHERE status IN ('asked', 'ready', 'started')"
    ):
        scene.row.found.invalid.append(f"{session}: a tool call stays {status}")
