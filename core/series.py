"""Series: an operators' figure by time, one item for each hour or day, also for those in which nothing happened.

A percentile is read from counts by upper bounds (core/store/daily.py), so it is the bound: never too low.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from core.errors import FieldProblem, InvalidRequest
from core.store import figures
from core.store.daily import STAGES
from core.store.database import Database
from core.store.figures import Count
from core.values import dataclass

STEPS: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
MOST_DAYS: Final = {"hour": 31, "day": 400}
# What is shown to whoever names no beginning.
_USUAL: Final = {"hour": timedelta(days=1), "day": timedelta(days=30)}

# By label, how often.
Values = dict[str, int]


@dataclass(frozen=True, slots=True)
class Range:
    """Whole hours, or whole days, of UTC. `until` is not in it."""

    since: datetime
    until: datetime
    step: str

    @property
    def moments(self) -> Iterator[datetime]:
        at = self.since
        while at < self.until:
            yield at
            at += STEPS[self.step]


def range_of(since: datetime | None, until: datetime | None, step: str, now: datetime) -> Range:
    """Widened to whole steps; up to the one that is running, where no end is named."""
    problems = [
        FieldProblem(name, "must name its zone, such as 2026-03-01T00:00:00Z")
        for name, given in (("from", since), ("to", until))
        if given is not None and given.tzinfo is None
    ]
    if problems:
        raise InvalidRequest(errors=tuple(problems))
    try:
        end = _up(until or now, step)
        begin = _down(since or end - _USUAL[step], step)
    except OverflowError:
        raise InvalidRequest(errors=(FieldProblem("from", "is not a time of ours"),)) from None
    if begin >= end:
        raise InvalidRequest(errors=(FieldProblem("from", "must be before `to`"),))
    if end - begin > timedelta(days=MOST_DAYS[step]):
        raise InvalidRequest(
            errors=(FieldProblem("from", f"by {step} it takes at most {MOST_DAYS[step]} days"),)
        )
    return Range(begin, end, step)


def day_of(at: datetime) -> Range:
    since = _down(at, "day")
    return Range(since, since + STEPS["day"], "day")


def _down(at: datetime, step: str) -> datetime:
    whole = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return whole.replace(hour=0) if step == "day" else whole


def _up(at: datetime, step: str) -> datetime:
    down = _down(at, step)
    return down if down == at else down + STEPS[step]


def series(database: Database, figure: str, span: Range, *, now: datetime | None = None) -> list[Any]:
    """For each moment of the range its item, oldest first."""
    counts = figures.series(database, figure, span.since, span.until, span.step, now=now)
    by_moment: dict[datetime, list[Count]] = {at: [] for at in span.moments}
    for count in counts:
        by_moment[count.at.astimezone(UTC)].append(count)
    labels = sorted({count.label for count in counts})

    def shape(here: list[Count]) -> dict[str, Any]:
        if figure == "latency":
            return latency_of(here)
        if figure == "locks":
            return locks_of(here)
        if figure == "stages":
            return {"stages": stages_of(here)}
        return {"values": dict.fromkeys(labels, 0) | values_of(here)}

    return [{"at": at, **shape(here)} for at, here in by_moment.items()]


def values_of(counts: Iterable[Count]) -> Values:
    values: Counter[str] = Counter()
    for count in counts:
        values[count.label] += count.value
    return dict(values)


def latency_of(counts: Iterable[Count], shares: tuple[int, ...] = (50, 95, 99)) -> dict[str, Any]:
    histogram = {int(label): value for label, value in values_of(counts).items()}
    shown = {f"p{share}_ms": percentile(histogram, share) for share in shares}
    return {"count": sum(histogram.values()), **shown}


def stages_of(counts: Iterable[Count]) -> dict[str, Any]:
    """Of what the time of turns went into, by stage: all of them, also where no turn had one."""
    by_stage: dict[str, list[Count]] = {stage: [] for stage in STAGES}
    for count in counts:
        by_stage[count.name.partition(".")[2]].append(count)
    return {stage: latency_of(here, (50, 95)) for stage, here in by_stage.items()}


def percentile(histogram: dict[int, int], share: int) -> int | None:
    """The smallest bound that so many of a hundred stay within."""
    wanted = -(-sum(histogram.values()) * share // 100)
    seen = 0
    for bound in sorted(histogram):
        seen += histogram[bound]
        if seen >= wanted:
            return bound
    return None


@dataclass(slots=True)
class _Held:
    histogram: Counter[int]
    ms: int = 0
    still_held: int = 0

    def shown(self, agent: str) -> dict[str, Any]:
        ended = sum(self.histogram.values())
        bounds = {share: percentile(self.histogram, share) for share in (50, 95)}
        return {
            "agent": agent,
            "count": ended + self.still_held,
            "still_held": self.still_held,
            "mean_s": round(self.ms / ended / 1000, 3) if ended else None,
            **{f"p{share}_s": None if ms is None else ms / 1000 for share, ms in bounds.items()},
        }


def locks_of(counts: Iterable[Count]) -> dict[str, Any]:
    """Of the locks that were set: how long, by agent; and what became of them."""
    ended: Counter[str] = Counter()
    agents: dict[str, _Held] = {}
    for count in counts:
        name, how = count.name.split(".")
        agent, _, bound = count.label.partition("/")
        held = agents.setdefault(agent, _Held(Counter()))
        if name == "held_ms":
            held.ms += count.value
        elif how == "held":
            held.still_held += count.value
        else:
            held.histogram[int(bound)] += count.value
            ended[how] += count.value
    return {"agents": [agents[agent].shown(agent) for agent in sorted(agents)], "ended": dict(ended)}
