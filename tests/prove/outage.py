"""Postgres stopped with `immediate`, as a crash of the server would, at every point of a turn and of a recovery."""

import os
import signal
import time
from contextlib import suppress
from uuid import uuid4

from core.deadline import Deadline
from dev.postgres import EmbeddedPostgres
from tests.prove.agents import SAYS
from tests.prove.errands import Errand, Function, Trap
from tests.prove.stage import Scene, Stage
from tests.prove.zombie import state_of, wait_until_stopped

_KINDS = ("plain", "idempotent", "once", "handover")
# How many points each passes, with every call reserved for.
_POINTS = {"plain": 8, "handover": 26}


def stop_postgres(stage: Stage, *, tries: int) -> None:
    """`stage` is one whose server is durable: with fsync."""
    for recovering in (False, True):
        name = "mid-recovery" if recovering else "mid-turn"
        with stage.scene(f"Postgres stopped with immediate, {name}") as scene:
            scene.place = scene.place.budgeted()
            for number in range(tries):
                _one_outage(stage.postgres, scene, number, recovering=recovering)
                scene.row.tries += 1
            scene.check()


def _one_outage(postgres: EmbeddedPostgres, scene: Scene, number: int, *, recovering: bool) -> None:
    device = uuid4()
    kind = _KINDS[number % len(_KINDS)]
    errand = Errand("say", device, f"{SAYS[kind]} ({device.hex[:8]})", key="k", wait_s=10)
    if recovering:
        scene.send(errand, Trap(3))
        scene.expire(scene.session_of(device))
    points = _POINTS.get(kind, 18)
    holder = Function(scene.place, errand, Trap(1 + number % points, signal.SIGSTOP))
    stopped = wait_until_stopped(holder.pid)
    _crash(postgres)
    if number % 2:
        # The function wakes while there is no server.
        os.kill(holder.pid, signal.SIGCONT)
    postgres.start()
    if stopped and not number % 2:
        with suppress(ProcessLookupError):
            os.kill(holder.pid, signal.SIGCONT)
    scene.note(errand, holder.result())
    again = scene.send(errand)
    if again.turn is None:
        scene.row.found.lost.append(f"{kind}, try {number}: the retry got {again.problem}")
    scene.settle(device)
    for turn, status in scene.open_turns(scene.session_of(device)):
        scene.row.found.lost.append(f"{kind}, try {number}: turn {turn} stays {status}")


def _crash(postgres: EmbeddedPostgres) -> None:
    pid = int((postgres.data / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)
    patience = Deadline.after(20)
    while state_of(pid) not in ("Z", "X"):
        assert patience.left_s(), "Postgres does not stop"
        time.sleep(0.01)
