"""The shapes of the operators' figures."""

from datetime import datetime
from typing import Literal

from functions.shapes import Shape as Shape


class SessionsNowShape(Shape):
    # None: those that no agent holds, so the manager answers.
    agent: str | None
    active: int
    busy: int
    locked: int
    oldest_lock_at: datetime | None


class TurnsNowShape(Shape):
    queued: int
    running: int
    waiting: int
    oldest_queued_s: float | None


class ApprovalsNowShape(Shape):
    calls: int
    outcomes: int


class LatencyShape(Shape):
    count: int
    p50_ms: int | None
    p95_ms: int | None
    p99_ms: int | None


class StageShape(Shape):
    count: int
    p50_ms: int | None
    p95_ms: int | None


class StagesShape(Shape):
    claim: StageShape
    model: StageShape
    tools: StageShape
    finish: StageShape


class CleanupNowShape(Shape):
    # For how long the first of what it should have ended has waited; None: nothing waits.
    behind_s: float | None


class TodayShape(Shape):
    since: datetime
    turns: dict[str, int]
    errors: dict[str, int]
    # Of the turns that completed or failed, the share that failed.
    error_rate: float | None
    latency: LatencyShape
    stages: StagesShape
    # How often somebody went on with a turn whose function had died.
    recoveries: int
    history: dict[str, int]
    tokens: dict[str, int]
    cost_usd: float
    # How many turns used a model whose price is not known: they are not in the cost.
    unpriced: int
    sessions: dict[str, int]
    cleanups: dict[str, int]


class OverviewShape(Shape):
    at: datetime
    # So many seconds ago at most an active conversation was used.
    active_s: int
    sessions: list[SessionsNowShape]
    # All there are, also those that are over and not cleaned up yet.
    kept: int
    locks_held: int
    # There are more locks than are counted here.
    more_locks: bool
    turns: TurnsNowShape
    approvals: ApprovalsNowShape
    cleanup: CleanupNowShape
    today: TodayShape


class CountsItem(Shape):
    at: datetime
    values: dict[str, int]


class LatencyItem(LatencyShape):
    at: datetime


class LocksOfAgentShape(Shape):
    agent: str
    count: int
    still_held: int
    mean_s: float | None
    p50_s: float | None
    p95_s: float | None


class LocksItem(Shape):
    at: datetime
    agents: list[LocksOfAgentShape]
    ended: dict[str, int]


class StagesItem(Shape):
    at: datetime
    stages: StagesShape


class SeriesShape(Shape):
    figure: str
    step: Literal["hour", "day"]
    since: datetime
    until: datetime
    items: list[CountsItem] | list[LatencyItem] | list[StagesItem] | list[LocksItem]
