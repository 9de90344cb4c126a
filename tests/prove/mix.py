"""Interleaving: several devices, several senders on each, mixed policies, functions killed at random, workers too.

While it runs an observer reads each conversation again and again: what was once read stays, and the epoch never falls.
"""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerProcess
from uuid import UUID, uuid4

import psycopg2

from core.policies import OnBusy
from tests.databases import run
from tests.prove.agents import SAYS
from tests.prove.errands import Errand, Function, Place, Points, Trap, functions, open_house
from tests.prove.stage import Scene, Stage

_KINDS = ("plain", "plain", "once", "idempotent", "handover")
_ENDED_BY_POLICY = ("turn_replaced", "turn_interrupted", "turn_rolled_back", "turn_cancelled")


def interleave(stage: Stage, *, case: str, rounds: int, rng: random.Random) -> None:
    """A try is a conversation that four senders talked into at once."""
    with stage.scene(case) as scene:
        talk(stage, scene, scene.place, rounds=rounds, rng=rng)


def talk(stage: Stage, scene: Scene, place: Place, *, rounds: int, rng: random.Random) -> None:
    place = place.budgeted()
    with _workers(place, rng), _observer(scene):
        for number in range(rounds):
            devices = [uuid4() for _ in range(4)]
            jobs = [(device, sender, rng.randrange(2**32)) for device in devices for sender in range(4)]
            with ThreadPoolExecutor(len(jobs)) as pool:
                list(pool.map(lambda job: _sender(scene, place, *job), jobs))
            scene.row.tries += len(devices)
            stage.tell(f"{scene.row.case}: round {number + 1} of {rounds}")
        _until_quiet(scene)
    scene.check(may_fail=True)
    _check_answered(scene)


def _sender(scene: Scene, place: Place, device: UUID, sender: int, seed: int) -> None:
    """One message after another, each sent again with its key until it is accepted."""
    rng = random.Random(seed)
    for number in range(3):
        text = f"{SAYS[rng.choice(_KINDS)]} ({seed:x}-{number})"
        on_busy = rng.choice([policy for policy in OnBusy if policy is not OnBusy.REJECT])
        errand = Errand(
            "say", device, text, f"{sender}-{number}", on_busy, wait_s=rng.choice([0.0, 0.5, 25.0])
        )
        for attempt in range(40):
            trap = Trap(rng.randint(1, 14)) if attempt < 2 and rng.random() < 0.3 else None
            result = Function(place, errand, trap).result(120)
            scene.note(errand, result)
            if result.turn is not None:
                break
        else:
            scene.row.found.lost.append(f"{text}: never accepted: {result.problem}")


# ---- those who go on with what is left


def _worker(place: Place) -> None:
    """Works until it is killed."""
    open_house(place, Points(None)).start_workers(threads=2, sweep_every_s=0.2)
    threading.Event().wait()


@contextmanager
def _workers(place: Place, rng: random.Random) -> Iterator[None]:
    """Two worker processes; every now and then one is killed and another takes its place."""
    over = threading.Event()

    def start() -> ForkServerProcess:
        process = functions.Process(target=_worker, args=(place,), daemon=True)
        process.start()
        return process

    running = [start(), start()]

    def kill() -> None:
        while not over.wait(rng.uniform(1, 3)):
            victim = rng.randrange(2)
            running[victim].kill()
            running[victim].join()
            running[victim] = start()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        over.set()
        killer.join()
        for process in running:
            process.kill()
            process.join()


def _until_quiet(scene: Scene) -> None:
    patience = time.monotonic() + 90
    while (
        run(scene.url, "SELECT 1 FROM turns WHERE ended_at IS NULL LIMIT 1") and time.monotonic() < patience
    ):
        threading.Event().wait(0.2)


# ---- what must hold


@contextmanager
def _observer(scene: Scene) -> Iterator[None]:
    over = threading.Event()
    seen: dict[str, tuple[int, list[str]]] = {}

    def look() -> None:
        for session, epoch in run(scene.url, "SELECT id, lease_epoch FROM conversation_states"):
            rows = run(
                scene.url,
                "SELECT seq || content FROM messages WHERE session_id = %s ORDER BY seq",
                str(session),
            )
            said = [row for (row,) in rows]
            before_epoch, before = seen.get(session, (0, []))
            if epoch < before_epoch:
                scene.row.found.interleaved.append(
                    f"{session}: the epoch fell from {before_epoch} to {epoch}"
                )
            if said[: len(before)] != before:
                scene.row.found.interleaved.append(f"{session}: what was read before has changed")
            seen[session] = (epoch, said)

    def observe() -> None:
        while not over.wait(0.1):
            with suppress(psycopg2.OperationalError):
                look()

    observer = threading.Thread(target=observe)
    observer.start()
    yield
    over.set()
    observer.join()


def _check_answered(scene: Scene) -> None:
    """An accepted message is answered, unless a later one was to stop or to replace it. Nothing fails here on its own."""
    for turn, status, code in run(
        scene.url, "SELECT id, status, error ->> 'code' FROM turns WHERE status IN ('failed', 'cancelled')"
    ):
        if status == "failed" or code not in _ENDED_BY_POLICY:
            scene.row.found.lost.append(f"turn {turn} is {status} with {code}")
