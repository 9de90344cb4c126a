"""What the demo model says when no reply is scripted. The first rule that fits answers:

1. The last message holds tool results: a plain sentence on what each tool returned, errors told as errors. Where the
   conversation has just been handed over, what the user said is first acted on by rule 2, with the tools of whoever it was
   handed to, but for handing over again: so it cannot go round in a circle.
2. Tools are offered and one fits what the user just said (see `tool_call`): a short text and the call.
   `tool_choice` is kept: "none" calls nothing, "tool" calls that tool, "any" the best fitting or else the first.
3. Otherwise a friendly answer that says what it is (the demo model, not Claude), shows that the conversation
   reached it (how many messages, what was said just now and first, the name that the user gave) and says how to
   get the real one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from . import tool_call
from .memory import Memory, given_name

Json = dict[str, Any]

REAL_ONE = "Set ANTHROPIC_API_KEY to talk to the real Claude."
_WHO = "I am the demo model, not Claude: I follow a few fixed rules."
_ASKS_NAME = re.compile(
    r"\b(what(['’]s| is|s)? my name|who am i|(know|remember|recall|say|tell me) my name)\b", re.IGNORECASE
)
_JOKE = "A query walks into a bar, goes up to two tables and asks: may I join you?"


@dataclass(frozen=True, slots=True)
class Speech:
    """What to say, before ids, signatures and limits."""

    thought: str
    content: list[Json]


def speak(body: Json) -> Speech:
    memory = Memory.of(body)
    handed_over = any(
        result["tool"] == tool_call.HAND_OVER and not result.get("is_error") for result in memory.results
    )
    if memory.results and not handed_over:
        return _tell(memory)
    if tool := tool_call.choose(body, memory.last, but=tool_call.HAND_OVER if handed_over else ""):
        call = {"type": "tool_use", "name": tool["name"], "input": tool_call.arguments(tool, memory)}
        thought = f"The user said {quote(memory.last, 60)}: the tool {tool['name']} fits."
        return Speech(thought, [_text(f"Let me use {tool['name']} for that."), call])
    if memory.results:
        return _tell(memory)
    if body["messages"][-1]["role"] == "assistant":
        return Speech("I was paused and go on.", [_text("I go on where I paused. " + _WHO)])
    thought = f"The user said {quote(memory.last, 60)}. My rules know an answer."
    return Speech(thought, [_text(chat(memory))])


def _tell(memory: Memory) -> Speech:
    return Speech("The tools have answered; I say what they returned.", [_text(tell_results(memory))])


def chat(memory: Memory) -> str:
    return " ".join(filter(None, [_answer(memory), _WHO, _proof(memory), REAL_ONE]))


def tell_results(memory: Memory) -> str:
    room = max(20, 240 // len(memory.results))
    told = [_tell_result(result, room) for result in memory.results[:4]]
    if len(memory.results) > 4:
        told.append(f"So did {len(memory.results) - 4} more.")
    return " ".join(told)


def quote(text: str, room: int) -> str:
    """The text on one line between quotation marks, shortened at a word where there is one."""
    line = " ".join(text.split())
    if len(line) > room:
        cut = line[: room - 1]
        line = (cut.rsplit(" ", 1)[0] if " " in cut[room // 2 :] else cut) + "…"
    return f'"{line}"'


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _answer(memory: Memory) -> str:
    last = memory.last
    if _ASKS_NAME.search(last):
        if memory.name:
            return f"Your name is {memory.name}: you told me in this conversation."
        return "You have not told me your name in this conversation yet."
    if name := given_name(last):
        return f"Nice to meet you, {name}."
    if re.search(r"\bjokes?\b", last, re.IGNORECASE):
        return _JOKE
    if re.search(r"\bthank(s| you)\b", last, re.IGNORECASE):
        return "You are welcome."
    if len(memory.texts) == 1 or re.match(
        r"\s*(hi|hello|hey|good (morning|day|evening))\b", last, re.IGNORECASE
    ):
        return f"Hello, {memory.name}!" if memory.name else "Hello!"
    return f"I hear you, {memory.name}." if memory.name else ""


def _proof(memory: Memory) -> str:
    count = len(memory.texts)
    if not count:
        return "You sent no text that I could quote."
    if count == 1:
        return f"This is your first message in this conversation: {quote(memory.last, 60)}."
    first = quote(memory.texts[0], 40)
    return (
        f"I have seen {count} messages of yours in this conversation: "
        f"just now {quote(memory.last, 60)}, and first of all {first}."
    )


def _tell_result(result: Json, room: int) -> str:
    content = _result_text(result.get("content", ""))
    verb = "reported an error" if result.get("is_error") else "returned"
    if not content.strip():
        return f"The tool {result['tool']} {verb} and gave no text."
    return f"The tool {result['tool']} {verb}: {quote(content, room)}."


def _result_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] if part["type"] == "text" else f"({part['type']})" for part in content)
