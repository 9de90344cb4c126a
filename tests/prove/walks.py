"""Random walks: turns, crashes, cancels, steers, rollbacks, approvals, handovers, deploys, budgets that run out, a model that
fails, logouts, conversations that nobody uses and their clean-up, in any order.

Two functions take turns on one conversation. A small model knows what was accepted; the demo model accepts every request
that comes out, and the books agree after each step, or the walk has failed.
"""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
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

from core.errors import BudgetExceeded, SessionBusy, SessionNotFound, UnknownAgent
from core.house import House
from core.ids import DeviceId, SessionId, TurnId
from core.policies import OnBusy
from core.store import approvals, sessions
from dev.demo_model import Fault, Reply
from tests.databases import run
from tests.prove.agents import SAYS, SPECIALISTS, Release
from tests.prove.books import find_wrong
from tests.prove.checker import Told
from tests.prove.errands import Errand, Trap, arrival
from tests.prove.mortal import Function
from tests.prove.script import FAULTS, INWARD, REPLIES
from tests.prove.stage import Scene, Stage

TRAPS = st.one_of(st.none(), st.integers(1, 16).map(Trap))
WHICH = st.integers(0, 1)
# A dollar in micro-dollars. The most that one call can cost here is about six cents.
PLENTY = 1_000_000_000
SCRIPTS = st.lists(st.one_of(st.sampled_from(REPLIES), st.sampled_from(INWARD)), max_size=3)
KINDS = st.sampled_from(sorted(SAYS))
POLICIES = st.sampled_from([policy for policy in OnBusy if policy is not OnBusy.REJECT])
LOCK_CHANGES = st.sampled_from(["manager", *SPECIALISTS, "clear", "run out", "clean up"])
RELEASES = st.builds(
    Release,
    prompt=st.sampled_from([Release().prompt, "You are at the back door."]),
    forecast=st.sampled_from([Release().forecast, "Tells what the weather will be."]),
    without=st.sampled_from([(), (), ("scheduling",), SPECIALISTS]),
)


def _decided(house: House, device: UUID, approval_id: UUID, yes: bool) -> None:
    house.turns.decide(DeviceId(device), approval_id, yes=yes, wait_s=0)


