"""Every figure, reckoned in plain Python from rows that were saved aside as they were; also of conversations that are gone."""

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.databases import run

ABOUT_LOCKS = ("lock_set", "lock_cleared", "lock_expired", "agent_missing")
_KINDS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write": "cache_creation_input_tokens",
}
# By name, hour and label.
Counts = Counter[tuple[str, datetime, str]]
Row = dict[str, Any]


def bound(ms: float) -> str:
    return str(math.ceil(2.0 ** (math.ceil(4 * math.log(max(ms, 1.0)) / math.log(2.0)) / 4)))


def hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


@dataclass
class Kept:
    """A conversation as it was seen last."""

    row: Row
    turns: list[Row] = field(default_factory=list)
    notes: list[Row] = field(default_factory=list)
    # Of each message that was copied, its number.
    copied: set[int] = field(default_factory=set)
    # As of when it went.
    gone_at: datetime | None = None


@dataclass
class Book:
    """Looks at the rows after each thing that is done, and remembers those that went."""

    url: str
    kept: dict[str, Kept] = field(default_factory=dict)
    events: Counts = field(default_factory=Counter)

    def look(self, at: datetime, how: str = "") -> None:
        """`how` and when those went that are there no more."""
        there = self._read()
        for id_, one in self.kept.items():
            if id_ not in there and one.gone_at is None:
                label = how if one.row["merged_into"] is None else "merged"
                self.events["sessions", hour(at), label] += 1
                self.events["cleanups", hour(at), "sessions"] += how == "expired"
                there[id_] = one
                one.gone_at = at
            elif id_ not in there:
                there[id_] = one
        self.kept = there

    def _read(self) -> dict[str, Kept]:
        found = {str(row["id"]): Kept(row) for row in self._rows("conversation_states", "id")}
        for row in self._rows("turns", "seq"):
            found[row["session_id"]].turns.append(row)
        for row in self._rows("audit_log", "id"):
            found[row["session_id"]].notes.append(row)
        for session, seq in run(
            self.url, "SELECT session_id::text, seq FROM messages WHERE origin_session IS NOT NULL"
        ):
            found[session].copied.add(seq)
        return found

    def _rows(self, table: str, order: str) -> list[Row]:
        rows = [row for (row,) in run(self.url, f"SELECT row_to_json(t) FROM {table} t ORDER BY {order}")]
        for row in rows:
            for name in ("created_at", "ended_at", "at", "until", "locked_at"):
                if row.get(name):
                    row[name] = datetime.fromisoformat(row[name])
        return rows

    # ---- what each figure must be

    def figures(self, now: datetime) -> Counts:
        counts: Counts = Counter(self.events)
        for one in self.kept.values():
            counts["sessions", hour(one.row["created_at"]), "begun"] += 1
            for turn in one.turns:
                if not self._is_copy(one, turn):
                    self._turn(counts, turn, gone=one.gone_at is not None)
            self._locks(counts, one, one.gone_at or now)
        return Counter({key: value for key, value in counts.items() if value})

    def _is_copy(self, one: Kept, turn: Row) -> bool:
        firsts = {other["id"]: other["first_seq"] for other in one.turns}
        first = turn["first_seq"] if turn["first_seq"] is not None else firsts.get(turn["joined_to"])
        return first in one.copied

    def _turn(self, counts: Counts, turn: Row, *, gone: bool) -> None:
        at, usage, agent = hour(turn["created_at"]), turn["usage"] or {}, turn["agent"] or ""
        is_open = turn["ended_at"] is None
        counts["turns", at, "abandoned" if is_open and gone else turn["status"]] += 1
        counts["recoveries", at, "crashes"] += turn["crashes"]
        if turn["status"] == "failed":
            counts["errors", at, turn["error"]["code"]] += 1
        for label, kind in _KINDS.items():
            counts["tokens", at, label] += usage.get(kind, 0)
        counts["cost", at, agent] += usage.get("cost_micros") or 0
        if usage.get("cost_micros") is None and sum(usage.get(kind, 0) for kind in _KINDS.values()):
            counts["unpriced", at, agent] += 1
        if "run" in usage:
            counts["history", at, usage["run"]["history"]] += 1
        if turn["status"] in ("completed", "failed"):
            took = (turn["ended_at"] - turn["created_at"]) / timedelta(milliseconds=1)
            counts["latency", at, bound(took)] += 1
            for stage in ("claim", "model", "tools", "finish"):
                if ms := usage.get("run", {}).get(stage):
                    counts[f"stage.{stage}", at, bound(ms)] += 1

    def _locks(self, counts: Counts, one: Kept, as_of: datetime) -> None:
        """Forwards, from line to line."""
        for note in one.notes:
            if note["action"] in ("lock_expired", "approval_expired"):
                label = "locks" if note["action"] == "lock_expired" else "approvals"
                counts["cleanups", hour(note["at"]), label] += 1
        lines = [note for note in one.notes if note["action"] in ABOUT_LOCKS]
        for note, follows in zip(lines, [*lines[1:], None], strict=False):
            if note["action"] != "lock_set":
                continue
            if follows is None and one.row["locked_at"] is None:
                continue
            how, end = self._fate(note, follows, as_of, gone=one.gone_at is not None)
            at, agent = hour(note["at"]), note["agent"]
            if how == "held":
                counts["locks.held", at, agent] += 1
                continue
            ms = max((end - note["at"]) / timedelta(milliseconds=1), 0)
            counts[f"locks.{how}", at, f"{agent}/{bound(ms)}"] += 1
            counts[f"held_ms.{how}", at, agent] += round(ms)

    def _fate(self, note: Row, follows: Row | None, as_of: datetime, *, gone: bool) -> tuple[str, datetime]:
        if follows is None:
            if note["until"] <= as_of:
                return "expired", note["until"]
            return ("ended" if gone else "held"), as_of
        end = min(note["until"], follows["at"])
        if follows["action"] == "lock_expired" or note["until"] <= follows["at"]:
            return "expired", end
        if follows["action"] != "lock_set":
            return "cleared", end
        return ("renewed" if follows["agent"] == note["agent"] else "handed_over"), end
