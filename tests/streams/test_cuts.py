"""A stream that is cut at every kind of place, on servers that take turns, is put together without a gap or a repeat."""

import itertools
import os
import random
import signal
import threading
from typing import Any

import pytest

from dev.demo_model import DemoModel, Fault, Reply
from dev.redis import EmbeddedRedis, RedisFront
from dev.redis import Fault as RedisFault
from tests.streams.conftest import Serve, Server
from tests.streams.phone import Json, Phone, check

_DRIP = Fault.drip(0.015, size=60)


def _seed() -> random.Random:
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    print(f"SEED={seed}")
    return random.Random(seed)


def _text(chance: random.Random, words: int) -> str:
    said = chance.choices(
        ["so", "weiß", "ich", "naïve", "日本語", "and", "then", "🙂", "\n", "well,", "it is"], k=words
    )
    return " ".join(said) + "."


def _call(name: str, **arguments: Any) -> Json:
    return {"type": "tool_use", "name": name, "input": arguments}


def _script(chance: random.Random) -> list[Reply]:
    """Two agents, four tool calls, one approval, and texts before and after."""

    def said(*calls: Json) -> Reply:
        return Reply([{"type": "text", "text": _text(chance, chance.randint(1, 25))}, *calls])

    return [
        said(_call("hand_over", to="scheduling", reason="it is theirs")),
        said(_call("list_appointments"), _call("find_free_slots", day="Monday")),
        said(_call("cancel_appointment", number=1)),
        Reply(_text(chance, 60)),
    ]


def _decide(phone: Phone, name: str, data: Json) -> None:
    if name == "approval_asked":
        decision = {"decision": "approve", "input_digest": data["input_digest"]}
        status, answer = phone.ask("POST", f"/v1/approvals/{data['id']}", decision)
        assert status == 200, answer


def _talk(servers: list[Server], chance: random.Random, number: int) -> Phone:
    """Turn after turn, each cut again and again."""
    ports = itertools.cycle([server.port for server in servers])
    phone = Phone(ports, chance, then=_decide)
    phone.say(f"Hello {number}", key=f"key {number}")
    check(phone)
    assert phone.told.discarded == 0
    assert phone.told.agents == ["manager", "scheduling"]
    # Not where the answer came before anybody could be told that it is waited for.
    assert phone.told.names.count("turn_waiting") <= 1
    return phone


def _cut_again_and_again(servers: list[Server], model: DemoModel, wanted: int) -> None:
    chance = _seed()
    cuts, by_kind = 0, {"event": 0, "byte": 0}
    number = 0
    while cuts < wanted:
        number += 1
        # One after the other: the replies are scripted in order.
        model.replies.add(*_script(chance))
        model.faults.add(*[_DRIP] * 4)
        phone = _talk(servers, chance, number)
        cuts += phone.cuts.total()
        for kind in by_kind:
            by_kind[kind] += phone.cuts[kind]
        assert not model.replies, "not all that was scripted was said"
    print(f"{cuts} cuts in {number} turns: {by_kind}")
    assert min(by_kind.values()) > wanted / 10


def test_cut_hundreds_of_times_on_two_servers_without_redis(serve: Serve, model: DemoModel) -> None:
    _cut_again_and_again(serve(2), model, 260)


def test_cut_hundreds_of_times_on_two_servers_with_redis(
    serve: Serve, model: DemoModel, front: RedisFront
) -> None:
    where = {"UPSTASH_REDIS_REST_URL": front.url, "UPSTASH_REDIS_REST_TOKEN": front.token}
    servers = serve(2, **where)
    _cut_again_and_again(servers, model, 260)
    assert any("partial:" in str(request.commands) for request in front.requests), "Redis was never asked"


def test_whatever_redis_does_in_the_middle_the_same_is_told(
    serve: Serve, model: DemoModel, redis: EmbeddedRedis
) -> None:
    with RedisFront(redis.wire, remembers=10) as front:
        where = {"UPSTASH_REDIS_REST_URL": front.url, "UPSTASH_REDIS_REST_TOKEN": front.token}
        servers = serve(2, **where)
        front.faults.script(
            RedisFault.none(),
            RedisFault.garbage(),
            RedisFault.stale(3),
            RedisFault.none(),
            RedisFault.lost(),
            RedisFault.wrong_type(),
            RedisFault.stale(10),
            RedisFault.cut(reset=True),
            RedisFault.error("OOM command not allowed when used memory > 'maxmemory'."),
        )
        _cut_again_and_again(servers, model, 60)


@pytest.mark.parametrize("has_redis", [False, True])
def test_killed_in_the_middle_of_a_text_another_goes_on_and_the_reader_discards_what_came_to_nothing(
    serve: Serve, model: DemoModel, front: RedisFront, has_redis: bool
) -> None:
    chance = _seed()
    where = {"UPSTASH_REDIS_REST_URL": front.url, "UPSTASH_REDIS_REST_TOKEN": front.token}
    doomed, other = serve(2, LEASE_TTL_S="5", **(where if has_redis else {}))
    model.replies.add(
        # So long that a reader who is told late, and so in larger pieces, is still told of it in more than a few.
        Reply("It begins like this, and is never said to its end. " * 100),
        Reply(_text(chance, 30)),
    )
    model.faults.add(Fault.drip(0.05, size=60), _DRIP)
    killed = threading.Event()

    def then(phone: Phone, name: str, data: Json) -> None:
        # By then the other server has told some of it.
        if name == "text_delta" and len(phone.told.names) > 6 and not killed.is_set():
            killed.set()
            os.kill(doomed.process.pid, signal.SIGKILL)

    ports = itertools.chain([doomed.port], itertools.repeat(other.port))
    phone = Phone(ports, chance, then=then)
    phone.say("Hello", key="k")
    assert killed.is_set()
    check(phone)
    assert phone.told.discarded == 1
    assert len(model.requests) == 2
