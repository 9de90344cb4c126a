"""Settling the tool calls of a model's message: run what may run, answer for what may not, and say it all in one message.

What can go wrong, and why it does not matter: a call is on record as started before it runs, so a function that finds a
started call of another holder knows that it may have run. `read` and `idempotent` calls are run again; a `once` call is
not, and the model is told that its outcome is unknown.
"""

import logging
import traceback
from collections.abc import Callable
from uuid import uuid4, uuid5

from core.agents.agent import Agent
from core.agents.builtin import RESERVED
from core.agents.tool import Effect, Tool, ToolContext, ToolFailed
from core.attendance import attend, on_a_thread
from core.content import Block, Blocks, Message, dump, load_sendable
from core.deadline import Deadline
from core.digest import digest
from core.holding import Holding
from core.inward import Desk, Inward
from core.model.reply import ModelReply
from core.stopwatch import TOOLS
from core.store.database import sqlstate
from core.store.holds import OpenCall
from core.store.steps import Asked
from core.told import DENIED, refusal
from core.tool_results import NotSendable, readable
from core.values import dataclass

_log = logging.getLogger(__name__)

_UNKNOWN = (
    "The outcome of this call is unknown: the function that ran it stopped in the middle. It may or may not have taken "
    "effect, and it was not and must not be run again. Say so to the person."
)
_LATE = "The call did not end within its {limit:g} seconds."
_CUT = "Your message was cut off before this call was complete, so it was not run."
_STOPPED = "The person stopped this turn. The call was not run, or its result did not come."
_NO_SUCH_TOOL = "There is no tool of this name here. The call was not run."
_GONE = "There is no tool of this name here any more. Whether the call took effect is not certain."
_FAILED = "The tool failed unexpectedly. Whether the call took effect is not certain."
_NOT_SENDABLE = (
    "The tool ran, and what it returned cannot be sent to you. Do not take it that it had no effect."
)


@dataclass(frozen=True, slots=True)
class Outcome:
    status: str
    block: Block


def asked_for(agent: Agent, reply: ModelReply) -> list[Asked]:
    """The calls of a reply that can be run. The others are answered with an error when they are settled."""
    if reply.stop_reason != "tool_use":
        return []
    found = [(block, agent.tool(block["name"])) for block in reply.content if block.get("type") == "tool_use"]
    return [
        Asked(
            id=block["id"],
            name=tool.name,
            effect=tool.effect,
            input_digest=digest(dump(block["input"])),
            approval_id=str(uuid4()) if tool.asks(block["input"]) else None,
            approver=tool.approver,
        )
        for block, tool in found
        if tool is not None
    ]


def longest_s(holding: Holding, agent: Agent) -> float:
    """What the calls still to be run may take."""
    tools = [agent.tool(call.name) for call in holding.calls.values() if call.status in ("ready", "started")]
    return max((tool.time_limit_s for tool in tools if tool is not None), default=0.0)


def settle(holding: Holding, agent: Agent, desk: Desk, until: Deadline) -> bool:
    """True: the results are committed. False: some calls wait for a person; what the others returned is kept."""
    message = holding.conversation.last
    settled = {block["id"]: _without_running(holding, agent, message, block) for block in message.tool_calls}
    inward = Inward(holding, agent, desk)
    for block in message.tool_calls:
        if settled[block["id"]] is None and block["name"] in RESERVED:
            settled[block["id"]] = _inwardly(inward, block)
    ready = [id_ for id_, call in holding.calls.items() if call.status == "ready"]
    if ready:
        holding.start(ready)
    waits = any(call.status == "asked" for call in holding.calls.values())
    runnable = [
        block
        for block in message.tool_calls
        if settled[block["id"]] is None and not _is_asked(holding, block)
    ]
    ran = _run(holding, agent, runnable, until, keep=waits)
    if waits:
        return False
    outcomes = {id_: outcome or ran[id_] for id_, outcome in settled.items()}
    holding.append_results(
        [o.block for o in outcomes.values()],
        {id_: o.status for id_, o in outcomes.items()},
        inward.consequences(),
    )
    return True


def drop(holding: Holding) -> None:
    """Answers every call that is still open, without running any: the turn ends here, and what was said stays whole."""
    outcomes = {
        block["id"]: _kept(holding.calls.get(block["id"])) or _left(holding, block)
        for block in holding.conversation.last.tool_calls
    }
    holding.append_results(
        [o.block for o in outcomes.values()], {id_: o.status for id_, o in outcomes.items()}
    )


def _inwardly(inward: Inward, block: Block) -> Outcome:
    try:
        return Outcome("done", _result(block, inward.settle(block)))
    except ToolFailed as failure:
        return _error("failed", block, str(failure))