class Walk(RuleBasedStateMachine):
    scene: Scene
    functions: tuple[Function, Function]
    # Endings that were come by: nothing of them is left in the rows.
    met: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.device = uuid4()
        self.number = 0
        self.scene.model.faults.clear()
        self.scene.model.replies.clear()
        # Whatever was refused in another walk has failed that one.
        self.scene.model.requests.clear()
        self.scene.row.tries += 1
        for function in self.functions:
            function.deploy(Release())
            function.budget(PLENTY)

    # ---- what can happen

    @rule(kind=KINDS, on_busy=POLICIES, which=WHICH, trap=TRAPS, script=SCRIPTS)
    def say(self, kind: str, on_busy: str, which: int, trap: Trap | None, script: list[Reply]) -> None:
        self._say(kind, on_busy, which, trap, script, pictured=False)

    @rule(on_busy=POLICIES, which=WHICH, trap=TRAPS, script=st.lists(st.sampled_from(INWARD), max_size=3))
    def have_it_handed_over(self, on_busy: str, which: int, trap: Trap | None, script: list[Reply]) -> None:
        self._say("handover", on_busy, which, trap, script, pictured=False)

    @rule(kind=KINDS, on_busy=POLICIES, which=WHICH, script=SCRIPTS)
    def show_a_picture(self, kind: str, on_busy: str, which: int, script: list[Reply]) -> None:
        self._say(kind, on_busy, which, None, script, pictured=True)

    # No rule may depend on what is in the rows: the same choices must come to the same rules.
    @precondition(lambda self: self.number > 0)
    @rule(which=WHICH, trap=TRAPS, late=st.booleans())
    def work(self, which: int, trap: Trap | None, late: bool) -> None:
        """`late`: when the lease of whoever died has run out."""
        if session := self._session():
            if late:
                self.scene.expire(session)
            self.functions[which].do(trap, lambda house: house.turns.work(SessionId(session)))

    @precondition(lambda self: self.number > 0)
    @rule(which=WHICH, trap=TRAPS, choice=st.integers(0, 3))
    def cancel(self, which: int, trap: Trap | None, choice: int) -> None:
        if open_ := self._open():
            turn_id = TurnId(UUID(open_[choice % len(open_)]))
            self.functions[which].do(trap, lambda house: house.turns.cancel(DeviceId(self.device), turn_id))

    @precondition(lambda self: self.number > 0)
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

    @rule(what=st.one_of(st.sampled_from(FAULTS), st.sampled_from(REPLIES)))
    def let_the_model_fail_or_say(self, what: Fault | Reply) -> None:
        if isinstance(what, Fault):
            self.scene.model.faults.add(what)
        else:
            self.scene.model.replies.add(what)

    @precondition(lambda self: self.number > 0)
    @rule(which=WHICH, release=RELEASES)
    def deploy(self, which: int, release: Release) -> None:
        self.functions[which].deploy(release)

    @precondition(lambda self: self.number > 0)
    @rule(cents=st.sampled_from([1, 7, 9, 15, 100_000]))
    def change_the_budget(self, cents: int) -> None:
        for function in self.functions:
            function.budget(cents * 10_000)

    @precondition(lambda self: self.number > 0)
    @rule(which=WHICH, trap=TRAPS, change=LOCK_CHANGES)
    def change_the_lock(self, which: int, trap: Trap | None, change: str) -> None:
        """From outside: set for an agent, cleared, run out, cleaned up."""
        if self._session() is None:
            return
        device = DeviceId(self.device)
        if change == "run out":
            self._let_the_lock_run_out()
            return
        changes: dict[str, Callable[[House], object]] = {
            "clear": lambda house: house.sessions.clear_session_lock(device),
            "clean up": lambda house: house.sessions.cleanup_expired_sessions(),
        }
        go = changes.get(change) or (lambda house: house.sessions.set_session_lock(device, change))
        # Nobody may have said anything since it ended.
        with suppress(UnknownAgent, SessionNotFound):
            self.functions[which].do(trap, lambda house: _none(go(house)))

    @precondition(lambda self: self.number > 0)
    @rule(which=WHICH, trap=TRAPS)
    def log_out(self, which: int, trap: Trap | None) -> None:
        """While turns run, wait or are crashed alike."""
        device, open_ = DeviceId(self.device), self._open()
        self.functions[which].do(trap, lambda house: _none(house.sessions.end_session(device)))
        if self._session() is None:
            self.met["ended with open turns" if open_ else "ended"] += 1
            self._forget()

    @precondition(lambda self: self.number > 0)
    @rule(which=WHICH, trap=TRAPS, cleaned=st.booleans())
    def let_it_be_idle(self, which: int, trap: Trap | None, cleaned: bool) -> None:
        """It is gone at once, unless there is something to be gone on with in it or to be decided; and only then cleaned up."""
        session, function = self._session(), self.functions[which]
        if session is None:
            return
        kept = bool(self.scene.open_turns(session)) or self._is_asked(session)
        self.scene.idle(session)
        found = sessions.find(function.house.database, DeviceId(self.device))
        assert (found is not None) is kept, f"{session}: kept {kept}, and found {found}"
        if cleaned:
            function.do(trap, lambda house: _none(house.sessions.cleanup_expired_sessions()))
            assert self._session() == session or not kept, f"{session} was cleaned up"
            self.met["cleaned up"] += self._session() is None
        self.met["idle and kept" if kept else "idle"] += 1
        if not kept:
            self._forget()

    def _say(
        self, kind: str, on_busy: str, which: int, trap: Trap | None, script: list[Reply], *, pictured: bool
    ) -> None:
        self.number += 1
        self.scene.model.replies.add(*script)
        text = f"{SAYS[kind]} ({self.device.hex[:6]}-{self.number})"
        key = str(self.number)
        errand = Errand("say", self.device, text, key=key, on_busy=on_busy, pictured=pictured)
        waits = [0.0 if self._open() else 25.0, 0.0]
        for attempt, wait_s in zip((trap, None), waits, strict=True):
            message = arrival(errand)
            # Refused at the door: nothing was accepted.
            with suppress(BudgetExceeded):
                turn = self.functions[which].do(
                    attempt,
                    lambda house, said=message, s=wait_s: house.turns.answer(said, s),  # type: ignore[misc]
                )
                if turn is not None:
                    self.scene.told.append(Told(self.device, text, str(turn.id), turn.status, turn.reply))
                    return

    def _forget(self) -> None:
        """What this device was told is gone with its conversation, on purpose."""
        self.scene.told[:] = [told for told in self.scene.told if told.device != self.device]

    def _is_asked(self, session: UUID) -> bool:
        asked = "SELECT 1 FROM approvals WHERE session_id = %s AND status = 'pending'"
        return bool(run(self.scene.url, asked, str(session)))

    def _let_the_lock_run_out(self) -> None:
        run(
            self.scene.url,
            "UPDATE conversation_states SET locked_at = locked_at - make_interval(secs => session_ttl) "
            "WHERE locked_at IS NOT NULL AND id = %s",
            str(self._session()),
        )

    # ---- what must hold

    @invariant()
    def the_model_has_accepted_everything(self) -> None:
        refused = [asked.refusal for asked in self.scene.model.requests if asked.refusal]
        assert not refused, refused

    @invariant()
    def the_books_agree(self) -> None:
        if session := self._session():
            wrong = find_wrong(self.scene.url, session)
            assert not wrong, wrong
        elif self.number:
            reserved = """
                SELECT p.day, p.reserved_micros, p.reserved_tokens FROM spending p JOIN connections c ON c.user_id = p.id
                WHERE c.device_id = %s AND (p.reserved_micros <> 0 OR p.reserved_tokens <> 0)
            """
            left = run(self.scene.url, reserved, str(self.device))
            assert not left, f"{self.device} is in no conversation, and has reserved {left}"

    def teardown(self) -> None:
        """Nothing fails any more; whatever is open is gone on with, and the conversation can be continued."""
        self.scene.model.faults.clear()
        self.scene.model.replies.clear()
        for function in self.functions:
            function.budget(PLENTY)
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
        self.the_books_agree()

    def _session(self) -> UUID | None:
        return self.scene.session_of(self.device) if self.number else None

    def _open(self) -> list[str]:
        return [turn for turn, _ in self.scene.open_turns(self._session())]


