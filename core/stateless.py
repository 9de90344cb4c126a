"""The stateless answer: what a message is answered while the database is away, if the team that runs this chose so.

The manager answers that one message. It is told nothing that was said before, has no tools, and nothing is stored; the answer
says so of itself (`stateless`), lest anybody take it for a conversation that has forgotten.
"""

import logging
from dataclasses import replace
from datetime import UTC, datetime

from core.content import Blocks
from core.deadline import Deadline
from core.errors import ModelFailed, ModelRefused, ModelTimeout
from core.model.bill import Bill
from core.model.prompt import Prompt
from core.model.reply import Model
from core.shown import Turn
from core.store.claims import Arrival

_log = logging.getLogger(__name__)

_ALONE = (
    "\n\nThe record of this conversation cannot be reached right now. You see this one message and nothing that was said "
    "before, you have no tools, and nothing will be remembered. Say so first, briefly, and then help as far as you can."
)


def answer(model: Model, asked: Prompt, arrival: Arrival, deadline: Deadline) -> Turn:
    """`asked`: the message, as the manager is asked it."""
    begun = datetime.now(UTC)
    prompt = replace(asked, system=asked.system + _ALONE, tools=(), mcp_servers=())
    content: Blocks = []
    bill, error = Bill(asked.model), None
    try:
        reply = model.ask(prompt, deadline, bill).result(deadline.left_s())
        content = reply.content
        error = _error(ModelRefused()) if reply.stop_reason == "refusal" else None
    except TimeoutError:
        error = _error(ModelTimeout())
    except ModelFailed as failure:
        error = _error(failure)
    _log.warning("turn %s: answered without the database, and not stored", arrival.turn_id)
    return Turn(
        id=arrival.turn_id,
        session_id=None,
        seq=0,
        status="failed" if error else "completed",
        agent="manager",
        content=content,
        tool_calls=[],
        approvals=[],
        usage=bill.spent,
        error=error,
        created_at=begun,
        ended_at=datetime.now(UTC),
        stateless=True,
    )


def _error(failure: ModelFailed) -> dict[str, str]:
    return {"code": failure.code, "detail": failure.detail}
