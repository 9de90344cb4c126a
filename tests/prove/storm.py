"""Storm: one key, fifty senders at once, some of them killed on their way: one turn, one set of effects, one reply."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

from tests.databases import run
from tests.prove.agents import SAYS
from tests.prove.errands import Errand, Function, Place, Result, Trap
from tests.prove.stage import Scene, Stage

_SENDERS = 50
_KINDS = ("plain", "idempotent", "once", "handover")
# How many replies of the model each needs.
_REPLIES = {"plain": 1, "handover": 3}


def storm(stage: Stage, *, tries: int, rng: random.Random) -> None:
    with stage.scene("a storm: one key, 50 senders") as scene:
        for number in range(tries):
            _one_storm(
                scene, rng, _KINDS[number % len(_KINDS)], kills=0 if number % 2 == 0 else rng.randint(1, 10)
            )
            scene.row.tries += 1
            if number % 10 == 9:
                stage.tell(f"storm: {number + 1} of {tries}")
        scene.check()


def _one_storm(scene: Scene, rng: random.Random, kind: str, kills: int) -> None:
    device = uuid4()
    errand = Errand("say", device, f"{SAYS[kind]} ({device.hex[:8]})", key="k")
    traps = [Trap(rng.randint(1, 14)) for _ in range(kills)] + [None] * (_SENDERS - kills)
    rng.shuffle(traps)
    # Without kills the usual lease: with fifty processes on two cores a short one would run out under a living holder.
    place = replace(scene.place.budgeted(), lease_ttl_s=4.0 if kills else 30.0)
    scene.model.requests.clear()
    with ThreadPoolExecutor(_SENDERS) as pool:
        results = list(pool.map(lambda trap: _sent(scene, place, errand, trap), traps))
    if not any(result.turn for result in results):
        results.append(scene.send(errand, place=place))
    for trap, result in zip(traps, results, strict=False):
        if trap is None and (result.turn is None or result.turn["status"] != "completed"):
            scene.row.found.lost.append(f"storm {device}: a sender got {result.turn or result.problem}")
    _check_bill(scene, kind, kills)
    ((count,),) = run(
        scene.url, "SELECT count(*) FROM turns WHERE session_id = %s", str(scene.session_of(device))
    )
    if count != 1:
        scene.row.found.doubled.append(f"storm {device}: {count} turns")


def _sent(scene: Scene, place: Place, errand: Errand, trap: Trap | None) -> Result:
    """As a client does: a 503 says that the same request is to be sent again. Fifty processes on two cores can be late."""
    for _ in range(5):
        result = Function(place, errand, trap).result(90)
        scene.note(errand, result)
        if not (result.problem or "").startswith("DatabaseUnavailable"):
            break
    return result


def _check_bill(scene: Scene, kind: str, kills: int) -> None:
    """Each killed holder may have paid for one reply that it could not commit any more."""
    asked = len(scene.model.requests)
    needed = _REPLIES.get(kind, 2)
    if not needed <= asked <= needed + kills:
        scene.row.found.doubled.append(
            f"storm with {kills} kills: the model was asked {asked} times for {needed} replies"
        )
    scene.row.found.invalid += [
        f"the model refused: {one.refusal}" for one in scene.model.requests if one.refusal
    ]
