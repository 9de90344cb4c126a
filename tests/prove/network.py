"""A network that loses requests, loses only replies (so that nobody knows what was committed), delays, and cuts; and a
transaction pooler in between.

Each fault is done once to each statement of each kind of turn, then many are done at random.
"""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from uuid import uuid4

from tests.network.faults import Fault, Kind, RandomFaults
from tests.network.pgbouncer import PgBouncer
from tests.network.proxy import FaultyProxy
from tests.prove import mix
from tests.prove.agents import SAYS
from tests.prove.errands import Errand, Place
from tests.prove.stage import Scene, Stage

# What the statements of a turn hold that no other holds.
_STATEMENTS = {
    "plain": ("ahead AS MATERIALIZED", "SET status = 'completed'"),
    "once": ("ahead AS MATERIALIZED", "INSERT INTO tool_calls", "settled AS", "SET status = 'completed'"),
    "handover": ("given AS (", "todo AS ("),
}
_KINDS: tuple[Kind, ...] = ("drop_request", "drop_reply", "delay", "cut_reply")


def fail_each_statement(stage: Stage, *, rounds: int) -> None:
    with stage.scene("the network fails at each statement") as scene, FaultyProxy(scene.url) as proxy:
        place = _by_way_of(scene, proxy.url)
        for _ in range(rounds):
            for kind, statements in _STATEMENTS.items():
                for statement in statements:
                    for fault in _faults(statement):
                        proxy.faults.add(fault)
                        _one_turn(scene, place, kind)
                        scene.row.tries += 1
        if len(proxy.faults):
            scene.row.found.invalid.append(f"{len(proxy.faults)} faults were never done")
        scene.check()


def fail_at_random(stage: Stage, *, tries: int, rng: random.Random) -> None:
    with stage.scene("the network fails at random") as scene:
        dice = RandomFaults(rng.randrange(2**32), rate=0.15, kinds=_KINDS, max_delay_s=0.05)
        with FaultyProxy(scene.url, random_faults=dice) as proxy, ThreadPoolExecutor(4) as pool:
            place = _by_way_of(scene, proxy.url)
            kinds = [rng.choice(["plain", "once", "idempotent", "handover"]) for _ in range(tries)]
            list(pool.map(partial(_one_turn, scene, place), kinds))
            scene.row.tries += tries
            stage.tell(f"the network fails at random: {len(proxy.done)} faults done")
            if len(proxy.done) < tries // 4:
                scene.row.found.invalid.append("hardly any fault was done")
        scene.check()


def pool_connections(stage: Stage, *, rounds: int, rng: random.Random) -> None:
    """The interleaving once more, with four server connections for all."""
    with stage.scene("interleaving through pgbouncer") as scene, PgBouncer(scene.url, pool_size=4) as pooler:
        mix.talk(stage, scene, replace(scene.place, database_url=pooler.url), rounds=rounds, rng=rng)


def _by_way_of(scene: Scene, url: str) -> Place:
    """Every call is reserved for, there and by those who go on with what is left."""
    scene.place = scene.place.budgeted()
    settings = {**scene.place.settings, "DATABASE_STATEMENT_TIMEOUT_S": "1"}
    return replace(scene.place, database_url=url, settings=settings)


def _faults(statement: str) -> list[Fault]:
    return [
        Fault.drop_request(matching=statement, close=True),
        Fault.drop_request(matching=statement),
        Fault.drop_reply(matching=statement, close=True),
        Fault.drop_reply(matching=statement),
        Fault.delay(0.3, matching=statement),
        Fault.cut_reply(matching=statement, after_bytes=9),
    ]


def _one_turn(scene: Scene, place: Place, kind: str) -> None:
    device = uuid4()
    errand = Errand("say", device, f"{SAYS[kind]} ({device.hex[:8]})", key="k")
    for _ in range(10):
        result = scene.send(errand, place=place)
        if result.turn is not None:
            break
    else:
        scene.row.found.lost.append(f"{kind}: never accepted: {result.problem}")
    scene.settle(device)
