"""Threads of one process take turns, and begin with what was left only if that is as good as a read of their own."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from core.deadline import Deadline
from core.errors import SessionContended
from core.sessions.lanes import Lanes
from core.sessions.memory import MemoryStorage
from core.sessions.session import Session
from tests.conversations import until
from tests.sessions.writer import counters, one_more


class Watched(MemoryStorage):
    def __init__(self) -> None:
        super().__init__()
        self.loads = 0

    def load(self, *given: Any, **named: Any) -> Any:
        self.loads += 1
        return super().load(*given, **named)


def test_who_waited_begins_with_what_the_predecessor_left() -> None:
    storage = Watched()
    managed = counters(storage)
    made = managed.create(state={"n": 0})
    gate = threading.Event()

    def slowly(session: Session[dict[str, int]]) -> Session[dict[str, int]]:
        gate.wait(10)
        return one_more(session)

    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(managed.update, made.id, slowly)
        until(lambda: storage.loads == 1)
        others = [pool.submit(managed.update, made.id, one_more) for _ in range(4)]
        until(lambda: managed._lanes._lanes[made.id].users == 5)
        gate.set()
        assert first.result().state == {"n": 1}
        assert sorted(one.result().state["n"] for one in others) == [2, 3, 4, 5]
    assert storage.loads == 1
    managed.update(made.id, one_more)
    assert storage.loads == 2
    assert managed._lanes._lanes == {}


def test_who_came_after_the_write_was_sent_reads_for_himself() -> None:
    lanes, storage = Lanes(), MemoryStorage()
    managed = counters(storage)
    record = storage.load("counting", managed.create(state={"n": 0}).id, extend=False)
    assert record is not None
    id_, soon = record.session_id, Deadline.after(10)
    taken: list[object] = []

    def take() -> None:
        with lanes.turn(id_, soon) as (_, left):
            taken.append(left)

    with ThreadPoolExecutor(2) as pool, lanes.turn(id_, soon) as (lane, _):
        sent = lane.arrived()
        late = pool.submit(take)
        until(lambda: lane.users == 2)
        lane.leave(replace(record, version=9), sent)
    late.result()
    assert taken == [None]


def test_who_waits_too_long_is_told() -> None:
    lanes, storage = Lanes(), MemoryStorage()
    made = counters(storage).create(state={"n": 0})
    with ThreadPoolExecutor(1) as pool, lanes.turn(made.id, Deadline.after(10)):

        def wait() -> None:
            with lanes.turn(made.id, Deadline.after(0.01)):
                raise AssertionError

        with pytest.raises(SessionContended):
            pool.submit(wait).result()


def test_sessions_do_not_wait_for_each_other() -> None:
    storage = MemoryStorage()
    managed = counters(storage)
    one, other = managed.create(state={"n": 0}), managed.create(state={"n": 0})

    def within(session: Session[dict[str, int]]) -> Session[dict[str, int]]:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(managed.update, other.id, one_more).result(10)
        return one_more(session)

    assert managed.update(one.id, within).state == {"n": 1}
