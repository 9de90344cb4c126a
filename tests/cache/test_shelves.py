import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from core.cache.allowance import Allowance
from core.cache.entry import Entry, seal
from core.cache.guard import Guard
from core.cache.memory import MemoryShelf
from core.cache.shelf import MARK_TTL_S, NoShelf, RedisShelf, Shelf
from core.figures import Figures
from tests.cache.conftest import MovedClock, Way
from tests.cache.contract import KEY, ShelfContract, plenty

ENTRY_KEY, MARK_KEY = f"test:{KEY}", f"test:{KEY}:mark"


class TestMemory(ShelfContract):
    @pytest.fixture
    def held(self, clock: MovedClock) -> Shelf:
        return MemoryShelf(clock.utc)

    def empty(self, held: Shelf) -> None:
        assert isinstance(held, MemoryShelf)
        held._places.clear()


class TestRedis(ShelfContract):
    """By both ways: `way` says which."""

    @pytest.fixture
    def held(self, shelf: RedisShelf, way: Way) -> Shelf:
        self.way = way
        return shelf

    def expire(self, clock: MovedClock) -> None:
        """Redis's clock cannot be moved: what it would remove by then is removed."""
        del clock
        with self.way.redis.wire() as wire:
            left_ms = wire.ask("PTTL", ENTRY_KEY)
            assert isinstance(left_ms, int)
            assert 0 < left_ms < 30_000
            wire.ask("DEL", ENTRY_KEY)

    def empty(self, held: Shelf) -> None:
        del held
        self.way.redis.ask("FLUSHALL")


# --- the shelf in Redis


def entry(clock: MovedClock, epoch: int = 5, version: int = 10, good_for_s: float = 60) -> Entry:
    return Entry(epoch, version, "{}", clock.utc() + timedelta(seconds=good_for_s))


def test_redis_removes_an_entry_when_its_time_is_over(shelf: RedisShelf, way: Way, clock: MovedClock) -> None:
    shelf.offer(KEY, entry(clock, good_for_s=12), plenty())
    left_ms = way.redis.ask("PTTL", ENTRY_KEY)
    assert isinstance(left_ms, int)
    assert 10_000 < left_ms <= 12_000


def test_a_mark_lives_for_an_hour_and_each_offer_and_mark_prolongs_it(
    shelf: RedisShelf, way: Way, clock: MovedClock
) -> None:
    steps: list[Callable[[], object]] = [
        lambda: shelf.mark(KEY, 5, 10, plenty()),
        lambda: shelf.mark(KEY, 5, 10, plenty(), ended=True),
        lambda: shelf.offer(KEY, entry(clock, epoch=6), plenty()),
    ]
    for step in steps:
        way.redis.ask("PEXPIRE", MARK_KEY, 1_000)
        step()
        left_ms = way.redis.ask("PTTL", MARK_KEY)
        assert isinstance(left_ms, int)
        assert MARK_TTL_S * 1_000 - 10_000 < left_ms <= MARK_TTL_S * 1_000


def test_an_end_takes_the_entry_away_even_if_its_version_is_newer(
    shelf: RedisShelf, way: Way, clock: MovedClock
) -> None:
    """Not that it would be believed beside the mark; but the mark may be evicted."""
    shelf.offer(KEY, entry(clock, version=10), plenty())
    assert shelf.mark(KEY, 5, 9, plenty(), ended=True)
    assert way.redis.ask("EXISTS", ENTRY_KEY) == 0


def test_an_entry_that_is_late_by_redis_clock_alone_is_not_stored(
    shelf: RedisShelf, way: Way, clock: MovedClock, figures: Figures
) -> None:
    clock.ahead_s = -3_600
    shelf.offer(KEY, entry(clock), plenty())
    assert way.redis.ask("EXISTS", ENTRY_KEY) == 0
    assert figures.snapshot()["cache.puts"] == {"late": 1}


def test_nothing_goes_wrong_after_a_flush_of_data_and_scripts(
    shelf: RedisShelf, way: Way, clock: MovedClock
) -> None:
    shelf.offer(KEY, entry(clock), plenty())
    way.redis.ask("FLUSHALL")
    way.redis.ask("SCRIPT", "FLUSH")
    assert shelf.look(KEY, plenty()) is None
    assert shelf.mark(KEY, 5, 9, plenty())
    shelf.offer(KEY, entry(clock), plenty())
    assert shelf.look(KEY, plenty()) is not None


