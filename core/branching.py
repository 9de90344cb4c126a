"""Branching: what is decided of forks, rewinds and merges, without asking anybody. Two conversations become one: what they both have
and have otherwise is a conflict, which is shown, and decided as the owner says.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from core.agents.builtin import SET_TODOS, read_todos
from core.agents.tool import ToolFailed
from core.content import Block, dump
from core.errors import FieldProblem, InvalidRequest
from core.model.bill import added, counted
from core.store.cuts import Cuts
from core.store.merges import Load, Side
from core.values import dataclass

# The longest ID that a call may have, and as much of one as is left of it when it gets another.
_KEPT_OF_ID = 80
# What a list of todos may grow to.
_MOST_TODOS = 200

Todos = list[dict[str, str]]
Lock = dict[str, Any]


class Of(StrEnum):
    """Whose is kept where both have something."""

    TARGET = "target"
    SOURCE = "source"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Keep:
    """What the owner says of conflicts. Only of todos both can be kept."""

    lock: Of = Of.TARGET
    todos: Of = Of.BOTH
    metadata: Of = Of.TARGET


@dataclass(frozen=True, slots=True)
class Conflict:
    """Both have it, and not the same."""

    kind: str
    target: Any
    source: Any
    kept: Of
    # Of metadata: which.
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What the target has after a merge."""

    conflicts: tuple[Conflict, ...]
    lock: Lock | None
    todos: Todos
    metadata: dict[str, Any]
    usage: dict[str, Any]


# ---- where a conversation is cut


def must_be_cut(cuts: Cuts, seq: int, field: str) -> None:
    """Only whole turns are copied or taken back."""
    if cuts.before == seq:
        return
    near = [str(place) for place in (cuts.before, cuts.after) if place is not None]
    hint = f"the nearest are {' and '.join(near)}" if near else "no turn has ended yet"
    raise InvalidRequest(
        errors=(
            FieldProblem(field, f"must be the number of the last message of a turn that has ended; {hint}"),
        )
    )


def todos_of(said: tuple[str, frozenset[str]] | None) -> Todos:
    """The list as a message set it."""
    if said is None:
        return []
    content, done = said
    todos: Todos = []
    for block in json.loads(content):
        if block.get("type") == "tool_use" and block.get("name") == SET_TODOS and block.get("id") in done:
            try:
                todos = read_todos(block["input"])
            except ToolFailed:  # it was declared otherwise then
                continue
    return todos


# ---- two become one


def plan(target: Side, source: Side, keep: Keep) -> Plan:
    conflicts = (*_lock_conflict(target, source, keep), *_todo_conflict(target, source, keep))
    ours, theirs = target.metadata, source.metadata
    differing = sorted(key for key in ours.keys() & theirs.keys() if not _same(ours[key], theirs[key]))
    conflicts += tuple(
        Conflict("metadata", ours[key], theirs[key], keep.metadata, field=key) for key in differing
    )
    metadata = {**theirs, **ours} if keep.metadata is Of.TARGET else {**ours, **theirs}
    return Plan(
        conflicts,
        _one_of(target.lock, source.lock, keep.lock),
        _joined(target.todos, source.todos, keep.todos),
        metadata,
        dict(added(target.usage, source.usage)),
    )


def _lock_conflict(target: Side, source: Side, keep: Keep) -> Iterable[Conflict]:
    if target.lock and source.lock and target.lock["agent"] != source.lock["agent"]:
        yield Conflict("lock", target.lock["agent"], source.lock["agent"], keep.lock)


def _todo_conflict(target: Side, source: Side, keep: Keep) -> Iterable[Conflict]:
    if target.todos and source.todos and target.todos != source.todos:
        yield Conflict("todos", target.todos, source.todos, keep.todos)


def _one_of(target: Lock | None, source: Lock | None, keep: Of) -> Lock | None:
    """Where only one has it, it stays."""
    first, other = (target, source) if keep is Of.TARGET else (source, target)
    return first or other


def _joined(target: Todos, source: Todos, keep: Of) -> Todos:
    if not target or not source:
        return target or source
    if keep is not Of.BOTH:
        return target if keep is Of.TARGET else source
    known = {todo["content"] for todo in target}
    return [*target, *(todo for todo in source if todo["content"] not in known)][:_MOST_TODOS]


def renamed(load: Load, revision_id: UUID) -> tuple[dict[str, str], dict[int, str]]:
    """New IDs for the calls whose ID the target has as well, and the messages with them."""
    renames = {id_: f"{id_[:_KEPT_OF_ID]}_{revision_id.hex[:16]}" for id_ in sorted(load.doubled)}
    messages = {}
    for seq, content in load.naming.items():
        blocks = json.loads(content)
        new = [_renamed(block, renames) for block in blocks]
        if new != blocks:
            messages[seq] = dump(new)
    return renames, messages


def _renamed(block: Block, renames: Mapping[str, str]) -> Block:
    field = {"tool_use": "id", "tool_result": "tool_use_id"}.get(block.get("type", ""))
    if field is None or block.get(field) not in renames:
        return block
    return {**block, field: renames[block[field]]}


# ---- and two again


@dataclass(frozen=True, slots=True)
class Undoing:
    """What the target has after a merge was taken back, and what others have changed since, which stays as it is."""

    lock: Lock | None
    todos: Todos
    metadata: dict[str, Any]
    usage: dict[str, Any]
    left: tuple[str, ...]


def undoing(target: Side, before: Mapping[str, Any], after: Mapping[str, Any]) -> Undoing:
    left = []
    lock = target.lock
    if not _same_lock(before["lock"], after["lock"]):
        if _same_lock(lock, after["lock"]):
            lock = before["lock"]
        else:
            left.append("lock")
    todos = target.todos
    if before["todos"] != after["todos"]:
        if todos == after["todos"]:
            todos = before["todos"]
        else:
            left.append("todos")
    metadata = _without(target.metadata, before["metadata"], after["metadata"], left)
    return Undoing(lock, todos, metadata, _less(target.usage, before["usage"]), tuple(left))


def _without(
    now: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any], left: list[str]
) -> dict[str, Any]:
    metadata = dict(now)
    for key in sorted(before.keys() | after.keys()):
        was, made, stands = (_held(some, key) for some in (before, after, now))
        if was == made or stands == was:
            continue
        if stands != made:
            left.append(f"metadata.{key}")
        elif key in before:
            metadata[key] = before[key]
        else:
            del metadata[key]
    return metadata


def _held(some: Mapping[str, Any], key: str) -> str | None:
    """As text, for 1, 1.0 and true are three things in JSON."""
    return dump(some[key]) if key in some else None


def _same(one: object, other: object) -> bool:
    return dump(one) == dump(other)


def _same_lock(one: Lock | None, other: Lock | None) -> bool:
    """The database may tell one time in several zones."""
    if one is None or other is None:
        return one is other
    return one["agent"] == other["agent"] and _moment(one) == _moment(other)


def _moment(lock: Lock) -> datetime:
    return datetime.fromisoformat(lock["locked_at"])


def _less(usage: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of a bill without a part of it. What is not known of the whole is not known of what is left."""
    whole, gone = counted(usage), counted(part)
    return {kind: max(0, whole[kind] - gone.get(kind, 0)) for kind in whole}
