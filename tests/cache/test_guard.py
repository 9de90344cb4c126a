"""When Redis is asked, and what is made of what it says."""

import threading

import pytest

from core.cache.allowance import Allowance
from core.cache.commands import Redis
from core.cache.guard import Guard
from core.cache.native import NativeRedis
from core.cache.upstash import UpstashRedis
from core.figures import Figures
from core.settings import Secret
from dev.redis import EmbeddedRedis, Fault, RedisFront
from tests.cache.asking import PING, SHORT_S, cache_threads
from tests.cache.conftest import BUDGET_S, MovedClock, Way, warmed
from tests.cache.contract import plenty
from tests.cache.names import StuckNames
from tests.cache.relay import Relay
from tests.conversations import until


def test_until_it_is_warm_nothing_is_read_and_a_few_marks_are_kept(
    unloaded: Redis, names: StuckNames, figures: Figures
) -> None:
    names.answers.clear()
    guard = Guard(unloaded, BUDGET_S, figures)
    guard.warm()
    until(lambda: names.waiting == 1)
    assert guard.state == "warming"
    allowance = plenty()
    for _ in range(100):
        assert guard.run(PING, allowance) is None
    kept = [guard.later(PING) for _ in range(100)]
    assert allowance.left_s() == plenty().left_s(), "nobody waited"
    assert len(cache_threads()) == 1, "it is warmed once"
    names.answers.set()
    assert [call.join(plenty()) for call in kept] == [True] * 4 + [False] * 96
    until(lambda: guard.state == "closed")
    assert guard.run(PING, plenty()) == ["PONG"]
    said = figures.snapshot()
    assert said["cache.skipped"] == {"warming": 196}
    assert "cache.failures" not in said
    assert said["cache.latency"]["count"] == 5, "how long warming took is not how long Redis takes"
    guard.close()


def test_closed_before_it_was_warm_it_keeps_nobody_waiting(
    unloaded: Redis, names: StuckNames, figures: Figures
) -> None:
    names.answers.clear()
    guard = Guard(unloaded, BUDGET_S, figures)
    guard.warm()
    kept = guard.later(PING)
    threading.Timer(0.1, names.answers.set).start()
    guard.close()
    assert not kept.join(plenty())
    assert figures.snapshot()["cache.skipped"] == {"closed": 1}


def test_whoever_did_not_warm_it_warms_it_by_asking(way: Way, figures: Figures) -> None:
    guard = Guard(way.client, BUDGET_S, figures)
    assert guard.state == "warming"
    assert guard.run(PING, plenty()) is None
    until(lambda: guard.state == "closed")
    assert guard.run(PING, plenty()) == ["PONG"]
    guard.close()


def test_a_redis_that_is_away_while_it_is_warmed_is_asked_again_later(way: Way, figures: Figures) -> None:
    way.faults["down"]()
    guard = warmed(Guard(way.client, BUDGET_S, figures))
    assert guard.state == "closed"
    assert figures.snapshot()["cache.failures"] == {"transport": 1}
    way.mend()
    assert guard.run(PING, plenty()) == ["PONG"]
    guard.close()


def test_an_answer_that_took_too_long_is_a_failure_even_if_nobody_waited_for_it(
    native: Way, relay: Relay, clock: MovedClock, figures: Figures
) -> None:
    guard = warmed(Guard(native.client, SHORT_S, figures, clock.monotonic))
    relay.drip_s = 0.05
    relay.behave("drip", cut=False)
    for _ in range(3):
        guard.run(PING, Allowance(0.001))
        until(lambda: not guard._busy)
    assert guard.state == "open"
    assert figures.snapshot()["cache.failures"] == {"timeout": 3}
    guard.close()


def test_a_defect_of_a_client_is_a_failure_and_not_an_error(
    way: Way, guard: Guard, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(way.client), "run", fall)
    for _ in range(3):
        assert guard.run(PING, plenty()) is None
    assert figures.snapshot()["cache.failures"] == {"defect": 3}
    assert guard.state == "open"


def test_what_is_asked_later_begins_at_once_and_may_take_longer_than_a_request_waits(
    rest: Way, front: RedisFront, figures: Figures
) -> None:
    guard = warmed(Guard(rest.client, 0.05, figures))
    until(lambda: guard.run(PING, plenty()) == ["PONG"])
    before = figures.snapshot().get("cache.failures")
    front.faults.add(Fault.slow(0.3))
    pending = guard.later([("SET", "k", "v")])
    assert not pending.join(Allowance(0.01)), "not yet"
    assert pending.join(plenty())
    assert figures.snapshot().get("cache.failures") == before
    guard.close()


def test_an_answer_that_comes_too_late_is_thrown_away(rest: Way, front: RedisFront, figures: Figures) -> None:
    guard = warmed(Guard(rest.client, BUDGET_S, figures))
    front.faults.add(Fault.slow(0.3))
    assert guard.run([("ECHO", "late")], Allowance(0.05)) is None
    assert guard.run([("ECHO", "mine")], plenty()) == ["mine"]
    until(lambda: not guard._busy)
    assert guard.run([("ECHO", "mine too")], plenty()) == ["mine too"]
    guard.close()


def test_where_nothing_is_left_of_the_allowance_nothing_is_asked(
    rest: Way, front: RedisFront, figures: Figures
) -> None:
    guard = warmed(Guard(rest.client, BUDGET_S, figures))
    before = len(list(front.requests))
    assert guard.run(PING, Allowance(0)) is None
    assert len(list(front.requests)) == before
    guard.close()


def test_an_allowance_is_used_up_by_waiting_alone() -> None:
    allowance = Allowance(0.2)
    with allowance.waiting() as left_s:
        assert left_s == 0.2
        threading.Event().wait(0.05)
    assert 0.0 < allowance.left_s() <= 0.151
    before = allowance.left_s()
    threading.Event().wait(0.01)
    assert allowance.left_s() == before
    with allowance.waiting():
        threading.Event().wait(0.2)
    assert allowance.left_s() == 0.0
    assert Allowance(-1).left_s() == 0.0


def test_what_refuses_every_command_for_good_opens_the_circuit(
    way: Way, guard: Guard, figures: Figures
) -> None:
    way.redis.ask("ACL", "SETUSER", "default", "-get")
    try:
        for _ in range(3):
            assert guard.run([("GET", "k")], plenty()) is not None
        assert guard.state == "open"
    finally:
        way.redis.ask("ACL", "SETUSER", "default", "+get")
    assert figures.snapshot()["cache.refused"] == {"NOPERM": 3}


def test_what_is_refused_for_its_key_alone_does_not(way: Way, guard: Guard) -> None:
    way.redis.ask("SET", "k", "v")
    for _ in range(5):
        assert guard.run([("LPUSH", "k", 1)], plenty()) is not None
    assert guard.state == "closed"


def test_nothing_of_a_redis_is_shown(redis: EmbeddedRedis) -> None:
    guard = Guard(NativeRedis(Secret(redis.url)), BUDGET_S, Figures())
    assert redis.password not in repr(guard) + repr(guard._redis)
    assert guard.kind == "redis"
    assert UpstashRedis("http://x", Secret("y")).kind == "upstash"
