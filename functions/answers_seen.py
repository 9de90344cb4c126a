"""What goes out to operators about one conversation. Never what somebody said, nor reasons that people and agents give in words of
their own: those are not even read (core/store/seen.py).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from core.operating import Done
from core.store.lookups import Found
from core.store.seen import Seen
from functions.answers import moment, usage_shape

_TIMES: Final = ("at", "until", "created_at", "ended_at", "settled_at", "expires_at", "decided_at")
_STAGES: Final = ("claim", "model", "tools", "finish")


def seen_shape(seen: Seen) -> dict[str, Any]:
    fields: dict[str, Any] = {field: _plain(getattr(seen, field)) for field in Seen.__slots__}
    return {
        **fields,
        "usage": usage_shape(seen.usage),
        "compactions": _all_in_utc(seen.compactions),
        "turns": [_turn_shape(turn) for turn in seen.turns],
        "audit": _all_in_utc(seen.audit),
    }


def done_shape(done: Done, seen: Seen) -> dict[str, Any]:
    return {
        "outcome": done.outcome,
        "turns": done.turns,
        "held_until": moment(done.held_until),
        "session": seen_shape(seen),
    }


def found_shape(found: Sequence[Found], *, more: bool) -> dict[str, Any]:
    items = [{field: _plain(getattr(one, field)) for field in Found.__slots__} for one in found]
    return {"items": items, "more": more}


def _turn_shape(turn: dict[str, Any]) -> dict[str, Any]:
    queued_s, usage = turn["queued_s"], turn["usage"] or {}
    return {
        **_in_utc(turn),
        "usage": usage_shape(usage),
        "run": _run_shape(usage.get("run")),
        "queued_s": None if queued_s is None else round(max(0.0, queued_s), 3),
        "messages": [
            {**_in_utc(message), "usage": _tokens(message["usage"])} for message in turn["messages"]
        ],
        "calls": _all_in_utc(turn["calls"]),
        "approvals": _all_in_utc(turn["approvals"]),
    }


def _run_shape(run: object) -> dict[str, Any] | None:
    """An imported turn may have anything there; and there it ended, whatever this says."""
    if not isinstance(run, dict):
        return None
    timed = any(stage in run for stage in _STAGES)
    return {
        "stages_ms": {stage: run.get(stage) or 0.0 for stage in _STAGES} if timed else None,
        "epochs": run.get("epochs"),
        "history": run.get("history"),
    }


def _tokens(usage: dict[str, Any] | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    # As the model's API told it, and in an imported conversation as whoever imported it says: numbers, or nothing.
    counts = {kind: count for kind, count in usage.items() if isinstance(count, int)}
    return {kind: count for kind, count in usage_shape(counts).items() if kind != "cost_usd"}


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return moment(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _all_in_utc(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_in_utc(row) for row in rows]


def _in_utc(row: dict[str, Any]) -> dict[str, Any]:
    """A row that the database made JSON of."""
    times = {name: row[name] for name in _TIMES if row.get(name)}
    return {**row, **{name: moment(datetime.fromisoformat(at)) for name, at in times.items()}}
