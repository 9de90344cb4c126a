"""What must not happen, counted over what was recorded: the rows that are left, the marks of the tools, what the senders
were told, and what the model was asked.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from dev.demo_model import DemoModel
from tests.databases import run
from tests.prove.books import find_wrong


@dataclass(frozen=True, slots=True)
class Told:
    """What a sender heard of a message: its turn, or nothing."""

    device: UUID
    text: str
    turn_id: str | None
    status: str | None
    reply: str | None = None


@dataclass(slots=True)
class Findings:
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    interleaved: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)

    def all(self) -> list[str]:
        return [*self.lost, *self.doubled, *self.interleaved, *self.invalid]

    def __iadd__(self, other: "Findings") -> "Findings":
        self.lost += other.lost
        self.doubled += other.doubled
        self.interleaved += other.interleaved
        self.invalid += other.invalid
        return self


@dataclass(frozen=True, slots=True)
class _Said:
    session: str
    seq: int
    turn: str
    role: str
    content: list[dict[str, object]]

    @property
    def is_outcome(self) -> bool:
        return self.role == "user" and any(text.startswith("[What came of the call") for text in self.texts())

    def texts(self) -> list[str]:
        return [str(block["text"]) for block in self.content if block["type"] == "text"]


def check(url: str, model: DemoModel, told: Sequence[Told], *, may_fail: bool = False) -> Findings:
    """`may_fail`: the case ends turns on purpose, so an accepted message may also be found as one that was ended."""
    found = Findings()
    messages = [
        _Said(str(session), seq, str(turn), role, json.loads(content))
        for session, seq, turn, role, content in run(
            url, "SELECT session_id, seq, turn_id, role, content FROM messages ORDER BY session_id, seq"
        )
    ]
    turns = {
        str(id_): (status, joined and str(joined), error)
        for id_, status, joined, error in run(url, "SELECT id, status, joined_to, error FROM turns")
    }
    _find_lost(found, told, messages, turns, may_fail)
    _find_doubled(found, url, told, messages)
    _find_interleaved(found, url, messages)
    _find_invalid(found, model, messages)
    found.invalid += find_wrong(url)
    return found


def _find_lost(
    found: Findings,
    told: Iterable[Told],
    messages: list[_Said],
    turns: dict[str, tuple[str, str | None, object]],
    may_fail: bool,
) -> None:
    heard = Counter(text for message in messages if message.role == "user" for text in message.texts())
    for one in told:
        if one.turn_id is None:
            continue
        status, joined, error = turns.get(one.turn_id, (None, None, None))
        if joined is not None:
            status, _, error = turns[joined]
        if status is None:
            found.lost.append(f"{one.text!r}: its turn {one.turn_id} is not there")
        elif status not in ("completed", "failed", "cancelled"):
            found.lost.append(f"{one.text!r}: its turn {one.turn_id} is still {status}")
        elif status != "completed" and not may_fail:
            found.lost.append(f"{one.text!r}: its turn {one.turn_id} is {status}: {error}")
        elif status == "completed" and not heard[one.text]:
            found.lost.append(f"{one.text!r}: accepted as {one.turn_id}, and not among the messages")


def _find_doubled(found: Findings, url: str, told: Sequence[Told], messages: list[_Said]) -> None:
    heard = Counter(
        text
        for message in messages
        if message.role == "user" and not message.is_outcome
        for text in message.texts()
    )
    found.doubled += [f"{text!r} was stored {count} times" for text, count in heard.items() if count > 1]
    for key, count in run(
        url, "SELECT idempotency_key, count(*) FROM turns GROUP BY session_id, 1 HAVING count(*) > 1"
    ):
        if key is not None:
            found.doubled.append(f"the key {key} has {count} turns")
    for session, key, tool, count in run(
        url, "SELECT session_id, key, tool, count(*) FROM effects GROUP BY 1, 2, 3 HAVING count(*) > 1"
    ):
        if tool not in ("lookup_weather",):
            found.doubled.append(f"{tool} took effect {count} times in {session} under {key}")
    by_message: dict[tuple[UUID, str], set[str]] = {}
    for one in told:
        if one.turn_id is not None:
            by_message.setdefault((one.device, one.text), set()).add(one.turn_id)
    found.doubled += [
        f"{text!r} became the turns {ids}" for (_, text), ids in by_message.items() if len(ids) > 1
    ]
    replies: dict[str, set[str]] = {}
    for one in told:
        if one.turn_id is not None and one.status == "completed":
            replies.setdefault(one.turn_id, set()).add(one.reply or "")
    found.doubled += [
        f"{turn} was answered in {len(seen)} ways" for turn, seen in replies.items() if len(seen) > 1
    ]


def _find_interleaved(found: Findings, url: str, messages: list[_Said]) -> None:
    closed: set[tuple[str, str]] = set()
    last: _Said | None = None
    for message in messages:
        if last is not None and last.session == message.session:
            if message.seq != last.seq + 1:
                found.interleaved.append(f"{message.session}: {last.seq} is followed by {message.seq}")
            if message.is_outcome:
                # Of a call of an earlier turn, and under that turn.
                last = dataclasses.replace(last, seq=message.seq)
                continue
            if last.turn != message.turn:
                closed.add((last.session, last.turn))
        if (message.session, message.turn) in closed:
            found.interleaved.append(
                f"{message.session}: {message.seq} belongs to the earlier turn {message.turn}"
            )
        last = message
    order = run(
        url,
        "SELECT a.session_id, a.seq, b.seq FROM turns a JOIN turns b ON a.session_id = b.session_id AND a.seq < b.seq "
        "WHERE a.first_seq > b.first_seq",
    )
    found.interleaved += [f"{session}: turn {a} was begun after turn {b}" for session, a, b in order]
    many = run(
        url,
        "SELECT session_id, count(*) FROM turns WHERE ended_at IS NULL AND first_seq IS NOT NULL GROUP BY 1 "
        "HAVING count(*) > 1",
    )
    found.interleaved += [f"{session}: {count} turns are begun at once" for session, count in many]


def _find_invalid(found: Findings, model: DemoModel, messages: list[_Said]) -> None:
    found.invalid += [f"the model refused: {asked.refusal}" for asked in model.requests if asked.refusal]
    for message in messages:
        if not message.content:
            found.invalid.append(f"{message.session}: {message.seq} is empty")
