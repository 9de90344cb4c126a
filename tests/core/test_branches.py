"""Walks through forks, rewinds, merges and their undoing, between turns of every kind: whatever comes of them, the model refuses
nothing, the doctor finds nothing, and the books agree.
"""

import dataclasses
import random
from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from core.access import Caller
from core.branching import Keep, Of
from core.compaction import Window
from core.doctor.rounds import rounds
from core.errors import NothingToRewind, SessionBusy, TooLateToUndo
from core.house import House, build_house
from core.ids import DeviceId, SessionId, TurnId
from core.settings import Settings
from core.store import approvals, cuts
from dev.demo_model import DemoModel, Fault, Reply
from tests.conversations import answer, arrival, expire, held, refusals
from tests.databases import run
from tests.prove.agents import EFFECTS, SAYS, Release, roster
from tests.prove.books import find_wrong
from tests.prove.script import INWARD, REPLIES

THOUGHT = Reply([{"type": "thinking", "thinking": "Let me see."}, {"type": "text", "text": "I see."}])
CALLED = Reply(
    [
        {"type": "thinking", "thinking": "I look it up."},
        {"type": "tool_use", "name": "lookup_weather", "input": {}},
    ]
)
# What the window is: so that a few turns are more than it.
SMALL = Window(messages=12)