@pytest.mark.parametrize(
    "garbage", [b"", b"garbage", b"\xff\xfe\x00", b"[5,10", b"[" * 1_000, b'[5,10,99,"d","b"]', b"null"]
)
def test_garbage_in_the_place_of_an_entry_is_a_miss_and_is_replaced(
    shelf: RedisShelf, way: Way, clock: MovedClock, figures: Figures, garbage: bytes
) -> None:
    way.redis.ask("SET", ENTRY_KEY, garbage)
    assert shelf.look(KEY, plenty()) is None
    assert figures.snapshot()["cache.misses"] == {"garbage": 1}
    shelf.offer(KEY, entry(clock), plenty())
    assert shelf.look(KEY, plenty()) is not None


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\xff", b"[5]", b"[9,9,7]", b'[9,9,"1"]'])
def test_garbage_in_the_place_of_a_mark_is_a_miss_and_is_replaced(
    shelf: RedisShelf, way: Way, clock: MovedClock, figures: Figures, garbage: bytes
) -> None:
    shelf.offer(KEY, entry(clock), plenty())
    way.redis.ask("SET", MARK_KEY, garbage)
    assert shelf.look(KEY, plenty()) is None, "what is forbidden is not known"
    assert figures.snapshot()["cache.misses"] == {"garbage": 1}
    shelf.offer(KEY, entry(clock), plenty())
    assert shelf.look(KEY, plenty()) is not None


@pytest.mark.parametrize("other", [("RPUSH", "x"), ("SADD", "x"), ("HSET", "x", "y"), ("ZADD", 1, "x")])
@pytest.mark.parametrize("key", [ENTRY_KEY, MARK_KEY])
def test_a_key_of_another_type_stands_in_nobodys_way(
    shelf: RedisShelf, way: Way, clock: MovedClock, key: str, other: tuple[str, ...]
) -> None:
    way.redis.ask(other[0], key, *other[1:])
    assert shelf.look(KEY, plenty()) is None
    assert shelf.mark(KEY, 1, 1, plenty())
    shelf.offer(KEY, entry(clock), plenty())
    assert shelf.look(KEY, plenty()) is not None


def test_the_entry_of_another_key_is_a_miss(shelf: RedisShelf, way: Way, clock: MovedClock) -> None:
    shelf.offer("session:other", entry(clock), plenty())
    way.redis.ask("SET", ENTRY_KEY, str_of(way.redis.ask("GET", "test:session:other")))
    assert shelf.look("session:other", plenty()) is not None
    assert shelf.look(KEY, plenty()) is None


def test_an_entry_that_came_back_from_before_its_mark_is_a_miss(
    shelf: RedisShelf, way: Way, clock: MovedClock, figures: Figures
) -> None:
    """A failover that took half of a script along, or a liar."""
    assert shelf.mark(KEY, 5, 11, plenty())
    way.redis.ask("SET", ENTRY_KEY, seal(ENTRY_KEY, entry(clock)))
    assert shelf.look(KEY, plenty()) is None
    assert figures.snapshot()["cache.misses"] == {"old": 1}


def test_when_redis_is_full_a_mark_is_made_all_the_same_and_an_offer_is_not(
    shelf: RedisShelf, way: Way, clock: MovedClock, figures: Figures
) -> None:
    shelf.offer(KEY, entry(clock), plenty())
    way.redis.ask("CONFIG", "SET", "maxmemory", "1")
    shelf.offer("session:other", entry(clock), plenty())
    assert shelf.mark(KEY, 5, 11, plenty())
    assert way.redis.ask("EXISTS", ENTRY_KEY) == 0
    assert str_of(way.redis.ask("GET", MARK_KEY)) == "[5,11,0]"
    way.redis.ask("CONFIG", "SET", "maxmemory", "0")
    shelf.offer(KEY, entry(clock), plenty())
    assert shelf.look(KEY, plenty()) is None
    assert shelf.look("session:other", plenty()) is None
    assert figures.snapshot()["cache.refused"] == {"OOM": 1}


def test_where_scripts_are_refused_a_mark_takes_the_entry_away_and_says_that_it_is_not_sure(
    shelf: RedisShelf, way: Way, clock: MovedClock, figures: Figures
) -> None:
    shelf.offer(KEY, entry(clock), plenty())
    way.redis.ask("ACL", "SETUSER", "default", "-eval")
    try:
        assert not shelf.mark(KEY, 5, 11, plenty())
        assert shelf.look(KEY, plenty()) is None
        assert way.redis.ask("EXISTS", ENTRY_KEY) == 0
    finally:
        way.redis.ask("ACL", "SETUSER", "default", "+eval")
    assert figures.snapshot()["cache.refused"] == {"NOPERM": 1}


def test_each_thing_is_one_command_and_one_round_trip(shelf: RedisShelf, way: Way, clock: MovedClock) -> None:
    with way.redis.wire() as wire:
        wire.ask("CONFIG", "RESETSTAT")
        shelf.look(KEY, plenty())
        shelf.offer(KEY, entry(clock), plenty())
        shelf.mark(KEY, 5, 10, plenty())
        shelf.remember("device:1", "x", 60).join(plenty())
        shelf.recall("device:1", plenty())
        said = str_of(wire.ask("INFO", "commandstats"))
    asked = {line.partition(":")[0].removeprefix("cmdstat_"): line for line in said.splitlines()[1:]}
    # What a script asks is counted too: it gets both keys, and sets or deletes them.
    assert {name for name in asked if not name.startswith("config")} == {"mget", "eval", "get", "set", "time"}
    assert "calls=2," in asked["eval"]
    assert "calls=1," in asked["mget"]


