"""What a person decided, as it comes in. Bad input ends here, before anything is written."""

from typing import Any

from fastapi import Request

from core.errors import FieldProblem, InvalidRequest
from core.house import House
from core.values import dataclass
from functions.incoming import read_fields

# What is said, of which kind of approval, and whether it is a yes.
_WORDS = {
    "approve": ("call", True),
    "deny": ("call", False),
    "happened": ("outcome", True),
    "did_not_happen": ("outcome", False),
}
_FIELDS = {"decision", "input_digest", "note"}
_LONGEST_NOTE = 500


@dataclass(frozen=True, slots=True)
class Decided:
    yes: bool
    kind: str
    shown: str | None
    note: str | None


async def read_decision(request: Request, house: House) -> Decided:
    body = await read_fields(request, house, _FIELDS, "decision")
    if problems := [FieldProblem(*problem) for problem in _problems(body)]:
        raise InvalidRequest(errors=tuple(problems))
    kind, yes = _WORDS[body["decision"]]
    note = (body.get("note") or "").strip() or None
    return Decided(yes, kind, body.get("input_digest"), note)


def _problems(body: dict[str, Any]) -> list[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    decision, shown, note = (body.get(field) for field in ("decision", "input_digest", "note"))
    if not isinstance(decision, str) or decision not in _WORDS:
        problems.append(("decision", f"must be one of: {', '.join(_WORDS)}"))
    if shown is not None and not isinstance(shown, str):
        problems.append(("input_digest", "must be a text"))
    if decision == "approve" and shown is None:
        problems.append(("input_digest", "is missing: an approval is of the arguments that were shown"))
    if note is not None and not _is_note(note):
        problems.append(("note", f"must be a text of at most {_LONGEST_NOTE} characters, without NUL"))
    if note is not None and decision == "approve":
        problems.append(("note", "goes with a refusal or an outcome; a call that may run is told nothing"))
    return problems


def _is_note(note: object) -> bool:
    """As it can be stored and sent: without lone surrogates too."""
    if not isinstance(note, str) or len(note) > _LONGEST_NOTE or "\0" in note:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in note)
