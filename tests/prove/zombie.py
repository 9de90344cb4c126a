"""Zombie: the holder is stopped by SIGSTOP at each point of its way, another takes over and finishes, and the holder wakes.

Whatever the woken one does then, nothing in the database changes.
"""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

from core.deadline import Deadline
from tests.databases import run
from tests.prove.agents import SAYS
from tests.prove.errands import Errand, Function, Place, Trap
from tests.prove.stage import Scene, Stage

_KINDS = ("plain", "read", "idempotent", "once", "handover")
_TABLES = ("turns", "messages", "tool_calls", "approvals", "audit_log", "todos", "compactions")
_STATE = "SELECT * FROM conversation_states WHERE id = %s"
_SPENT = "SELECT p.* FROM spending p JOIN conversation_states s ON s.user_id = p.id WHERE s.id = %s"


def wake_everywhere(stage: Stage, *, every: int, rounds: int) -> None:
    """The lease's time is moved on in the database, so that the woken holder believes that it still has it."""
    for kind in _KINDS:
        with stage.scene("a zombie, stopped at every point") as scene, ThreadPoolExecutor(3) as pool:
            device = uuid4()
            points = scene.send(_say(kind, device), place=_place(scene, kind)).points
            numbers = [n for _ in range(rounds) for n in range(2, len(points) + 1, every)]
            list(pool.map(partial(_stopped_and_woken, scene, kind, expire=True), numbers))
            scene.row.tries += len(numbers)
            scene.check()


def sleep_past_the_lease(stage: Stage, *, tries: int) -> None:
    """Nothing is moved: the holder really is stopped for longer than its lease."""
    with stage.scene("a zombie, asleep past its real lease") as scene, ThreadPoolExecutor(8) as pool:
        jobs = [(kind, number) for kind in _KINDS for number in (3, 4, 5)]
        chosen = [jobs[n % len(jobs)] for n in range(tries)]
        list(pool.map(lambda job: _stopped_and_woken(scene, *job, expire=False), chosen))
        scene.row.tries += tries
        scene.check()


def _say(kind: str, device: UUID) -> Errand:
    return Errand("say", device, f"{SAYS[kind]} ({device.hex[:8]})", key="k")


def _place(scene: Scene, kind: str) -> Place:
    """The one that is handed over has its calls reserved for as well."""
    return scene.place.budgeted() if kind == "handover" else scene.place


def _stopped_and_woken(scene: Scene, kind: str, number: int, *, expire: bool) -> None:
    device = uuid4()
    errand = _say(kind, device)
    place = _place(scene, kind)
    zombie = Function(place, errand, Trap(number, signal.SIGSTOP))
    wait_until_stopped(zombie.pid)
    session_id = scene.session_of(device)
    if expire:
        scene.expire(session_id)
    heir = scene.send(errand, place=place)
    if heir.turn is None or heir.turn["status"] != "completed":
        scene.row.found.lost.append(f"{kind}, stopped at {number}: the heir got {heir.turn or heir.problem}")
    before = _rows(scene, session_id)
    os.kill(zombie.pid, signal.SIGCONT)
    woken = zombie.result()
    scene.note(errand, woken)
    if _rows(scene, session_id) != before:
        scene.row.found.interleaved.append(f"{kind}, stopped at {number}: the woken holder wrote something")
    if woken.turn is not None and heir.turn is not None and woken.turn["reply"] != heir.turn["reply"]:
        scene.row.found.doubled.append(f"{kind}, stopped at {number}: the woken holder answered otherwise")


def wait_until_stopped(pid: int) -> bool:
    """False: it ended without coming to its point."""
    patience = Deadline.after(60)
    while (state := state_of(pid)) != "T":
        if state in ("Z", "X"):
            return False
        assert patience.left_s(), f"process {pid} did not come to its point"
        time.sleep(0.002)
    return True


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def _rows(scene: Scene, session_id: UUID | None) -> list[object]:
    of_tables = [f"SELECT * FROM {table} t WHERE session_id = %s ORDER BY t::text" for table in _TABLES]
    return [run(scene.url, statement, str(session_id)) for statement in (_STATE, _SPENT, *of_tables)]