def test_every_key_begins_with_the_prefix(shelf: RedisShelf, way: Way, clock: MovedClock) -> None:
    shelf.offer(KEY, entry(clock), plenty())
    shelf.remember("device:1", "x", 60).join(plenty())
    keys = way.redis.ask("KEYS", "*")
    assert isinstance(keys, list)
    assert {str_of(key) for key in keys} == {ENTRY_KEY, MARK_KEY, "test:device:1"}


def test_two_services_with_prefixes_of_their_own_do_not_meet(
    guard: Guard, shelf: RedisShelf, clock: MovedClock, figures: Figures
) -> None:
    other = RedisShelf(guard, "other:", figures, clock.utc)
    shelf.offer(KEY, entry(clock), plenty())
    assert other.mark(KEY, 9, 9, plenty(), ended=True)
    assert other.look(KEY, plenty()) is None
    assert shelf.look(KEY, plenty()) is not None


def test_a_hint_is_forgotten_in_time(shelf: RedisShelf, way: Way) -> None:
    shelf.remember("device:1", "x", 60).join(plenty())
    left_s = way.redis.ask("TTL", "test:device:1")
    assert isinstance(left_s, int)
    assert 50 < left_s <= 60


def test_garbage_in_the_place_of_a_hint_raises_nothing(shelf: RedisShelf, way: Way) -> None:
    way.redis.ask("SET", "test:device:1", b"\xff\xfe")
    assert shelf.recall("device:1", plenty()) == "��"
    way.redis.ask("DEL", "test:device:1")
    way.redis.ask("RPUSH", "test:device:1", "x")
    assert shelf.recall("device:1", plenty()) is None


def test_the_figures_say_what_became_of_looks_and_offers(
    shelf: RedisShelf, clock: MovedClock, figures: Figures
) -> None:
    shelf.look(KEY, plenty())
    shelf.offer(KEY, entry(clock), plenty())
    shelf.look(KEY, plenty())
    shelf.offer(KEY, entry(clock, version=9), plenty())
    shelf.offer(KEY, entry(clock, good_for_s=30), plenty())
    shelf.mark(KEY, 5, 11, plenty())
    shelf.look(KEY, plenty())
    shelf.offer(KEY, entry(clock), plenty())
    shelf.offer(KEY, entry(clock, version=12), plenty())
    clock.ahead_s = 61
    shelf.look(KEY, plenty())
    shelf.offer(KEY, entry(clock, good_for_s=-1), plenty())
    said = figures.snapshot()
    latency = said.pop("cache.latency")
    assert said == {
        "cache.hits": 1,
        "cache.marks": {"sent": 1},
        "cache.misses": {"marked": 1, "nothing": 1, "past": 1},
        "cache.puts": {"late": 1, "marked": 2, "old": 1, "put": 2},
    }
    assert latency["count"] == 10
    assert KEY not in json.dumps(said)


# --- the others


def test_a_memory_shelf_forgets_what_was_used_longest_ago(clock: MovedClock) -> None:
    shelf = MemoryShelf(clock.utc, most_keys=3)
    for number in range(3):
        shelf.offer(str(number), entry(clock), plenty())
    shelf.look("0", plenty())
    shelf.offer("3", entry(clock), plenty())
    assert [shelf.look(str(number), plenty()) is not None for number in range(4)] == [True, False, True, True]
    for number in range(10):
        shelf.remember(str(number), "x", 60).join(plenty())
    assert [number for number in range(10) if shelf.recall(str(number), plenty())] == [7, 8, 9]


def test_a_memory_shelf_says_how_much_it_holds(clock: MovedClock) -> None:
    shelf = MemoryShelf(clock.utc)
    shelf.offer("a", Entry(1, 1, "four", clock.utc() + timedelta(minutes=1)), plenty())
    shelf.offer("b", Entry(1, 1, "ünï", clock.utc() + timedelta(minutes=1)), plenty())
    assert shelf.held() == (2, 9)
    shelf.mark("a", 2, 0, plenty())
    assert shelf.held() == (1, 5)


def test_a_memory_shelf_forgets_a_hint_in_time(clock: MovedClock) -> None:
    shelf = MemoryShelf(clock.utc)
    shelf.remember("device:1", "x", 60).join(plenty())
    clock.ahead_s = 61
    assert shelf.recall("device:1", plenty()) is None


def test_where_there_is_no_shelf_nothing_is_ever_there(clock: MovedClock) -> None:
    shelf: Shelf = NoShelf()
    shelf.offer(KEY, entry(clock), plenty())
    shelf.remember("device:1", "x", 60).join(plenty())
    assert shelf.look(KEY, plenty()) is None
    assert shelf.recall("device:1", plenty()) is None
    assert shelf.mark(KEY, 1, 1, Allowance(0), ended=True)
    assert shelf.mark_later(KEY, 1, 1).join(Allowance(0))


def str_of(reply: object) -> str:
    assert isinstance(reply, bytes)
    return reply.decode()
