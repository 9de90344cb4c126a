"""The fields of each kind of line, and what may stand in them: nothing that a column, or whoever reads it, could stumble over."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from core.transfer.lines import EXACT, FORMAT, VERSION, NotALine

# None: it may stand there; else why not.
Check = Callable[[Any], str | None]

MOST: Final = 2**53
# All turns are summed up in the book of figures, and whoever imports says what they used: a million dollars each, in its millionths.
_MOST_OF_A_TURN: Final = 10**12
_LONGEST_S: Final = 31_536_000
_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,50}")
_WORD: Final = re.compile(r"[A-Za-z0-9_.:/-]+")
# Deeper than anybody nests, and not so deep that reading it again could fail.
_MOST_LEVELS: Final = 100
_CANNOT: Final = "holds what a field here cannot: a NUL, half a character, or more than 100 levels"
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


def whole(low: int = 0, high: int = MOST) -> Check:
    def check(given: Any) -> str | None:
        fits = isinstance(given, int) and not isinstance(given, bool) and low <= given <= high
        return None if fits else f"must be a whole number from {low} to {high}"

    return check


def text(longest: int | None = None, shortest: int = 0) -> Check:
    def check(given: Any) -> str | None:
        if not isinstance(given, str) or not shortest <= len(given) <= (longest or len(given)):
            return "must be a text" + (f" of {shortest} to {longest} characters" if longest else "")
        return None if _can_be_kept(given) else "holds what a text here cannot: a NUL, or half a character"

    return check


def word(longest: int) -> Check:
    """Of what operators see, who are not to read what anybody says: no sentence fits."""

    def check(given: Any) -> str | None:
        right = isinstance(given, str) and len(given) <= longest and _WORD.fullmatch(given)
        return None if right else f"must be a word of at most {longest} letters, digits and _ . : - /"

    return check


def one_of(*choices: str) -> Check:
    return lambda given: None if given in choices else f"must be one of: {', '.join(choices)}"


def flag(given: Any) -> str | None:
    return None if isinstance(given, bool) else "must be true or false"


def uuid(given: Any) -> str | None:
    return None if isinstance(given, str) and _UUID.fullmatch(given) else "must be a UUID"


def moment(given: Any) -> str | None:
    if isinstance(given, str) and _MOMENT.fullmatch(given):
        try:
            at = datetime.fromisoformat(given)
        except ValueError:
            pass
        else:
            # Times are reckoned with, and what comes of it must be one that can be read.
            return None if 1970 <= at.year < 3000 else "must be a time from 1970 to 2999"
    return "must be a time such as 2026-11-21T14:00:00.000000Z"


def fields(given: Any) -> str | None:
    if not isinstance(given, dict):
        return "must be an object"
    return None if _can_be_kept(given) else _CANNOT


def revised(given: Any) -> str | None:
    """What a revision left, as it is read again: its place among the others, and what was not put back."""
    problem = fields(given)
    if problem is not None:
        return problem
    left = given.get("left", [])
    right = (
        all(whole()(given[name]) is None for name in ("rewrites", "undone_rewrites") if name in given)
        and isinstance(left, list)
        and all(isinstance(one, str) for one in left)
    )
    return None if right else "must count `rewrites` and `undone_rewrites`, and list what is `left`"


def counts(high: int) -> Check:
    def check(given: Any) -> str | None:
        right = isinstance(given, dict) and all(
            whole(0, high)(value) is None and _can_be_kept(key) for key, value in given.items()
        )
        return None if right else f"must be an object of whole numbers up to {high}"

    return check


def error(given: Any) -> str | None:
    if isinstance(given, dict) and given.keys() == {"code", "detail"}:
        return word(64)(given["code"]) or text()(given["detail"])
    return "must be an object with `code` and `detail`"


def json_text(given: Any) -> str | None:
    return None if isinstance(given, list | str) else "must be a list of blocks"


def none_or(check: Check) -> Check:
    return lambda given: None if given is None else check(given)


def agent(given: Any) -> str | None:
    """It stands in the IDs of events."""
    right = isinstance(given, str) and _NAME.fullmatch(given)
    return None if right else "must be an agent's name"


def _can_be_kept(given: Any, levels: int = _MOST_LEVELS) -> bool:
    if isinstance(given, str):
        return "\0" not in given and not any("\ud800" <= character <= "\udfff" for character in given)
    if isinstance(given, list | dict) and not levels:
        return False
    if isinstance(given, list):
        return all(_can_be_kept(one, levels - 1) for one in given)
    if isinstance(given, dict):
        return all(_can_be_kept(key) and _can_be_kept(value, levels - 1) for key, value in given.items())
    return True


_AGENT: Final = none_or(agent)
_SEQ: Final = whole(1)
_WHO: Final = none_or(one_of("owner", "other"))
_ROLE: Final = one_of("owner", "editor", "viewer")

FIELDS: Final[Mapping[str, Mapping[str, Check]]] = {
    "session": {
        "format": one_of(FORMAT),
        "version": whole(VERSION, VERSION),
        "id": uuid,
        "active_agent": _AGENT,
        "locked_at": none_or(moment),
        "session_ttl": whole(1, _LONGEST_S),
        "message_seq": whole(),
        "turn_seq": whole(),
        "forked_from": none_or(uuid),
        "state": fields,
        "metadata": fields,
        "usage": counts(MOST),
        "created_at": moment,
    },
    "turn": {
        "id": uuid,
        "seq": _SEQ,
        "status": one_of("queued", "running", "waiting", "completed", "failed", "cancelled", "joined"),
        "agent": _AGENT,
        "first_seq": none_or(_SEQ),
        "last_seq": none_or(_SEQ),
        "joined_to": none_or(uuid),
        "input": none_or(json_text),
        "stop": none_or(one_of("cancel", "interrupt", "rollback")),
        "crashes": whole(0, 1_000_000),
        "sent_by": one_of("owner", "other"),
        "usage": none_or(counts(_MOST_OF_A_TURN)),
        "error": none_or(error),
        "created_at": moment,
        "ended_at": none_or(moment),
    },
    "message": {
        "seq": _SEQ,
        "turn_id": uuid,
        "role": one_of("user", "assistant"),
        "agent": _AGENT,
        "content": json_text,
        "prefix_digest": none_or(text(64)),
        "stop_reason": none_or(word(50)),
        "usage": none_or(fields),
        "left_out": flag,
        "origin_session": none_or(uuid),
        "origin_seq": none_or(_SEQ),
        "created_at": moment,
    },
    "tool_call": {
        "id": word(100),
        "turn_id": uuid,
        "message_seq": _SEQ,
        "name": word(128),
        "effect": one_of("read", "idempotent", "once"),
        "status": one_of("asked", "ready", "started", "done", "failed", "unknown", "denied", "dropped"),
        "input_digest": text(64),
        "approver": _ROLE,
        "result": none_or(text()),
        "created_at": moment,
        "ended_at": none_or(moment),
        "settled_at": none_or(moment),
    },
    "approval": {
        "id": uuid,
        "turn_id": uuid,
        "tool_call_id": word(100),
        "asks": one_of("call", "outcome"),
        "role": _ROLE,
        "input_digest": text(64),
        "status": one_of("pending", "approved", "denied", "expired", "withdrawn"),
        "note": none_or(text()),
        "decided_by": _WHO,
        "created_at": moment,
        "expires_at": moment,
        "decided_at": none_or(moment),
    },
    "todo": {
        "position": whole(1, 10_000),
        "content": text(),
        "status": one_of("pending", "in_progress", "completed"),
        "updated_at": moment,
    },
    "compaction": {
        "upto_seq": _SEQ,
        "content": json_text,
        "agent": agent,
        "usage": none_or(fields),
        "left_out": flag,
        "created_at": moment,
    },
    "revision": {
        "id": uuid,
        "change": one_of("rewind", "merge"),
        "source_id": none_or(uuid),
        "first_seq": whole(),
        "last_seq": whole(),
        "before": fields,
        "after": revised,
        "created_by": _WHO,
        "created_at": moment,
        "undo_until": moment,
        "undone_at": none_or(moment),
    },
    "audit": {
        "at": moment,
        "actor": word(100),
        "by": _WHO,
        "action": word(50),
        "agent": _AGENT,
        "until": none_or(moment),
        "reason": none_or(text()),
        "turn_id": none_or(uuid),
    },
    "application_session": {
        "namespace": text(50, 1),
        "body": text(),
        "idle_ttl": whole(1, _LONGEST_S),
        "is_owned": flag,
        "created_at": moment,
        "last_active_at": moment,
    },
}


def check(kind: str, given: Mapping[str, Any]) -> None:
    """Raises a NotALine where a field is missing, unknown or holds what it may not."""
    taken = FIELDS.get(kind)
    if taken is None:
        raise NotALine(f"is of a kind that is not known: {kind[:50]!r}")
    plain = {name: _plain(kind, name) for name in given}
    named = set(plain.values()) - {"kind"}
    if named != taken.keys() or len(named) != len(given) - 1:
        raise NotALine(f"must have the fields: {', '.join(taken)}")
    for name, value in given.items():
        if name != "kind":
            problem = taken[plain[name]](value)
            if problem:
                raise NotALine(f"{name} {problem}")


def _plain(kind: str, name: str) -> str:
    """What is kept as text may stand there as text."""
    given = name.removesuffix("_text")
    return given if given in EXACT and kind in ("turn", "message", "compaction") else name
