"""A turn's run: what its time went into, who worked on it, and where its history came from. Kept within what a turn has used, under `run`,
by the commits that are made anyway; over hand-overs and crashes it goes on from what was committed.

Nobody can say how long a commit takes that is being made. So a turn's last one is told by the last of the kind that this process made
before: a sample of its own kind, and over many turns the same.
"""

from collections.abc import Mapping
from typing import Any, Final

from core.stopwatch import CLAIM, COMMITS, FINISH, MODEL, TOOLS, Stopwatch

KEPT, ROWS, NEW = "kept", "rows", "new"
# A turn that was handed over more often than that tells of the last ones.
_MOST_EPOCHS: Final = 20

# How long the last turn's end took in this process, of whichever thread.
_last_finish_s = 0.0


class Run:
    """As one holder adds to it."""

    def __init__(self, before: Mapping[str, Any], epoch: int, history: str, watch: Stopwatch) -> None:
        """`history`: whether this process had it, read it, or there was none; of the turn's first holder."""
        self._before = before
        self._epochs = [*(before.get("epochs") or ()), epoch][-_MOST_EPOCHS:]
        self._history = before.get("history") or history
        self._watch = watch

    def so_far(self, *, ends: bool = False) -> dict[str, Any]:
        """In milliseconds, as the next commit writes it; `ends`: with what that one takes."""
        spent_s = self._watch.stop()
        commits_s = spent_s[COMMITS] + spent_s[FINISH] + (_last_finish_s if ends else 0.0)
        return {
            "claim": self._ms("claim", spent_s[CLAIM]),
            "model": self._ms("model", spent_s[MODEL]),
            "tools": self._ms("tools", spent_s[TOOLS]),
            "finish": self._ms("finish", commits_s),
            "epochs": self._epochs,
            "history": self._history,
        }

    def _ms(self, stage: str, here_s: float) -> float:
        return round((self._before.get(stage) or 0) + 1000 * here_s, 3)


def finished(took_s: float) -> None:
    """A turn was ended here, or let go of."""
    global _last_finish_s
    _last_finish_s = took_s
