"""What a command tells while it works: a line a step, with what came of it and how long it took."""

import contextlib
import time
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def step(name: str) -> Iterator[Callable[[str], None]]:
    begun = time.monotonic()
    told: list[str] = []
    yield told.append
    say(f"{name:<14}{''.join(told):<66}{time.monotonic() - begun:5.2f} s")


def say(line: str) -> None:
    print(f"latchkey  {line}", flush=True)
