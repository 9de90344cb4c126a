"""Diagnosis: everything in a stored conversation that the model's API would refuse, or that would keep it busy for ever.

Pure: it reads one record and names what ails it. The remedy for a message is always the same, to tell the model of it no
more: nothing is deleted, nothing is invented, and what is left can be sent.
"""

import json
from collections.abc import Iterator

from core.content import Blocks, Compaction, says_something
from core.conversation import PAUSES
from core.store.records import Record, Said
from core.values import dataclass

_FIELDS: dict[str, dict[str, type]] = {
    "text": {"text": str},
    "image": {"source": dict},
    "document": {"source": dict},
    "tool_use": {"id": str, "name": str, "input": dict},
    "tool_result": {"tool_use_id": str},
    "thinking": {"thinking": str, "signature": str},
    "redacted_thinking": {"data": str},
}
LEAVE_OUT = "the model is told of it no more"
UNCOMPACT = "the messages themselves are told again"


@dataclass(frozen=True, slots=True)
class Ailment:
    code: str
    detail: str
    remedy: str
    # The message that ails, if it is a message.
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    ailments: tuple[Ailment, ...]
    # The messages to be left out, so that the rest can be sent; and the compaction.
    leave_out: tuple[int, ...]
    uncompact: int | None = None

    @property
    def is_well(self) -> bool:
        return not self.ailments


def diagnose(record: Record) -> Diagnosis:
    """A message that is left out can leave another without its counterpart, so it is looked at until all is well. What
    stands for the beginning comes first: without it there are other messages to look at.
    """
    covered = 0
    if record.compaction is not None:
        covered = record.compaction.upto_seq
        if not _is_told(record.compaction):
            detail = f"what stands for the messages up to {covered} is not a text that the API takes"
            return Diagnosis((Ailment("bad_compaction", detail, UNCOMPACT), *_rows(record)), (), covered)
    found: list[Ailment] = []
    left: list[int] = []
    told = tuple(said for said in record.messages if not said.left_out and said.seq > covered)
    while (ailing := next(_ailing(record, told), None)) is not None:
        found.append(ailing)
        left.append(ailing.seq or 0)
        told = tuple(said for said in told if said.seq != ailing.seq)
    return Diagnosis((*found, *_rows(record)), tuple(left))


def first_ailment(record: Record) -> Ailment | None:
    """The first thing that ails it, in one reading of it: for whoever refuses it rather than to mend it."""
    covered = 0 if record.compaction is None else record.compaction.upto_seq
    if record.compaction is not None and not _is_told(record.compaction):
        return Ailment("bad_compaction", "what stands for its beginning is not a text", UNCOMPACT)
    told = tuple(said for said in record.messages if not said.left_out and said.seq > covered)
    return next(_ailing(record, told), None) or next(_rows(record), None)


def _ailing(record: Record, told: tuple[Said, ...]) -> Iterator[Ailment]:
    """Message by message, in their order; the first that is found is mended before the next is looked for."""
    ids: set[str] = set()
    for place, said in enumerate(told):
        blocks = _blocks(said.content)
        if blocks is None:
            yield _message("bad_content", said, "is not a list of blocks that the API knows")
            return
        if place == 0 and said.role != "user" and record.compaction is None:
            yield _message("begins_with_the_model", said, "is the model's, and the first of all")
        before = _blocks(told[place - 1].content) or [] if place else []
        after = told[place + 1] if place + 1 < len(told) else None
        yield from _results(said, blocks, told[place - 1] if place else None, before)
        yield from _calls(record, said, blocks, after, ids)
        yield from _pause(record, said, after)


def _results(said: Said, blocks: Blocks, former: Said | None, before: Blocks) -> Iterator[Ailment]:
    given = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    if not given:
        return
    asked = _asked(before) if former is not None and former.role == "assistant" else []
    if said.role != "user" or not set(given) <= set(asked):
        yield _message("orphan_result", said, "holds a result that the message before it did not ask for")
    elif len(set(given)) < len(given):
        yield _message("doubled_result", said, "answers one call twice")
    elif len(given) < len(blocks):
        yield _message("text_beside_results", said, "holds something beside the results")


def _calls(
    record: Record, said: Said, blocks: Blocks, after: Said | None, ids: set[str]
) -> Iterator[Ailment]:
    asked = _asked(blocks)
    if not asked:
        return
    if said.role != "assistant" or ids & set(asked) or len(set(asked)) < len(asked):
        yield _message("doubled_call", said, "holds a call whose ID came before")
    ids |= set(asked)
    if after is None and said.turn_id in record.open_turns:
        return  # It is being worked on.
    answered = _blocks(after.content) or [] if after is not None and after.role == "user" else []
    given = {block["tool_use_id"] for block in answered if block["type"] == "tool_result"}
    if not set(asked) <= given:
        yield _message("orphan_call", said, "asks for tools whose results do not follow")


def _pause(record: Record, said: Said, after: Said | None) -> Iterator[Ailment]:
    if said.stop_reason not in PAUSES or (after is not None and after.role == "assistant"):
        return
    if after is None and said.turn_id in record.open_turns:
        return
    yield _message("broken_pause", said, "stopped in the middle and was never gone on with")


def _rows(record: Record) -> Iterator[Ailment]:
    highest = max((said.seq for said in record.messages), default=0)
    if record.message_seq < highest:
        detail = f"the session counts {record.message_seq} messages and has {highest}"
        yield Ailment("low_message_number", detail, "the count is raised")
    if record.open_calls:
        detail = f"{record.open_calls} tool calls of turns that are over are still open"
        yield Ailment("open_calls", detail, "they are closed")
    if record.pending_approvals:
        detail = f"{record.pending_approvals} approvals of turns that are over are still pending"
        yield Ailment("open_approvals", detail, "they are withdrawn")
    if record.is_held and not record.open_turns:
        yield Ailment(
            "held_for_nothing", "a lease is held and no turn is open", "it ends when its time is over"
        )


def _message(code: str, said: Said, detail: str) -> Ailment:
    return Ailment(code, detail, LEAVE_OUT, said.seq)


def _asked(blocks: Blocks) -> list[str]:
    return [block["id"] for block in blocks if block["type"] == "tool_use"]


def _is_told(compaction: Compaction) -> bool:
    blocks = _blocks(compaction.content) or []
    return bool(blocks) and all(block["type"] == "text" and says_something(block) for block in blocks)


def _blocks(content: str) -> Blocks | None:
    """None: it is not what the API takes."""
    try:
        blocks = json.loads(content)
    except ValueError:
        return None
    if not isinstance(blocks, list) or not blocks:
        return None
    return blocks if all(map(_is_whole, blocks)) else None


def _is_whole(block: object) -> bool:
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        return False
    fields = _FIELDS.get(block["type"], {})
    return all(isinstance(block.get(field), kind) for field, kind in fields.items())