class Walk:
    """One person with one device and several conversations, answered by two processes of two releases."""

    def __init__(self, houses: tuple[House, House], model: DemoModel, url: str, seed: int) -> None:
        self.rng = random.Random(seed)
        self.houses = houses
        self.model = model
        self.url = url
        self.device = uuid4()
        self.done: list[str] = []
        answer(houses[0], arrival(self.device, "Good day"))
        self.user = run(url, "SELECT user_id FROM connections WHERE device_id = %s", str(self.device))[0][0]

    @property
    def house(self) -> House:
        return self.rng.choice(self.houses)

    def alive(self) -> list[SessionId]:
        statement = "SELECT id FROM conversation_states WHERE merged_into IS NULL AND user_id = %s ORDER BY created_at"
        rows = run(self.url, statement, str(self.user))
        return [SessionId(UUID(str(id_))) for (id_,) in rows]

    def any(self) -> SessionId:
        return self.rng.choice(self.alive())

    def caller(self, session: SessionId) -> Caller:
        return Caller(DeviceId(self.device), session_id=session)

    def enters(self, session: SessionId) -> None:
        statement = "UPDATE connections SET session_id = %s WHERE device_id = %s"
        run(self.url, statement, str(session), str(self.device))

    # ---- what may happen

    def talk(self) -> None:
        self.enters(self.any())
        scripted = self.rng.choice((None, None, THOUGHT, CALLED, CALLED, *INWARD, *REPLIES))
        if scripted is not None:
            self.model.replies.add(scripted)
        answer(self.house, arrival(self.device, self.rng.choice(list(SAYS.values()))))
        self.model.replies.clear()
        self.settle()

    def fail(self) -> None:
        self.enters(self.any())
        self.model.faults.add(Fault.status(402))
        answer(self.house, arrival(self.device, "Are you there?"))

    def roll_back(self) -> None:
        """A turn that has used tools is taken back by the next message, and its holder dies."""
        session = self.any()
        self.enters(session)
        self.model.replies.add(CALLED)
        house = self.house
        held(house, arrival(self.device, SAYS["once"]))
        house.turns.answer(arrival(self.device, "No, wait", on_busy="rollback"), 0)
        expire(self.url)
        self.model.replies.clear()
        self.settle()

    def begin(self) -> None:
        if len(self.alive()) < 4:
            run(self.url, "UPDATE connections SET session_id = NULL WHERE device_id = %s", str(self.device))
            answer(self.house, arrival(self.device, SAYS["read"]))
            self.settle()

    def fork(self) -> None:
        session = self.any()
        if len(self.alive()) > 4:
            return
        at = self.cut(session)
        made = self.house.branches.fork(self.caller(session), at or None)
        if at:
            assert self.told(made.session_id) == self.told(session, at)

    def rewind(self) -> None:
        session = self.any()
        to = self.cut(session)
        before = self.told(session)
        with suppress(NothingToRewind):
            revision = self.house.branches.rewind(self.caller(session), to)
            assert self.told(session)[: len(self.told(session, to))] == self.told(session, to)
            # Where nothing was left to rewind it is the same again, and undoing it brings back what went the first time.
            is_another = self.told(session) != before
            if self.rng.random() < 0.3 and is_another:
                self.house.branches.undo(self.caller(session), revision.id)
                assert self.told(session) == before

    def merge(self) -> None:
        target, source = self.any(), self.any()
        if target == source:
            return
        before, theirs = self.told(target), self.told(source)
        keep = Keep(*(self.rng.choice((Of.TARGET, Of.SOURCE)) for _ in range(3)))
        revision = self.house.branches.merge(self.caller(target), source, keep, {"*"})
        assert self.told(target)[: len(before)] == before
        if self.rng.random() < 0.3:
            self.house.branches.undo(self.caller(target), revision.id)
            assert self.told(target) == before
            assert self.told(source) == theirs

    def undo(self) -> None:
        session = self.any()
        found = self.house.branches.revisions(self.caller(session))
        if found:
            with suppress(TooLateToUndo):
                self.house.branches.undo(self.caller(session), self.rng.choice(found).id)

    # ---- what is needed for it

    def cut(self, session: SessionId) -> int:
        place = self.rng.randint(
            0, run(self.url, "SELECT message_seq FROM conversation_states WHERE id = %s", str(session))[0][0]
        )
        found = cuts.around(self.houses[0].database, session, place)
        assert found is not None
        return found.before or 0

    def told(self, session: SessionId, upto: int = 2**62) -> list[tuple[str, str]]:
        """Without the proof of thinking, and without what was said between turns of what came of calls."""
        statement = "SELECT role, content FROM messages WHERE session_id = %s AND NOT left_out AND seq <= %s ORDER BY seq"
        return run(self.url, statement, str(session), upto)

    def settle(self) -> None:
        """No turn is left open, and no question."""
        open_turns = "SELECT session_id, id FROM turns WHERE ended_at IS NULL"
        for _ in range(20):
            found = run(self.url, open_turns)
            if not found:
                break
            for session, turn in found:
                with suppress(SessionBusy):
                    self.house.turns.cancel(DeviceId(self.device), TurnId(UUID(str(turn))))
                self.house.turns.work(SessionId(UUID(str(session))))
        assert not run(self.url, open_turns)
        if self.rng.random() < 0.8:
            for asked in approvals.pending(self.houses[0].database, DeviceId(self.device)):
                self.house.turns.decide(DeviceId(self.device), asked.id, yes=self.rng.random() < 0.5)

    # ---- what is true after each

    def check(self) -> None:
        assert [r for r in refusals(self.model) if r] == [], self.done
        assert [visit for visit in rounds(self.houses[0].database, fix=False) if visit.ailments] == [], (
            self.done
        )
        assert find_wrong(self.url) == [], self.done
        twice = "SELECT id FROM turns GROUP BY id HAVING count(*) > 1 UNION SELECT id FROM approvals GROUP BY id HAVING count(*) > 1"
        assert run(self.url, twice) == [], self.done

    def go(self, steps: int) -> None:
        names = ["talk"] * 5 + [
            "fail",
            "roll_back",
            "begin",
            "fork",
            "fork",
            "rewind",
            "rewind",
            "merge",
            "merge",
            "undo",
            "undo",
        ]
        for _ in range(steps):
            name = self.rng.choice(names)
            self.done.append(name)
            with suppress(SessionBusy):
                getattr(self, name)()
            self.check()
        for session in self.alive():
            self.enters(session)
            turn = answer(self.house, arrival(self.device, "Good night"))
            assert turn.status == "completed", (turn.error, self.done)
        self.check()


@pytest.fixture
def houses(settings: Settings, database_url: str) -> Iterator[tuple[House, House]]:
    run(database_url, EFFECTS)
    releases = (Release(), Release(prompt="You are at the desk in front."))
    first, second = (
        build_house(settings, roster(database_url, lambda _: None, release)) for release in releases
    )
    made = (first, second)
    for house in made:
        house.turns.limits = dataclasses.replace(house.turns.limits, window=SMALL)
    yield made
    for house in made:
        house.close()


@pytest.mark.parametrize("walk", range(4))
def test_whatever_is_forked_rewound_merged_and_undone_the_model_refuses_nothing(
    houses: tuple[House, House], model: DemoModel, database_url: str, walk: int
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    Walk(houses, model, database_url, seed).go(40)
