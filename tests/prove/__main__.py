"""Proves the promises by breaking things: real processes, real signals, a real Postgres, and a checker that counts.

make prove                    every case in full: about half an hour on two cores
make prove ARGS=--short       every case in a shorter form, as CI runs it
"""

import argparse
import random
import sys
import time
from collections.abc import Callable
from functools import partial

from tests.network.pgbouncer import MissingProgram, PgBouncer
from tests.prove import clocks, kill, mix, network, outage, storm, walks, zombie
from tests.prove.stage import Row, Stage, stage

Case = Callable[[Stage], None]


def cases(seed: int, short: bool) -> dict[str, Case]:
    rng = random.Random(seed)
    return {
        "kill": partial(kill.kill_everywhere, every=8 if short else 1),
        "zombie": partial(zombie.wake_everywhere, every=3 if short else 1, rounds=1 if short else 3),
        "storm": partial(storm.storm, tries=4 if short else 100, rng=rng),
        "mix": partial(
            mix.interleave, case="interleaving: senders, policies, kills", rounds=2 if short else 30, rng=rng
        ),
        "clocks": partial(clocks.disagree, tries=10 if short else 100),
        "network": partial(network.fail_each_statement, rounds=1 if short else 4),
        "lossy": partial(network.fail_at_random, tries=20 if short else 200, rng=rng),
        "pgbouncer": partial(network.pool_connections, rounds=1 if short else 25, rng=rng),
        "walks": partial(walks.walk, tries=15 if short else 1_000, steps=30, rng=rng),
        "outage": partial(_durably, partial(outage.stop_postgres, tries=6 if short else 100)),
        "sleeper": partial(zombie.sleep_past_the_lease, tries=8 if short else 100),
    }


def _durably(case: Case, built: Stage) -> None:
    """On a server of its own, whose commits survive its crash."""
    with stage(built.tell, durable=True) as durable:
        case(durable)
    built.rows += durable.rows


def main() -> None:
    asked = _arguments()
    seed = asked.seed if asked.seed is not None else random.randrange(2**32)
    all_cases = cases(seed, asked.short)
    if "pgbouncer" in (asked.cases or all_cases) and PgBouncer.program() is None:
        sys.exit(str(MissingProgram()))
    begun = time.monotonic()
    _say(
        f"seed {seed}; the same again: python -m tests.prove --seed {seed}{' --short' if asked.short else ''}"
    )

    def tell(line: str) -> None:
        _say(f"{time.monotonic() - begun:6.0f} s  {line}")

    with stage(tell) as built:
        for name in asked.cases or all_cases:
            all_cases[name](built)
    _say_table(built.rows)
    sys.exit(1 if any(row.found.all() for row in built.rows) else 0)


def _say_table(rows: list[Row]) -> None:
    _say("\n| case | tries | lost | doubled | interleaved | invalid |\n|---|---:|---:|---:|---:|---:|")
    for row in rows:
        found = row.found
        counts = " | ".join(
            str(len(f)) for f in (found.lost, found.doubled, found.interleaved, found.invalid)
        )
        _say(f"| {row.case} | {row.tries} | {counts} |")
    for row in rows:
        for finding in row.found.all()[:20]:
            _say(f"{row.case}: {finding}")


def _say(line: str) -> None:
    print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.prove", description="Proves the promises by breaking things."
    )
    parser.add_argument("cases", nargs="*", help=f"which of: {', '.join(cases(0, True))} (default: all)")
    parser.add_argument(
        "--seed", type=int, help="for whatever is chosen at random (default: a new one, printed)"
    )
    parser.add_argument("--short", action="store_true", help="every case in a shorter form")
    return parser.parse_args()


if __name__ == "__main__":
    main()