def _without_running(holding: Holding, agent: Agent, message: Message, block: Block) -> Outcome | None:
    """The outcome of a call that is not to be run now; None for one that is, or that waits for a person."""
    call = holding.calls.get(block["id"])
    if call is None:
        why = _NO_SUCH_TOOL if message.stop_reason == "tool_use" else _CUT
        return _error("dropped", block, why)
    if (kept := _kept(call)) is not None:
        return kept
    if call.status == "denied":
        # Decided by a release that kept no reason.
        return Outcome("denied", refusal(call.id, DENIED))
    if call.status == "asked":
        return None
    if _may_have_run_once(holding, call):
        _log.warning("turn %s: the outcome of %s is unknown", holding.hold.turn_id, call.name)
        return _error("unknown", block, _UNKNOWN)
    if agent.tool(call.name) is not None:
        return None
    if _may_have_run(holding, call) and call.effect != Effect.READ:
        return _error("failed", block, _GONE)
    return _error("dropped", block, _NO_SUCH_TOOL)


def _may_have_run(holding: Holding, call: OpenCall) -> bool:
    return call.status == "started" and call.id not in holding.fresh


def _may_have_run_once(holding: Holding, call: OpenCall) -> bool:
    return call.effect == Effect.ONCE and _may_have_run(holding, call)


def _is_asked(holding: Holding, block: Block) -> bool:
    call = holding.calls.get(block["id"])
    return call is not None and call.status == "asked"


def _kept(call: OpenCall | None) -> Outcome | None:
    if call is None or call.result is None:
        return None
    return Outcome(call.status, load_sendable(call.result))


def _left(holding: Holding, block: Block) -> Outcome:
    call = holding.calls.get(block["id"])
    if call is not None and _may_have_run_once(holding, call):
        return _error("unknown", block, _UNKNOWN)
    return _error("dropped", block, _STOPPED)


def _run(
    holding: Holding, agent: Agent, blocks: Blocks, until: Deadline, *, keep: bool
) -> dict[str, Outcome]:
    """Runs them all at once. What a `once` call returned is kept as soon as it is here, if others still run."""
    if not blocks:
        return {}
    if not holding.lease.is_trusted:
        holding.beat()
    tools = {block["id"]: tool for block in blocks if (tool := agent.tool(block["name"])) is not None}
    deadline = Deadline.after(max(tool.time_limit_s for tool in tools.values())).earlier(until)
    running = {
        block["id"]: on_a_thread(_call(holding, tools[block["id"]], block, deadline), f"tool-{block['name']}")
        for block in blocks
    }
    outcomes: dict[str, Outcome] = {}
    with holding.watch.on(TOOLS, len(running)):
        for id_, done in attend(running, deadline, holding.beat, holding.lease.beat_s):
            outcomes[id_] = done.result()
            if keep or (len(outcomes) < len(running) and tools[id_].effect is Effect.ONCE):
                holding.keep(id_, outcomes[id_].status, outcomes[id_].block)
    for block in blocks:
        if block["id"] not in outcomes:
            outcomes[block["id"]] = _late(tools[block["id"]], block)
            if keep:
                holding.keep(block["id"], outcomes[block["id"]].status, outcomes[block["id"]].block)
    return outcomes


def _call(holding: Holding, tool: Tool, block: Block, deadline: Deadline) -> Callable[[], Outcome]:
    until = Deadline.after(tool.time_limit_s).earlier(deadline)
    context = ToolContext(
        session_id=holding.hold.session_id,
        turn_id=holding.hold.turn_id,
        idempotency_key=str(uuid5(holding.hold.session_id, block["id"])),
        user_id=holding.grant.user_id,
        deadline=until,
        connect=lambda: holding.connection(until),
        storage=holding.storage,
    )

    def run() -> Outcome:
        try:
            text = readable(tool.run(context, block["input"]), tool.most_characters)
        except ToolFailed as failure:
            return _error("failed", block, readable(str(failure), tool.most_characters))
        except NotSendable as failure:
            _log.error("turn %s: the tool %s %s", context.turn_id, tool.name, failure)
            return _error("failed", block, _NOT_SENDABLE)
        except (Exception, SystemExit) as error:
            _tell(context, tool, error)
            if not until.left_s():
                # What it waited for ended with its time, a moment before we stopped waiting for it.
                return _late(tool, block)
            return _error("failed", block, _FAILED)
        return Outcome("done", _result(block, text))

    return run


def _tell(context: ToolContext, tool: Tool, error: BaseException) -> None:
    """To whoever runs the service. What Postgres says of a statement quotes what was sent, so of that only its code."""
    state = sqlstate(error)
    if state is None:
        _log.error("turn %s: the tool %s failed", context.turn_id, tool.name, exc_info=error)
        return
    where = "".join(traceback.format_tb(error.__traceback__))
    kind = type(error).__name__
    _log.error(
        "turn %s: the tool %s failed: %s, SQLSTATE %s\n%s", context.turn_id, tool.name, kind, state, where
    )


def _late(tool: Tool, block: Block) -> Outcome:
    late = _LATE.format(limit=tool.time_limit_s)
    if tool.effect is Effect.ONCE:
        return _error("unknown", block, f"{late} {_UNKNOWN}")
    return _error("failed", block, late)


def _result(block: Block, text: str) -> Block:
    return {"type": "tool_result", "tool_use_id": block["id"], "content": text}


def _error(status: str, block: Block, text: str) -> Outcome:
    return Outcome(status, {**_result(block, text), "is_error": True})