def _none(_: object) -> None:
    """What came of it is looked for in the rows."""


def walk(stage: Stage, *, tries: int, steps: int, rng: random.Random) -> None:
    with stage.scene("random walks") as scene:
        functions = (Function(scene), Function(scene))

        class Here(Walk):
            pass

        Here.scene, Here.functions, Here.met = scene, functions, Counter()
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
        stage.tell(f"random walks: {_seen(scene)}, {dict(Here.met)}")
        for function in functions:
            function.house.close()


def _check_effects(scene: Scene) -> None:
    for session, status in run(
        scene.url, "SELECT session_id, status FROM tool_calls WHERE status IN ('asked', 'ready', 'started')"
    ):
        scene.row.found.invalid.append(f"{session}: a tool call stays {status}")


def _seen(scene: Scene) -> str:
    """What came up on the way: a walk that never hands over proves nothing of it."""
    counts = run(
        scene.url,
        "SELECT action, count(*) FROM audit_log GROUP BY 1 UNION ALL "
        "SELECT 'call of ' || name || ' ' || status, count(*) FROM tool_calls WHERE name IN ('hand_over', 'set_todos') GROUP BY 1 "
        "UNION ALL SELECT error ->> 'code', count(*) FROM turns WHERE error IS NOT NULL GROUP BY 1 "
        "UNION ALL SELECT 'compaction', count(*) FROM compactions UNION ALL SELECT 'turn ' || status, count(*) FROM turns GROUP BY 1 ORDER BY 1",
    )
    return ", ".join(f"{what} {count}" for what, count in counts)
