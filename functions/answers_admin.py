"""What goes out to operators. Never what somebody said, nor the reasons that people and agents give in words of their own."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from core.series import latency_of, stages_of, values_of
from core.store.figures import MOST_LOCKS, Count, Standing, Waiting
from functions.answers import moment


def overview_shape(
    active_s: int,
    standing: Sequence[Standing],
    waiting: Waiting,
    kept: int,
    behind: datetime | None,
    since: datetime,
    today: Sequence[Count],
) -> dict[str, Any]:
    locks = sum(one.locked for one in standing)
    return {
        "at": moment(waiting.at),
        "active_s": active_s,
        "sessions": [
            {
                "agent": one.agent,
                "active": one.active,
                "busy": one.busy,
                "locked": one.locked,
                "oldest_lock_at": moment(one.oldest_lock_at),
            }
            for one in standing
        ],
        "kept": kept,
        "locks_held": locks,
        "more_locks": locks >= MOST_LOCKS,
        "turns": {
            "queued": waiting.queued,
            "running": waiting.running,
            "waiting": waiting.waiting,
            "oldest_queued_s": _since(waiting.oldest_queued_at, waiting.at),
        },
        "approvals": {"calls": waiting.approvals, "outcomes": waiting.outcomes},
        "cleanup": {"behind_s": _since(behind, waiting.at)},
        "today": today_shape(since, today),
    }


def _since(begun: datetime | None, at: datetime) -> float | None:
    return None if begun is None else round(max(0.0, (at - begun).total_seconds()), 3)


def today_shape(since: datetime, counts: Sequence[Count]) -> dict[str, Any]:
    def named(name: str) -> list[Count]:
        return [count for count in counts if count.name == name]

    turns = values_of(named("turns"))
    ended = turns.get("completed", 0) + turns.get("failed", 0)
    return {
        "since": moment(since),
        "turns": turns,
        "errors": values_of(named("errors")),
        "error_rate": round(turns.get("failed", 0) / ended, 6) if ended else None,
        "latency": latency_of(named("latency")),
        "stages": stages_of(count for count in counts if count.name.startswith("stage.")),
        "recoveries": sum(values_of(named("recoveries")).values()),
        "history": values_of(named("history")),
        "tokens": values_of(named("tokens")),
        "cost_usd": sum(values_of(named("cost")).values()) / 1_000_000,
        "unpriced": sum(values_of(named("unpriced")).values()),
        "sessions": values_of(named("sessions")),
        "cleanups": values_of(named("cleanups")),
    }
