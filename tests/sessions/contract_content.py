"""What is in a session comes back as it was; what stands below the manager."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from core.errors import SessionTooLarge
from core.sessions.manager import SessionManager
from core.sessions.storage import NewRecord
from tests.sessions.desks import Desk, OnDesks
from tests.sessions.rigs import Rig


class Contents(OnDesks):
    # ---- what is in it

    @pytest.mark.parametrize(
        "said",
        [
            "",
            "\0",
            "\ud800",
            "a\udfffb\ud83d",
            "😀 ünï",
            "\\u0000",
            '"quoted" \\ ',
            "\ufffd\ufffe\u2028",
            "'; --",
        ],
    )
    def test_whatever_is_said_comes_back_as_it_was(self, desks: SessionManager[Desk], said: str) -> None:
        made = desks.create(
            state=Desk(seen=[said]), metadata={said: [said], "deep": {said: said}}, system_prompt=said
        )
        changed = desks.update(made.id, lambda s: s.with_state(replace(s.state, seen=[*s.state.seen, said])))
        found = desks.get(made.id)
        assert found == changed
        assert found is not None
        assert found.state.seen == [said, said]
        assert found.metadata == {said: [said], "deep": {said: said}}
        assert found.system_prompt == said

    def test_numbers_come_back_as_they_were(self, desks: SessionManager[Desk]) -> None:
        numbers = [2**53, 2**63 + 1, -(10**30), 1e-7, 0.1, -0.0, 1e300]
        found = desks.get(desks.create(metadata={"n": numbers}, state=Desk(2**60)).id)
        assert found is not None
        assert repr(found.metadata["n"]) == repr(numbers)
        assert found.state.tickets == 2**60

    def test_a_session_may_be_so_large_and_no_larger(self, desks: SessionManager[Desk]) -> None:
        made = desks.create(metadata={"much": "x" * 250_000})
        found = desks.get(made.id)
        assert found is not None
        assert len(found.metadata["much"]) == 250_000
        with pytest.raises(SessionTooLarge, match="262144"):
            desks.update(made.id, lambda s: s.with_metadata(more="x" * 13_000))
        with pytest.raises(SessionTooLarge):
            desks.create(metadata={"much": "ü" * 140_000})
        assert desks.get(made.id) == found

    # ---- itself

    def test_it_says_that_it_is_well(self, rig: Rig, desks: SessionManager[Desk]) -> None:
        desks.create()
        health = desks.health()
        assert health.is_well
        assert health.kind == rig.storage.kind

    def test_a_refused_swap_gives_back_what_stands_there(self, rig: Rig) -> None:
        made = rig.storage.create("desk", NewRecord(uuid4(), None, '{"a":1}', 60), 1)
        first = rig.storage.swap("desk", made.session_id, made.stamp, '{"a":2}')
        assert first.done
        assert first.stands is not None
        assert (first.stands.version, first.stands.body) == (2, '{"a":2}')
        second = rig.storage.swap("desk", made.session_id, made.stamp, '{"a":3}')
        assert not second.done
        assert second.stands == first.stands
        assert not rig.storage.swap("desk", UUID(int=1), made.stamp, "{}").done

    def test_who_waited_for_another_is_given_what_that_one_left(self, rig: Rig) -> None:
        """Of many who swap the same version one is done, and the others see what it wrote: not what they read before."""
        made = rig.storage.create("desk", NewRecord(uuid4(), None, "0", 60), 1)
        gate = threading.Barrier(4)

        def swap(number: int) -> tuple[bool, str | None]:
            gate.wait()
            swapped = rig.storage.swap("desk", made.session_id, made.stamp, str(number))
            return swapped.done, None if swapped.stands is None else swapped.stands.body

        with ThreadPoolExecutor(4) as pool:
            swapped = list(pool.map(swap, range(1, 5)))
        (won,) = [body for done, body in swapped if done]
        assert [body for _, body in swapped] == [won] * 4
