"""What the model is told of what a person decided, or did not."""

from core.content import Block, dump

DENIED = "A person was asked and did not allow this call. It was not run."
EXPIRED = (
    "Nobody said yes in time, so this call was not run. No person has refused it: it may be asked for again if it is "
    "still wanted."
)


def refusal(tool_call_id: str, why: str, note: str | None = None) -> Block:
    """The result of a call that may not run."""
    said = f" They said: {note}" if note else ""
    return {
        "type": "tool_result",
        "tool_use_id": tool_call_id,
        "content": f"{why}{said}",
        "is_error": True,
    }


def outcome(tool: str, *, happened: bool, note: str | None) -> str:
    """The message that tells what came of a call, where nobody could know before; as it is stored."""
    came = "it did take effect" if happened else "it did not take effect"
    said = f" Whoever looked into it said: {note}" if note else ""
    text = f"[What came of the call {tool} of earlier is known now: {came}.{said}]"
    return dump([{"type": "text", "text": text}])
