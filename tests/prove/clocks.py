"""Two functions whose clocks differ by twenty minutes: only the database's clock decides who may.

The processes are real, and all of their Python believes another time (`time.time` and what is made of it, `datetime`); the
monotonic clock goes on as it is, as on a machine whose clock is wrong. (Debian's `faketime` breaks Python's own waiting.)
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import IO, Any
from uuid import UUID, uuid4

from dev.demo_model import Fault
from tests.databases import ROOT, run
from tests.prove.errands import Errand, Place, Result
from tests.prove.stage import Scene, Stage


class Lone:
    """A function in a process of its own that keeps to its own clock, and runs one errand after another."""

    def __init__(self, place: Place, off_by_s: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.prove.lone", str(off_by_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in: IO[str] = self._process.stdin
        self._out: IO[str] = self._process.stdout
        self._say(asdict(place))
        self.believes_s = float(self._hear()["time"])

    def begin(self, errand: Errand) -> None:
        self._say(asdict(errand))

    def result(self) -> Result:
        return Result(**self._hear())

    def close(self) -> None:
        self._in.close()
        self._process.wait(20)
        self._out.close()

    def _say(self, what: dict[str, Any]) -> None:
        self._in.write(json.dumps(what, default=str) + "\n")
        self._in.flush()

    def _hear(self) -> dict[str, Any]:
        heard: dict[str, Any] = json.loads(self._out.readline())
        return heard


@contextmanager
def _two(scene: Scene) -> Iterator[tuple[Lone, Lone]]:
    with ExitStack() as stack:
        late, early = Lone(scene.place, -600), Lone(scene.place, 600)
        stack.callback(late.close)
        stack.callback(early.close)
        if not 1_100 < early.believes_s - late.believes_s < 1_300:
            scene.row.found.invalid.append("the clocks do not differ")
        yield late, early


def disagree(stage: Stage, *, tries: int) -> None:
    """A lease that one holds is one for the other too, and is over for both at the same moment."""
    with stage.scene("two clocks, twenty minutes apart") as scene, _two(scene) as functions:
        for number in range(tries):
            _one_wants_what_the_other_holds(scene, *(functions if number % 2 else functions[::-1]))
            scene.row.tries += 1
        scene.check()


def _one_wants_what_the_other_holds(scene: Scene, holder: Lone, other: Lone) -> None:
    device = uuid4()
    opened = Errand("say", device, f"Good morning ({device.hex[:8]})", key="first")
    holder.begin(opened)
    scene.note(opened, holder.result())
    # The holder's model is at a gate, and its lease is renewed meanwhile.
    gate = threading.Event()
    scene.model.faults.add(Fault.gate(gate))
    held = Errand("say", device, f"And now ({device.hex[:8]})", key="held")
    asked = scene.model.requests.total
    holder.begin(held)
    scene.model.requests.wait_for(asked + 1)
    early = Errand("say", device, "Too early", key="early", on_busy="reject")
    other.begin(early)
    if (result := other.result()).problem is None:
        scene.row.found.interleaved.append(f"{device}: was given a lease that another held: {result}")
    gate.set()
    scene.note(held, holder.result())
    _in_time(scene, holder, other, device)


def _in_time(scene: Scene, holder: Lone, other: Lone, device: UUID) -> None:
    """A holder that died: what it had is free for the other as soon as the database says so."""
    session_id = str(scene.session_of(device))
    lease = "UPDATE conversation_states SET version = version + 1, lease_expires_at = now() + %s * interval '1 second' WHERE id = %s"
    for left_s, is_free in ((60, False), (-1, True)):
        run(scene.url, lease, left_s, session_id)
        for function in (holder, other):
            errand = Errand("say", device, f"Now? ({uuid4().hex[:8]})", key=uuid4().hex, on_busy="reject")
            function.begin(errand)
            result = function.result()
            scene.note(errand, result)
            if (result.turn is not None) is not is_free:
                scene.row.found.interleaved.append(f"{device}: {left_s} s before its end: {result}")
