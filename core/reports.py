"""Reports: one for each stint with a turn, of where its time, its tokens and its money went. Never what was said, nor by whom.

Whoever builds the house says who is told. Here it is a line of the log for people; on Lambda it is metrics.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from core.about import short
from core.holding import Holding
from core.stopwatch import COMMITS, FINISH, MODEL, TOOLS
from core.values import dataclass

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    # A digest of its ID.
    session: str
    turn: str
    epoch: int
    agent: str | None
    # completed, failed, cancelled, waiting, handed_over; lost: another has it; broken_off: by an error, to be gone on with.
    became: str
    # Of a turn that ended as it should not.
    code: str | None
    # In seconds, by purpose (see core/stopwatch.py); their sum is the whole.
    spent_s: Mapping[str, float]
    # How often the model was asked, tools were run, and the database was written to.
    asked: int
    ran: int
    commits: int
    first_word_s: float | None
    # Tokens by kind, and `cost_micros` if what they cost is known.
    usage: Mapping[str, int]
    # How many holders died over it before, and how many messages were read from the database for it.
    crashes: int
    loaded: int

    @property
    def total_s(self) -> float:
        return sum(self.spent_s.values())

    @property
    def overhead_s(self) -> float:
        """What was neither the model nor tools."""
        return self.total_s - self.spent_s["model"] - self.spent_s["tools"]

    @property
    def cost_usd(self) -> float | None:
        micros = self.usage.get("cost_micros")
        return None if micros is None else micros / 1_000_000


Tell = Callable[[Report], None]


def report_of(holding: Holding) -> Report:
    """When whoever holds the turn is done with it."""
    spent_s, times = holding.watch.stop(), holding.watch.times
    return Report(
        session=short(holding.hold.session_id),
        turn=str(holding.hold.turn_id),
        epoch=holding.hold.epoch,
        agent=holding.worked_by,
        became=holding.became,
        code=holding.code,
        spent_s=spent_s,
        asked=times[MODEL],
        ran=times[TOOLS],
        commits=times[COMMITS] + times[FINISH],
        first_word_s=holding.watch.first_word_s,
        usage=holding.tally.here,
        crashes=holding.grant.crashes,
        loaded=len(holding.grant.history),
    )


def log(report: Report) -> None:
    _log.info("%s", _Line(report))


class _Line:
    """Made only if somebody reads it."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def __str__(self) -> str:
        report = self._report
        ms: dict[str, Any] = {purpose: round(1000 * spent_s) for purpose, spent_s in report.spent_s.items()}
        cost = "at an unknown price" if report.cost_usd is None else f"${report.cost_usd:.4f}"
        code = "" if report.code is None else f" ({report.code})"
        tokens = report.usage
        return (
            f"turn {report.turn} {report.became}{code} by {report.agent} in {1000 * report.total_s:.0f} ms: "
            f"claim {ms['claim']}, model {ms['model']} ({report.asked}x), tools {ms['tools']} ({report.ran}x), "
            f"commits {ms['commits']} and finish {ms['finish']} ({report.commits}x), own {ms['own']}; "
            f"tokens {tokens['input_tokens']} in, {tokens['output_tokens']} out, "
            f"{tokens['cache_read_input_tokens']} from the cache, {cost}"
        )
