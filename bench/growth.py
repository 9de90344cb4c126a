"""How it grows: what a turn costs the database, what a connection costs, and from these when one primary is full.

    make growth           or: python -m bench.growth --turns 1000 --seconds 6

All of it in one run, on a real Postgres with full durability, as `docs/growth.md` quotes it. The processors' time is that of
Postgres's processes as the kernel counts it, so a busy machine changes it little; everything else on one machine with its
clients is a lower bound of what a server of its own does.
"""

import argparse
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from uuid import UUID

from bench.contestants import Latchkey
from bench.conversations import conversation, held, last_turn, server
from bench.crowd import Crowd, gather
from bench.primary import AS_DEPLOYED, Primary, Spent
from bench.turn import timed
from tests.network.pgbouncer import MissingProgram, PgBouncer
from tests.wire import WireCounter

# What the arithmetic takes for granted; the rest is measured.
TURN_S = 8.0
RENEWED_S = 3.0
PEAK = 4.0
FULL = 0.6
DAY_S = 86_400
# GiB and cores of common instances. RDS: max_connections = memory for the database / 9,531,392 bytes, of which the system takes a tenth.
INSTANCES = (
    ("db.t4g.micro", 1, 2),
    ("db.t4g.small", 2, 2),
    ("db.t4g.medium", 4, 2),
    ("db.m7g.large", 8, 2),
    ("db.r7g.large", 16, 2),
    ("db.r7g.2xlarge", 64, 8),
    ("db.r7g.8xlarge", 256, 32),
)
POOL = 4
RENEWAL = "a renewal of its lease"
Work = Callable[[], object]
Begin = Callable[[str, Sequence[UUID]], Generator[Work]]
# For migrations, the clean-up, and whoever looks with psql.
SPARE = 15


def main() -> None:
    asked = _arguments()
    with server(AS_DEPLOYED) as (postgres, url), Primary(postgres, url) as primary:
        each = turns(primary, asked.turns)
        connections(primary)
        together = crowds(primary, asked.at_once, asked.seconds, asked.model_s)
    renewals = TURN_S // RENEWED_S * each[RENEWAL].cpu_s
    arithmetic(max(crowd.cpu_s / crowd.turns for crowd in together) + renewals, each["a plain turn"].bytes)


def turns(primary: Primary, many: int) -> dict[str, Spent]:
    """One after the other, ten to a conversation, on a process that knows it; and what goes on while a turn takes its time."""
    _table(
        "A turn, at the database",
        "what",
        "statements",
        "sent, bytes",
        "all of it but the model, ms",
        "server's CPU, ms",
        "rows in / changed (in place)",
        "stored, bytes",
        "log, bytes",
    )
    kinds: dict[str, Begin] = {
        "a plain turn": partial(_turns, calls=False),
        "one with a tool round": partial(_turns, calls=True),
        RENEWAL: _renewals,
        "a look at a turn": _looks,
    }
    return {name: _measured(primary, name, begin, many) for name, begin in kinds.items()}


