"""What is told of the day: a line a happening, by the story's clock, no faster than it can be read."""

import textwrap
import time
from dataclasses import dataclass, field

_WIDTH = 110
_INDENT = " " * 7


@dataclass(slots=True)
class Teller:
    # How long a line stands before the next; 0 where nobody reads along.
    pause_s: float
    _last: float = field(default_factory=lambda: float("-inf"))

    def at(self, clock: str, happening: str) -> None:
        self._wait()
        self._say(clock, happening)

    def then(self, outcome: str) -> None:
        self._wait()
        self._say("", outcome)

    def _wait(self) -> None:
        """What took time by itself is not waited for once more."""
        time.sleep(max(0.0, self._last + self.pause_s - time.monotonic()))
        self._last = time.monotonic()

    def _say(self, clock: str, text: str) -> None:
        print(
            textwrap.fill(text, _WIDTH, initial_indent=f"{clock:<7}", subsequent_indent=_INDENT), flush=True
        )
