"""What every shelf keeps to. A test class inherits this and says which shelf it is about."""

import itertools
import random
import secrets
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import pytest

from core.cache.allowance import Allowance
from core.cache.entry import Entry
from core.cache.shelf import Shelf
from tests.cache.conftest import MovedClock

KEY = "session:3f2b8c1e"
BORDER = 2**53


def plenty() -> Allowance:
    return Allowance(30.0)


class ShelfContract:
    @pytest.fixture
    def held(self, request: pytest.FixtureRequest) -> Shelf:
        raise NotImplementedError

    @pytest.fixture
    def made(self, clock: MovedClock) -> Callable[..., Entry]:
        """An entry that is good for a minute, or for as long as is said; its body tells its version."""
        now = clock.utc()

        def make(epoch: int, version: int, good_for_s: float = 60.0) -> Entry:
            return Entry(epoch, version, f"{epoch}.{version}", now + timedelta(seconds=good_for_s))

        return make

    def test_what_was_offered_is_found(self, held: Shelf, made: Callable[..., Entry]) -> None:
        entry = made(7, 1)
        held.offer(KEY, entry, plenty())
        assert held.look(KEY, plenty()) == entry

    def test_nothing_is_found_where_nothing_was_put(self, held: Shelf, made: Callable[..., Entry]) -> None:
        held.offer(KEY, made(7, 1), plenty())
        assert held.look(KEY + "f", plenty()) is None

    @pytest.mark.parametrize("body", ["", "{}", "ünïcödé 🎉", "a\x00b", "\ud800", "x" * 300_000])
    def test_a_body_comes_back_as_it_was(self, held: Shelf, clock: MovedClock, body: str) -> None:
        held.offer(KEY, Entry(1, 1, body, clock.utc() + timedelta(minutes=1)), plenty())
        found = held.look(KEY, plenty())
        assert found is not None
        assert found.body == body

    @pytest.mark.parametrize(
        ("older", "newer"),
        [
            ((1, 1), (1, 2)),
            ((1, 9), (1, 10)),
            ((1, 99), (2, 0)),
            ((9, 9), (10, 1)),
            ((BORDER - 1, 0), (BORDER, 0)),
            ((BORDER, 0), (BORDER + 1, 0)),
            ((BORDER + 1, 0), (BORDER + 2, 0)),
            ((0, BORDER), (0, BORDER + 1)),
            ((10**17 + 1, 10**18), (10**17 + 1, 10**18 + 1)),
        ],
    )
    def test_the_newer_stays_whichever_came_first(
        self, held: Shelf, made: Callable[..., Entry], older: tuple[int, int], newer: tuple[int, int]
    ) -> None:
        for number, order in enumerate([(older, newer), (newer, older)]):
            for place in order:
                held.offer(f"{KEY}{number}", made(*place), plenty())
            found = held.look(f"{KEY}{number}", plenty())
            assert found is not None
            assert (found.epoch, found.version) == newer
            assert found.body == f"{newer[0]}.{newer[1]}"

    def test_of_one_version_the_one_that_is_good_for_longer_stays(
        self, held: Shelf, made: Callable[..., Entry]
    ) -> None:
        for number, order in enumerate([(30.0, 50.0), (50.0, 30.0)]):
            for good_for_s in order:
                held.offer(f"{KEY}{number}", made(1, 1, good_for_s), plenty())
            assert held.look(f"{KEY}{number}", plenty()) == made(1, 1, 50.0)

    def test_a_newer_one_stays_even_if_it_is_good_for_less(
        self, held: Shelf, made: Callable[..., Entry], clock: MovedClock
    ) -> None:
        held.offer(KEY, made(1, 2, 20.0), plenty())
        held.offer(KEY, made(1, 1, 50.0), plenty())
        assert held.look(KEY, plenty()) == made(1, 2, 20.0)
        clock.ahead_s = 25.0
        assert held.look(KEY, plenty()) is None

    def test_an_older_one_does_not_come_back_when_the_newer_is_over(
        self, held: Shelf, made: Callable[..., Entry], clock: MovedClock
    ) -> None:
        held.offer(KEY, made(1, 2, 20.0), plenty())
        self.expire(clock)
        held.offer(KEY, made(1, 1, 50.0), plenty())
        assert held.look(KEY, plenty()) is None
        held.offer(KEY, made(1, 3, 50.0), plenty())
        assert held.look(KEY, plenty()) == made(1, 3, 50.0)

    def test_what_is_past_its_time_is_not_stored(self, held: Shelf, made: Callable[..., Entry]) -> None:
        for late in (0.0, -0.001, -3_600.0):
            held.offer(KEY, made(1, 1, late), plenty())
            assert held.look(KEY, plenty()) is None

    def test_a_reader_does_not_believe_an_entry_past_its_time(
        self, held: Shelf, made: Callable[..., Entry], clock: MovedClock
    ) -> None:
        held.offer(KEY, made(1, 1, 60.0), plenty())
        clock.ahead_s = 59.0
        assert held.look(KEY, plenty()) is not None
        clock.ahead_s = 60.1
        assert held.look(KEY, plenty()) is None

    def test_time_without_end_can_be_given(self, held: Shelf, clock: MovedClock) -> None:
        entry = Entry(1, 1, "kept", datetime.max.replace(tzinfo=clock.utc().tzinfo))
        held.offer(KEY, entry, plenty())
        assert held.look(KEY, plenty()) == entry

    # --- marks

    def test_a_mark_takes_what_is_older_away(self, held: Shelf, made: Callable[..., Entry]) -> None:
        held.offer(KEY, made(1, 1), plenty())
        assert held.mark(KEY, 1, 2, plenty())
        assert held.look(KEY, plenty()) is None

    def test_what_is_older_than_a_mark_may_not_come_back(
        self, held: Shelf, made: Callable[..., Entry]
    ) -> None:
        assert held.mark(KEY, 2, 5, plenty())
        for place in ((2, 4), (1, 99), (0, 0)):
            held.offer(KEY, made(*place), plenty())
            assert held.look(KEY, plenty()) is None

    @pytest.mark.parametrize("place", [(2, 5), (2, 6), (3, 0)])
    def test_what_is_as_new_as_a_mark_is_taken(
        self, held: Shelf, made: Callable[..., Entry], place: tuple[int, int]
    ) -> None:
        assert held.mark(KEY, 2, 5, plenty())
        held.offer(KEY, made(*place), plenty())
        assert held.look(KEY, plenty()) == made(*place)

    @pytest.mark.parametrize("place", [(2, 5), (2, 6), (3, 0)])
    def test_a_late_mark_leaves_what_is_as_new_as_itself(
        self, held: Shelf, made: Callable[..., Entry], place: tuple[int, int]
    ) -> None:
        held.offer(KEY, made(*place), plenty())
        assert held.mark(KEY, 2, 5, plenty())
        assert held.look(KEY, plenty()) == made(*place)

    def test_an_older_mark_takes_nothing_back(self, held: Shelf, made: Callable[..., Entry]) -> None:
        assert held.mark(KEY, 2, 5, plenty())
        assert held.mark(KEY, 2, 3, plenty())
        assert held.mark(KEY, 1, 9, plenty())
        held.offer(KEY, made(2, 4), plenty())
        assert held.look(KEY, plenty()) is None

    def test_a_mark_outlives_the_entry_that_came_after_it(
        self, held: Shelf, made: Callable[..., Entry], clock: MovedClock
    ) -> None:
        assert held.mark(KEY, 2, 5, plenty())
        held.offer(KEY, made(2, 5, 10.0), plenty())
        self.expire(clock)
        held.offer(KEY, made(2, 4, 50.0), plenty())
        assert held.look(KEY, plenty()) is None

    def test_marks_are_compared_beyond_the_border_too(self, held: Shelf, made: Callable[..., Entry]) -> None:
        held.offer(KEY, made(BORDER, BORDER), plenty())
        assert held.mark(KEY, BORDER, BORDER + 1, plenty())
        assert held.look(KEY, plenty()) is None
        held.offer(KEY, made(BORDER, BORDER), plenty())
        assert held.look(KEY, plenty()) is None
        held.offer(KEY, made(BORDER, BORDER + 1), plenty())
        assert held.look(KEY, plenty()) == made(BORDER, BORDER + 1)

    def test_after_an_end_nothing_of_its_epoch_comes_back(
        self, held: Shelf, made: Callable[..., Entry]
    ) -> None:
        held.offer(KEY, made(2, 9), plenty())
        assert held.mark(KEY, 2, 5, plenty(), ended=True)
        assert held.look(KEY, plenty()) is None, "of the same epoch, whatever its version"
        held.offer(KEY, made(2, 99), plenty())
        assert held.look(KEY, plenty()) is None
        held.offer(KEY, made(3, 0), plenty())
        assert held.look(KEY, plenty()) == made(3, 0)

    def test_an_end_is_not_undone_by_a_mark_that_comes_later(
        self, held: Shelf, made: Callable[..., Entry]
    ) -> None:
        assert held.mark(KEY, 2, 5, plenty(), ended=True)
        assert held.mark(KEY, 2, 9, plenty())
        assert held.mark(KEY, 1, 9, plenty())
        held.offer(KEY, made(2, 99), plenty())
        assert held.look(KEY, plenty()) is None

    def test_a_mark_in_the_background_does_the_same(self, held: Shelf, made: Callable[..., Entry]) -> None:
        held.offer(KEY, made(1, 1), plenty())
        pending = held.mark_later(KEY, 1, 2)
        assert pending.join(plenty())
        assert pending.join(plenty()), "it may be joined again"
        assert held.look(KEY, plenty()) is None

    def test_keys_do_not_meet(self, held: Shelf, made: Callable[..., Entry]) -> None:
        held.offer("session:a", made(1, 1), plenty())
        held.offer("session:b", made(1, 1), plenty())
        assert held.mark("session:a", 9, 9, plenty(), ended=True)
        assert held.look("session:b", plenty()) == made(1, 1)

    # --- hints

    def test_a_hint_is_recalled(self, held: Shelf) -> None:
        held.remember("device:1", "session 1", 60).join(plenty())
        held.remember("device:1", "session 2", 60).join(plenty())
        assert held.recall("device:1", plenty()) == "session 2"
        assert held.recall("device:2", plenty()) is None

    # --- many at once

    def test_in_whatever_order_things_arrive_the_same_stays(
        self, held: Shelf, made: Callable[..., Entry]
    ) -> None:
        steps: list[Callable[[], object]] = [
            lambda: held.offer(KEY, made(1, 1), plenty()),
            lambda: held.offer(KEY, made(2, 2), plenty()),
            lambda: held.mark(KEY, 2, 1, plenty()),
            lambda: held.mark(KEY, 1, 5, plenty(), ended=True),
        ]
        for order in itertools.permutations(steps):
            held.mark(KEY, 0, 0, plenty())
            self.empty(held)
            for step in order:
                step()
            assert held.look(KEY, plenty()) == made(2, 2)

    def test_under_many_threads_the_newest_stays(self, held: Shelf, made: Callable[..., Entry]) -> None:
        seed = secrets.randbits(32)
        print(f"seed {seed}")
        dice = random.Random(seed)
        places = [(dice.randrange(3), dice.randrange(30)) for _ in range(300)]
        marks = [(dice.randrange(3), dice.randrange(30)) for _ in range(60)]
        work: list[Callable[[], object]] = [
            *(partial(held.offer, KEY, made(*place), plenty()) for place in places),
            *(partial(held.mark, KEY, *mark, plenty()) for mark in marks),
        ]
        dice.shuffle(work)
        seen: list[list[Entry | None]] = [[] for _ in range(6)]

        def hammer(number: int) -> None:
            for step in work[number::6]:
                step()
                seen[number].append(held.look(KEY, plenty()))

        threads = [threading.Thread(target=hammer, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        newest, highest = max(places), max(marks)
        found = held.look(KEY, plenty())
        assert found == (made(*newest) if newest >= highest else None), f"seed {seed}"
        for looks in seen:
            ranks = [(look.epoch, look.version) for look in looks if look is not None]
            assert ranks == sorted(ranks), f"seed {seed}: somebody saw it go back"

    # --- how a test helps itself

    def expire(self, clock: MovedClock) -> None:
        """The time of every entry that is good for less than 30 seconds is over; no mark's is."""
        clock.ahead_s += 30.0

    def empty(self, held: Shelf) -> None:
        """Forget all."""
        raise NotImplementedError
