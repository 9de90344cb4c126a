"""What a turn costs beside the same statements sent by hand, as ratios within one run.

    make bench            or: python -m bench.turn --rounds 200

Both contestants talk to the same real Postgres, with full durability, through psycopg2; both read the claim's history and
build the model's request from it; neither calls a model. Rounds alternate, so a busy machine slows both alike. The figures
are medians, and what falls short is said.
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from bench.contestants import Contestant, HandWritten, Latchkey
from bench.conversations import conversation, database
from tests.wire import WireCounter


@dataclass(frozen=True, slots=True)
class Figure:
    what: str
    of: str
    ratio: float
    bar: float
    at_least: bool = False
    # Why it may fall short today; None: it must not.
    excuse: str | None = None

    @property
    def is_reached(self) -> bool:
        return self.ratio >= self.bar if self.at_least else self.ratio <= self.bar

    def line(self) -> str:
        verdict = (
            "reached" if self.is_reached else "FALLS SHORT" + (f": {self.excuse}" if self.excuse else "")
        )
        sign = "≥" if self.at_least else "≤"
        return f"| {self.what} | {self.of} | {self.ratio:.2f} | {sign} {self.bar:g} | {verdict} |"


def main() -> None:
    asked = _arguments()
    print(
        f"medians of {asked.rounds} alternating rounds\n\n| what | measured | ratio | to reach | |\n|---|---|---:|---:|---|"
    )
    figures = []
    with database() as url:
        for measure in (overhead, tool_round, long_conversations, clients, wire):
            for figure in measure(url, asked):
                figures.append(figure)
                print(figure.line(), flush=True)
    missed = [figure for figure in figures if not figure.is_reached and figure.excuse is None]
    sys.exit(f"\n{len(missed)} figures fall short" if missed else 0)


def overhead(url: str, asked: argparse.Namespace) -> list[Figure]:
    """A plain turn of a process that knows nothing of the conversation, and loads all of it."""
    figures = []
    hand, ours = HandWritten(url), Latchkey(url)
    for stored, rounds in ((10, asked.rounds), (100, asked.rounds), (1_000, asked.rounds // 2)):
        by_hand, latchkey = _alternating(url, stored, rounds, [hand, ours])
        figures.append(
            Figure(
                f"plain turn, {stored} stored messages", _times(by_hand, latchkey), latchkey / by_hand, 1.25
            )
        )
    hand.close()
    ours.close()
    return figures


def tool_round(url: str, asked: argparse.Namespace) -> list[Figure]:
    hand, ours = HandWritten(url, calls=True), Latchkey(url, calls=True)
    by_hand, latchkey = _alternating(url, 10, asked.rounds, [hand, ours])
    hand.close()
    ours.close()
    return [
        Figure("a turn with one tool round, 10 stored", _times(by_hand, latchkey), latchkey / by_hand, 1.25)
    ]


def long_conversations(url: str, asked: argparse.Namespace) -> list[Figure]:
    """A process that goes on with a conversation that it knows, and one that does not."""
    figures = []
    for stored, rounds in ((1_000, asked.rounds), (10_000, asked.rounds // 2)):
        short, long = Latchkey(url, remembers=True), Latchkey(url, remembers=True)
        at_10, at_many = _alternating(url, 10, rounds, [short, long], lengths=[10, stored])
        figures.append(
            Figure(
                f"a warm process, {stored} against 10 stored", _times(at_10, at_many), at_many / at_10, 1.2
            )
        )
        short.close()
        long.close()
    cold = Latchkey(url)
    at_10, at_many = _alternating(url, 10, asked.rounds, [cold, cold], lengths=[10, 10_000])
    figures.append(
        Figure("a cold process, 10000 against 10 stored", _times(at_10, at_many), at_many / at_10, 1.2)
    )
    cold.close()
    return figures


def clients(url: str, asked: argparse.Namespace) -> list[Figure]:
    """Eight processes on conversations of their own, as eight functions would be."""
    rates: dict[str, list[float]] = {"hand": [], "ours": []}
    for _ in range(3):
        for name, contestant in (("hand", HandWritten), ("ours", Latchkey)):
            rates[name].append(_rate(url, contestant, asked.seconds))
    hand, ours = statistics.median(rates["hand"]), statistics.median(rates["ours"])
    return [
        Figure("8 clients at once, turns/s", f"{hand:.0f}/s, {ours:.0f}/s", ours / hand, 0.8, at_least=True)
    ]


def wire(url: str, asked: argparse.Namespace) -> list[Figure]:
    """Statements and round trips, counted on the wire; the ratio is of the trips to what they may be."""
    del asked
    figures = []
    with WireCounter(url) as counter:
        for name, most, calls in (("a plain turn", 2, False), ("one tool round", 4, True)):
            ours, device = Latchkey(counter.url, calls=calls), conversation(url, 10)
            ours.turn(device)
            counter.count.clear()
            ours.turn(device)
            trips, sent = counter.count.round_trips, len(counter.count.statements)
            figures.append(
                Figure(f"round trips of {name}", f"{sent} statements, {trips} trips", trips / most, 1.0)
            )
            ours.close()
    return figures


# ---- how it is measured


def _alternating(
    url: str,
    stored: int,
    rounds: int,
    contestants: Sequence[Contestant],
    *,
    lengths: Sequence[int] | None = None,
) -> list[float]:
    """Each begins anew with a conversation of its size after every ten turns, so that it stays of that size."""
    took: list[list[float]] = [[] for _ in contestants]
    devices: list[UUID] = []
    for number in range(rounds):
        if number % 10 == 0:
            devices = [conversation(url, length) for length in lengths or [stored] * len(contestants)]
            for contestant, device in zip(contestants, devices, strict=True):
                contestant.turn(device)
        for place, (contestant, device) in enumerate(zip(contestants, devices, strict=True)):
            took[place].append(timed(partial(contestant.turn, device)))
    return [statistics.median(times) for times in took]


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _times(one: float, other: float) -> str:
    return f"{one * 1e3:.2f} ms, {other * 1e3:.2f} ms"


def _rate(url: str, contestant: type[Contestant], seconds: float) -> float:
    context = multiprocessing.get_context("spawn")
    devices = [conversation(url, 10) for _ in range(8)]
    ready = context.Barrier(9)
    done = context.Queue()
    processes = [
        context.Process(target=_client, args=(url, contestant, device, seconds, ready, done))
        for device in devices
    ]
    for process in processes:
        process.start()
    ready.wait()
    total = sum(done.get() for _ in processes)
    for process in processes:
        process.join()
    return float(total / seconds)


def _client(
    url: str, contestant: type[Contestant], device: UUID, seconds: float, ready: object, done: object
) -> None:
    runner = contestant(url)
    runner.turn(device)
    ready.wait()  # type: ignore[attr-defined]  # the types of multiprocessing's contexts are private
    begun, turns = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        runner.turn(device)
        turns += 1
    done.put(turns)  # type: ignore[attr-defined]
    runner.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.turn", description="What a turn costs, as ratios.")
    parser.add_argument(
        "--rounds", type=int, default=300, help="turns of each contestant and size (default 300)"
    )
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="of each round of the eight clients (default 4)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
