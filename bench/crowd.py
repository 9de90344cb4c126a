"""Many turns at once with a model that takes its time: as many functions as turns, each with a connection of its own, as on
Lambda. A function is a thread here, with a house of its own; a process holds 25 of them, so that Python's lock is not what is measured.
"""

import multiprocessing
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from bench.contestants import REPLY, USAGE, Latchkey
from bench.conversations import conversation
from bench.primary import Primary
from core.deadline import Deadline
from core.model.bill import Bill
from core.model.prompt import Prompt
from core.model.reply import ModelReply, Sink

_IN_A_PROCESS = 25


class SlowModel:
    """Answers after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def warm(self) -> None:
        pass

    def close(self) -> None:
        pass

    def ask(
        self, prompt: Prompt, deadline: Deadline, bill: Bill | None = None, sink: Sink | None = None
    ) -> "Future[ModelReply]":
        del deadline, bill, sink
        prompt.render()
        answered: Future[ModelReply] = Future()
        reply = ModelReply(REPLY, "end_turn", USAGE, USAGE)
        timer = threading.Timer(self._seconds, answered.set_result, (reply,))
        timer.daemon = True
        timer.start()
        return answered


@dataclass(frozen=True, slots=True)
class Crowd:
    """What became of it: how many turns, how much longer than the model each took, and how many connections the server had."""

    at_once: int
    turns: int
    seconds: float
    # Of each turn, in order: all of it that was not the model.
    beside_s: tuple[float, ...]
    most_connections: int
    cpu_s: float

    def percentile(self, percent: int) -> float:
        return self.beside_s[min(len(self.beside_s) - 1, len(self.beside_s) * percent // 100)]


def gather(primary: Primary, at: str, at_once: int, *, seconds: float, model_s: float) -> Crowd:
    """`at` is where they connect to: the server, or a pooler before it."""
    context = multiprocessing.get_context("spawn")
    devices = [conversation(primary.url, 10) for _ in range(at_once)]
    shares = [devices[begin : begin + _IN_A_PROCESS] for begin in range(0, at_once, _IN_A_PROCESS)]
    ready, told = context.Barrier(len(shares) + 1), context.Queue()
    processes = [
        context.Process(target=_functions, args=(at, share, seconds, model_s, ready, told))
        for share in shares
    ]
    for process in processes:
        process.start()
    ready.wait()
    begun, cpu_s, most = time.monotonic(), primary.cpu_s(), 0
    while time.monotonic() < begun + seconds:
        most = max(most, primary.connections())
        time.sleep(0.2)  # looks cost too
    took = sorted(beside for _ in processes for beside in told.get())
    lasted = time.monotonic() - begun
    for process in processes:
        process.join()
    spent = primary.cpu_s() - cpu_s
    return Crowd(at_once, len(took), lasted, tuple(took), most, spent)


def _functions(url: str, devices: list[UUID], seconds: float, model_s: float, ready: Any, told: Any) -> None:
    runners = [Latchkey(url, remembers=True) for _ in devices]
    for runner, device in zip(runners, devices, strict=True):
        runner.turn(device)
        runner.asks(SlowModel(model_s))
    ready.wait()
    until, took = time.perf_counter() + seconds, list[float]()

    def speak(runner: Latchkey, device: UUID, place: int) -> None:
        # Spread over the model's time, as those who have not agreed on anything are.
        time.sleep(model_s * place / len(devices))
        while (begun := time.perf_counter()) < until:
            runner.turn(device)
            took.append(time.perf_counter() - begun - model_s)

    threads = [
        threading.Thread(target=speak, args=(runner, device, place))
        for place, (runner, device) in enumerate(zip(runners, devices, strict=True))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.put(took)
    for runner in runners:
        runner.close()
