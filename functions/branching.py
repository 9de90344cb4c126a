"""Forks, rewinds and merges as they come in, and what is answered. Bad input ends here, before anything is written."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from fastapi import Request

from core.branching import Conflict, Keep, Of
from core.content import dump
from core.digest import digest
from core.editing import checked
from core.errors import FieldProblem, InvalidRequest
from core.house import House
from core.ids import SessionId
from core.joining import Preview
from core.store.revisions import Revision
from core.values import dataclass
from functions.answers import moment
from functions.incoming import is_uuid, read_fields

_HIGHEST = 2**62
_KEPT = {
    "lock": ("target", "source"),
    "todos": ("target", "source", "both"),
    "metadata": ("target", "source"),
}


@dataclass(frozen=True, slots=True)
class WantedFork:
    at: int | None
    metadata: dict[str, Any] | None
    # Of what is asked for: the same key may not come with another.
    asked: str


@dataclass(frozen=True, slots=True)
class WantedMerge:
    source_id: SessionId
    is_preview: bool
    keep: Keep


async def read_fork(request: Request, house: House) -> WantedFork:
    body = await read_fields(request, house, {"at", "metadata"}, None)
    at, metadata = body.get("at"), body.get("metadata")
    _refuse(_seq("at", at, 1, optional=True))
    if metadata is not None:
        metadata = checked(metadata)
    return WantedFork(at, metadata, f"[{digest(dump([at, metadata]))[:16]}]")


async def read_rewind(request: Request, house: House) -> int:
    body = await read_fields(request, house, {"to"}, "to")
    _refuse(_seq("to", body["to"], 0))
    to: int = body["to"]
    return to


async def read_merge(request: Request, house: House) -> WantedMerge:
    body = await read_fields(request, house, {"from", "preview", "keep"}, "from")
    source, preview, keep = body["from"], body.get("preview", False), body.get("keep", {})
    problems = [] if is_uuid(source) else [FieldProblem("from", "must be the ID of a conversation")]
    if not isinstance(preview, bool):
        problems.append(FieldProblem("preview", "must be true or false"))
    _refuse([*problems, *_keep(keep)])
    return WantedMerge(SessionId(UUID(source)), preview, Keep(**{kind: Of(of) for kind, of in keep.items()}))


def _refuse(problems: Iterable[FieldProblem]) -> None:
    if found := tuple(problems):
        raise InvalidRequest(errors=found)


def _seq(field: str, given: object, least: int, *, optional: bool = False) -> Iterable[FieldProblem]:
    if given is None and optional:
        return
    if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= _HIGHEST:
        yield FieldProblem(field, f"must be the number of a message: a whole number from {least}")


def _keep(given: object) -> Iterable[FieldProblem]:
    if not isinstance(given, dict) or not given.keys() <= _KEPT.keys():
        yield FieldProblem("keep", f"must be an object with some of: {', '.join(_KEPT)}")
        return
    for kind, of in given.items():
        if of not in _KEPT[kind]:
            yield FieldProblem(f"keep.{kind}"[:64], f"must be one of: {', '.join(_KEPT[kind])}")


# ---- what is answered


def revision_shape(revision: Revision) -> dict[str, Any]:
    return {
        "id": str(revision.id),
        "kind": revision.kind,
        "source_id": None if revision.source_id is None else str(revision.source_id),
        "first_seq": revision.first_seq,
        "last_seq": revision.last_seq,
        "created_at": moment(revision.created_at),
        "created_by": None if revision.created_by is None else str(revision.created_by),
        "undo_until": moment(revision.undo_until),
        "undone_at": moment(revision.undone_at),
        "left": revision.left,
    }


def preview_shape(preview: Preview) -> dict[str, Any]:
    return {
        "from": str(preview.source.id),
        "into": str(preview.target.id),
        "messages": preview.load.messages,
        "turns": preview.load.turns,
        "conflicts": [_conflict_shape(conflict) for conflict in preview.plan.conflicts],
        "etag": preview.etag,
    }


def _conflict_shape(conflict: Conflict) -> dict[str, Any]:
    return {
        "kind": conflict.kind,
        "field": conflict.field,
        "target": conflict.target,
        "source": conflict.source,
        "kept": str(conflict.kept),
    }
