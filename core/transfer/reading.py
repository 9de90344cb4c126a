"""Reading: a file as a conversation that may be stored, or why not. Nothing is stored here.

What can go wrong, and why it cannot: whoever sends the file wrote it, as far as anybody knows. So each line is held to its fields, each
message to what may be said, and all of it together to what is demanded of a stored conversation; the doctor must find nothing.

What was going on when it was exported is over: open turns were cancelled, questions withdrawn, calls dropped; and what the model
had asked for, and never got, it is told of no more.
"""

from collections.abc import Callable, Iterable
from dataclasses import field
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

from core.content import Compaction
from core.conversation import PAUSES
from core.doctor.diagnosis import first_ailment
from core.errors import FieldProblem, ImportRefused
from core.ids import SessionId, TurnId
from core.store.exports import IMPORTED
from core.store.records import Record, Said
from core.transfer import contents, fields, lines
from core.transfer.lines import KINDS, Chain, NotALine
from core.values import dataclass

Fields = dict[str, Any]

_OPEN: Final = ("queued", "running", "waiting")
_OPEN_CALLS: Final = ("asked", "ready", "started")
_MOST_APPLICATION_SESSIONS: Final = 100
_MOST_METADATA: Final = 65_536


@dataclass(slots=True)
class Draft:
    """What a file says: each kind's rows, with the number of each one's line as `line`."""

    session: Fields = field(default_factory=dict)
    rows: dict[str, list[Fields]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    digest: str = ""


def read(file: Iterable[bytes], max_message_bytes: int) -> Draft:
    """`file`: its lines, without what ends them."""
    draft = _parsed(file, max_message_bytes)
    _check_order(draft)
    _check_references(draft)
    _end(draft)
    _check_health(draft)
    return draft


def _parsed(file: Iterable[bytes], max_message_bytes: int) -> Draft:
    draft, chain, number = Draft(), Chain(), 0
    for number, line in enumerate(file, 1):
        if draft.digest:
            raise _refused(number, "stands behind the end")
        try:
            given = lines.read(line)
            if given["kind"] == "end":
                draft.digest = _ended(line.decode(), chain)
                continue
            chain = chain.after(line.decode())
            _take(draft, given, number, max_message_bytes)
        except NotALine as problem:
            raise _refused(number, str(problem)) from None
        except RecursionError:
            raise _refused(number, "is nested too deeply") from None
    if not draft.digest:
        raise _refused(number + 1, "is missing: the file was cut, as its last line is not its end")
    if not draft.session:
        raise _refused(1, "must be the session's own")
    return draft


def _ended(line: str, chain: Chain) -> str:
    if line != lines.end_line(chain):
        raise NotALine("is not the end of the lines before it: they were cut or changed")
    return chain.digest


def _take(draft: Draft, given: Fields, number: int, max_message_bytes: int) -> None:
    kind = given["kind"]
    if (kind == "session") != (number == 1):
        raise NotALine("must be the session's own" if number == 1 else "is a second session")
    fields.check(kind, given)
    row = {**given, "line": number}
    for name in lines.EXACT:
        if kind in ("message", "turn", "compaction") and (name in given or f"{name}_text" in given):
            row[name] = lines.exact(name, given)
    if kind == "session":
        if max(len(str(row["metadata"])), len(str(row["state"]))) > _MOST_METADATA:
            raise NotALine("has more metadata than a conversation may have")
        draft.session = row
        return
    if kind == "message":
        contents.blocks(row["content"], row["role"], max_message_bytes)
    elif kind == "compaction":
        contents.summary(row["content"])
    elif kind == "audit" and row["action"] == IMPORTED:
        raise NotALine("says that it was imported, which is for whoever imports it to say")
    draft.rows[kind].append(row)


def _check_order(draft: Draft) -> None:
    rows = [row for kind in KINDS for row in draft.rows[kind]]
    for before, after in pairwise(rows):
        if before["line"] > after["line"]:
            raise _refused(after["line"], f"stands behind lines of a later kind: {', '.join(KINDS)}")
    for kind, name in (
        ("turn", "seq"),
        ("message", "seq"),
        ("todo", "position"),
        ("compaction", "upto_seq"),
        ("application_session", "namespace"),
    ):
        for before, after in pairwise(draft.rows[kind]):
            if before[name] >= after[name]:
                raise _refused(after["line"], f"has a {name} that is not larger than the one before")
    if len(draft.rows["application_session"]) > _MOST_APPLICATION_SESSIONS:
        raise _refused(draft.rows["application_session"][-1]["line"], "is one too many")
    for row in draft.rows["message"]:
        _must(row, row["seq"] <= draft.session["message_seq"], "has a seq beyond the session's message_seq")
    for row in draft.rows["turn"]:
        _must(row, row["seq"] <= draft.session["turn_seq"], "has a seq beyond the session's turn_seq")
    for row in draft.rows["compaction"]:
        _must(row, row["upto_seq"] <= draft.session["message_seq"], "stands for messages that are not there")
    _must(
        draft.session,
        (draft.session["active_agent"] is None) == (draft.session["locked_at"] is None),
        "has half of a lock",
    )


def _check_references(draft: Draft) -> None:
    turns = _unique(draft.rows["turn"], lambda row: row["id"])
    messages = {row["seq"] for row in draft.rows["message"]}
    calls = _unique(draft.rows["tool_call"], lambda row: (row["turn_id"], row["id"]))
    _unique(draft.rows["approval"], lambda row: row["id"])
    _unique(draft.rows["revision"], lambda row: row["id"])
    merged = [row for row in draft.rows["revision"] if row["source_id"] and row["undone_at"] is None]
    _unique(merged, lambda row: row["source_id"])
    for row in draft.rows["turn"]:
        _must(row, row["joined_to"] is None or row["joined_to"] in turns, "joined a turn that is not there")
        _must(row, (row["status"] in _OPEN) == (row["ended_at"] is None), "is over, or not: it says both")
    for row in draft.rows["message"]:
        _must(row, row["turn_id"] in turns, "is of a turn that is not there")
    for row in draft.rows["tool_call"]:
        _must(row, row["turn_id"] in turns and row["message_seq"] in messages, "is of nothing that is there")
    for row in draft.rows["approval"]:
        _must(row, (row["turn_id"], row["tool_call_id"]) in calls, "is of a call that is not there")
    for row in draft.rows["audit"]:
        _must(row, row["turn_id"] is None or row["turn_id"] in turns, "is of a turn that is not there")


def _unique(rows: list[Fields], key: Callable[[Fields], object]) -> set[object]:
    seen: set[object] = set()
    for row in rows:
        _must(row, key(row) not in seen, "has an ID that came before")
        seen.add(key(row))
    return seen


def _end(draft: Draft) -> None:
    """What was open is marked as over; whoever stores it says when."""
    open_ = {row["id"] for row in draft.rows["turn"] if row["status"] in _OPEN}
    for row in draft.rows["turn"]:
        if row["id"] in open_:
            row |= {"status": "cancelled", "input": None}
    for row in draft.rows["tool_call"]:
        if row["status"] in _OPEN_CALLS:
            is_unknown = row["status"] == "started" and row["effect"] == "once"
            row |= {"status": "unknown" if is_unknown else "dropped", "result": None}
    for row in draft.rows["approval"]:
        if row["status"] == "pending":
            row["status"] = "withdrawn" if row["asks"] == "call" else "expired"
    told = [row for row in draft.rows["message"] if not row["left_out"]]
    while told and told[-1]["turn_id"] in open_ and _wants_more(told[-1]):
        told.pop()["left_out"] = True


def _wants_more(message: Fields) -> bool:
    asks = any(
        block["type"] == "tool_use"
        for block in contents.blocks(message["content"], message["role"], len(message["content"]))
    )
    return message["role"] == "assistant" and (asks or message["stop_reason"] in PAUSES)


def _check_health(draft: Draft) -> None:
    overlay = next((row for row in reversed(draft.rows["compaction"]) if not row["left_out"]), None)
    record = Record(
        session_id=SessionId(UUID(draft.session["id"])),
        version=0,
        is_held=False,
        message_seq=draft.session["message_seq"],
        messages=tuple(_said(row) for row in draft.rows["message"]),
        compaction=None if overlay is None else Compaction(overlay["upto_seq"], overlay["content"]),
        open_turns=frozenset(),
        open_calls=0,
        pending_approvals=0,
    )
    ailment = first_ailment(record)
    if ailment is not None:
        line = next((row["line"] for row in draft.rows["message"] if row["seq"] == ailment.seq), 1)
        raise _refused(line, f"{ailment.detail}, so the model could not be told of it")


def _said(row: Fields) -> Said:
    return Said(
        row["seq"],
        TurnId(UUID(row["turn_id"])),
        row["role"],
        row["content"],
        row["stop_reason"],
        row["left_out"],
    )


def _must(row: Fields, right: bool, problem: str) -> None:
    if not right:
        raise _refused(row["line"], problem)


def _refused(line: int, problem: str) -> ImportRefused:
    return ImportRefused(errors=(FieldProblem(f"line {line}", problem),))
