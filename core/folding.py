"""Folding: the agent itself sums up the oldest part of a conversation, and the summary takes its place.

Why and when is told in `core/compaction.py`; here it is asked for, read, and committed.

The request is the agent's own, shortened: the same tools, system prompt and messages up to the cut, and one more message that
asks for the summary. So it is read from the prompt cache as far as that still has it. It is for this that the tools stay
callable: to forbid them is another prefix to the cache. If the model calls one all the same, it is asked once more, without.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from core.agents.agent import Agent
from core.compaction import Window
from core.content import Block, Message, text_of
from core.conversation import PAUSES
from core.deadline import Deadline
from core.errors import ModelFailed, PromptTooLong
from core.holding import Holding
from core.model.prompt import Prompt
from core.model.reply import ModelReply
from core.stint import Stint
from core.values import dataclass

_log = logging.getLogger(__name__)

# What must be left of a function's time to begin, if another can do it instead: a summary is written more slowly than read.
ROOM_S: Final = 30.0
# Of the window, what a summary may take.
_SUMMARY: Final = 8
_LEAST_TOKENS: Final = 1_000
_MOST_TOKENS: Final = 8_000

_ASK: Final = (
    "Pause here: this is a note of the system, not of the person. What was said up to this point is about to be left out, "
    "and you will go on from what you write down now, without seeing the rest again. Write a summary in at most 1,000 words, "
    "in the language of the conversation, from which everything can be gone on with: who the person is and what they want; "
    "facts, names, numbers, dates and identifiers exactly as they were given; what was decided and done, with what outcome, "
    "what failed or is not certain; what was promised; what is open. Invent nothing and leave nothing open out. Answer with "
    "the summary alone, as plain words."
)
_STANDS = (
    "The beginning of this conversation is left out here. You wrote this summary of it, to go on from:\n\n"
    "<summary>\n{summary}\n</summary>"
)
_LOST = (
    "The beginning of this conversation is left out here: it had become too long, and no summary of it could be made. If "
    "something from it is needed, say so and ask for it."
)
_TODOS = "\n\nYour list of todos, as it stood when this was written:\n{todos}"
# More messages than any conversation has.
_NEVER: Final = 2**62
_MARKS = {"pending": "[ ]", "in_progress": "[>]", "completed": "[x]"}


@dataclass(frozen=True, slots=True)
class _Summary:
    text: str
    usage: dict[str, Any]


def is_due(holding: Holding, window: Window) -> bool:
    """A reply that paused goes on first: it is to be sent again as it is."""
    return (
        holding.hold.message_seq > holding.folded_at
        and (holding.window or window).is_over(holding.conversation)
        and holding.conversation.last.stop_reason not in PAUSES
    )


def make_room(holding: Holding, window: Window) -> bool:
    """The model says that the conversation is too long. True: it can be made half as long, and will be, once in this hold."""
    half = window.half_of(holding.conversation)
    if holding.window is not None or half.cut(holding.conversation, holding.grant.first_seq) is None:
        return False
    holding.window, holding.folded_at = half, 0
    return True


def limit(stint: Stint) -> Deadline:
    """Where nobody else can go on, there must be time left to answer without a summary."""
    return stint.until if stint.can_hand_over else Deadline.after(stint.until.left_s() / 2)


def fold(
    holding: Holding, agent: Agent, prompt: Prompt, window: Window, ask: Callable[[Prompt], ModelReply]
) -> None:
    """One piece of the conversation becomes a summary. If it cannot, the turn goes on without."""
    window = holding.window or window
    cut = window.cut(holding.conversation, holding.grant.first_seq)
    summary = None if cut is None else _summary(holding, _shortened(prompt, cut.place, window), ask)
    if cut is None or summary is None:
        holding.folded_at = _NEVER
        return
    if cut.is_last:
        holding.folded_at = holding.hold.message_seq
    text = _STANDS.format(summary=summary.text) if summary.text else _LOST
    if todos := holding.todos():
        lines = (f"- {_MARKS[status]} {content}" for content, status in todos)
        text += _TODOS.format(todos="\n".join(lines))
    holding.compact(cut.place, [_text(text)], agent.key, summary.usage)


def _shortened(prompt: Prompt, place: int, window: Window) -> Prompt:
    told = prompt.conversation.until(place)
    told.add(Message(told.last.seq + 1, "user", [_text(_ASK)]))
    most = min(_MOST_TOKENS, max(window.tokens // _SUMMARY, _LEAST_TOKENS))
    return replace(prompt, conversation=told, max_tokens=most)


def _summary(holding: Holding, prompt: Prompt, ask: Callable[[Prompt], ModelReply]) -> _Summary | None:
    """None: it goes on without. Where it cannot, because the model said that all of it is too long, what there is will do,
    unless the model could not be asked at all: then it may be at the next turn.
    """
    must = holding.window is not None
    summary, why = _Summary("", {}), ""
    for asked in (prompt, replace(prompt, may_call=False)):
        try:
            reply = ask(asked)
        except ModelFailed as failure:
            holding.tally.spend(failure.spent)
            must, why = must and isinstance(failure, PromptTooLong), failure.code
            break
        holding.tally.spend(reply.spent)
        text = "" if reply.stop_reason == "refusal" else text_of(reply.content).strip()
        summary, why = _Summary(text, reply.usage), reply.stop_reason
        if reply.stop_reason in ("end_turn", "stop_sequence") and summary.text:
            return summary
        if reply.stop_reason != "tool_use":
            break
    _log.warning("turn %s: no summary (%s)", holding.hold.turn_id, why)
    return summary if must else None


def _text(text: str) -> Block:
    return {"type": "text", "text": text}