def _measured(primary: Primary, name: str, begin: Begin, many: int) -> Spent:
    with WireCounter(primary.url) as counter:
        works = begin(counter.url, [conversation(primary.url, 10)])
        next(works)()
        work = next(works)
        counter.count.clear()
        work()
        sent = counter.count.statements.copy()
        works.close()
    took: list[float] = []
    devices = [conversation(primary.url, 10) for _ in range(many // 10)]

    def go_through() -> None:
        took.extend(timed(work) for work in islice(begin(primary.url, devices), many))

    spent = primary.during(go_through).each(many)
    _row(
        name,
        str(len(sent)),
        f"{sum(map(len, sent)):,}",
        f"{1e3 * sum(took) / many:.2f}",
        f"{1e3 * spent.cpu_s:.2f}",
        f"{spent.inserted:.1f} / {spent.updated:.1f} ({spent.updated_in_place:.1f})",
        f"{max(0, spent.bytes):,.0f}",
        f"{spent.wal:,.0f}",
    )
    return spent


def _turns(url: str, devices: Sequence[UUID], *, calls: bool) -> Generator[Work]:
    with closing(Latchkey(url, calls=calls, remembers=True)) as runner:
        for device in devices:
            for _ in range(10):
                yield partial(runner.turn, device)


def _renewals(url: str, devices: Sequence[UUID]) -> Generator[Work]:
    with closing(Latchkey(url)) as runner:
        hold = held(url, devices[0])
        while True:
            yield partial(runner.renew, hold)


def _looks(url: str, devices: Sequence[UUID]) -> Generator[Work]:
    with closing(Latchkey(url)) as runner:
        device = devices[0]
        runner.turn(device)
        turn_id = last_turn(url, device)
        while True:
            yield partial(runner.look, device, turn_id)


def connections(primary: Primary) -> None:
    """What one keeps for itself after a day's work, and what many that do nothing cost those that work."""
    runner, device = Latchkey(primary.url, remembers=True), conversation(primary.url, 10)
    for _ in range(200):
        runner.turn(device)
    print(
        f"\nOne connection after 200 turns keeps {primary.memory_of(runner.backend()) / 2**20:.1f} MiB for itself."
    )
    alone = _cpu(primary, partial(runner.turn, device), 300)
    with ExitStack() as idle:
        for _ in range(200):
            other = Latchkey(primary.url)
            other.backend()
            idle.callback(other.close)
        beside = _cpu(primary, partial(runner.turn, device), 300)
    runner.close()
    anew = _cpu(primary, partial(_first_turn, primary.url, device), 50) / 50
    print(
        f"A turn on a new connection, with connecting: {1e3 * anew:.1f} ms of CPU; on one that is warm {1e3 * alone / 300:.1f} ms."
    )
    print(f"A turn's CPU beside 200 connections that do nothing: {beside / alone:.2f} of that alone.")


def _first_turn(url: str, device: UUID) -> None:
    runner = Latchkey(url)
    runner.turn(device)
    runner.close()


def _cpu(primary: Primary, work: Callable[[], object], times: int) -> float:
    before = primary.cpu_s()
    for _ in range(times):
        work()
    return primary.cpu_s() - before


def crowds(primary: Primary, sizes: Sequence[int], seconds: float, model_s: float) -> list[Crowd]:
    _table(
        f"At once, with a model that takes {model_s:g} s",
        "functions",
        *(
            "by",
            "turns/s",
            "beside the model: p50, p99, ms",
            "connections at the server",
            "server's CPU a turn, ms",
        ),
    )
    told = []
    for at_once in sizes:
        told.append(_crowd(primary, "direct", primary.url, at_once, seconds, model_s))
        try:
            with PgBouncer(primary.url, pool_size=POOL) as pooler:
                told.append(_crowd(primary, f"pgbouncer, {POOL}", pooler.url, at_once, seconds, model_s))
        except MissingProgram as missing:
            print(f"left out: {missing}")
    return told


def _crowd(primary: Primary, by: str, url: str, at_once: int, seconds: float, model_s: float) -> Crowd:
    crowd = gather(primary, url, at_once, seconds=seconds, model_s=model_s)
    _row(
        str(at_once),
        by,
        f"{crowd.turns / crowd.seconds:.0f}",
        f"{1e3 * crowd.percentile(50):.1f}, {1e3 * crowd.percentile(99):.1f}",
        str(crowd.most_connections),
        f"{1e3 * crowd.cpu_s / crowd.turns:.2f}",
    )
    return crowd


def arithmetic(cpu_s: float, bytes_: float) -> None:
    """Little's law: as many turns at once as come in a second, times the seconds that each takes."""
    print(
        f"\nTaken for granted: a turn takes {TURN_S:g} s, the busiest minute has {PEAK:g} times the mean, "
        f"and a core is full at {FULL:.0%}. Measured: {1e3 * cpu_s:.2f} ms of CPU a plain turn: the dearest crowd's, and its renewals."
    )
    _table(
        "So many turns",
        "turns a day",
        "in the busiest second",
        "at once, and connections",
        "cores",
        "stored a day, GB",
    )
    for day in (1_000, 10_000, 100_000, 1_000_000, 10_000_000):
        rate = PEAK * day / DAY_S
        _row(
            f"{day:,}",
            f"{rate:.2f}",
            f"{max(1, math.ceil(rate * TURN_S)):,}",
            f"{rate * cpu_s / FULL:.2f}",
            f"{bytes_ * day / 1e9:.3f}",
        )
    _table(
        "So many instances hold",
        "instance",
        "max_connections",
        "turns a day by connections",
        "turns a day by cores",
    )
    for name, gib, cores in INSTANCES:
        most = min(5_000, round(0.9 * gib * 2**30 / 9_531_392))
        _row(
            name,
            f"{most:,}",
            _rounded((most - SPARE) / TURN_S * DAY_S / PEAK),
            _rounded(cores * FULL / cpu_s * DAY_S / PEAK),
        )


def _rounded(count: float) -> str:
    """To two figures: it is no more exact than that."""
    size = 10 ** (int(math.log10(count)) - 1)
    return f"{round(count / size) * size:,}"


def _table(title: str, *columns: str) -> None:
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|---|{'---:|' * (len(columns) - 1)}", flush=True)


def _row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.growth", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--turns", type=int, default=1_000, help="of each kind, one after the other, in tens (default 1000)"
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="of each crowd (default 8)")
    parser.add_argument("--model-s", type=float, default=1.0, help="that its model takes (default 1)")
    parser.add_argument(
        "--at-once", type=int, nargs="+", default=[25, 100], help="functions (default 25 100)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
