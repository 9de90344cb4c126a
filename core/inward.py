"""Inward calls: those that change the conversation itself, who holds it or what is to be done in it.

Nothing is changed while they are settled. What they come to is committed in one statement with the results of all calls of
the message, under the epoch: so the lock moves with the message that moved it, or not at all.
"""

from core.agents.agent import Agent
from core.agents.builtin import HAND_OVER, HandOver, read_hand_over, read_todos
from core.agents.roster import Roster
from core.agents.tool import ToolFailed
from core.content import Block
from core.holding import Holding
from core.store.locks import LockTtl, Relock
from core.store.steps import Consequences
from core.values import dataclass

_HANDED_OVER = "{agent} goes on with this conversation from here. Handed over by {by}: {reason}"
_NOT_AGAIN = "The conversation was handed over to {agent} already."
_TOO_OFTEN = (
    "This conversation was handed over too often for one message, so it stays with you. Answer the person yourself, "
    "as well as you can."
)
_NOTED = "The list is kept: {count} to do, {done} done."


def fall_back(holding: Holding, roster: Roster) -> None:
    """A deploy may have taken away the agent that holds the conversation: the manager answers then."""
    gone = holding.active_agent
    if gone is not None and gone not in roster.agents:
        reason = f"This release has no agent {gone}; the manager answers."
        holding.relock(Relock(None, LockTtl(None, None, 1), "system", "agent_missing", reason, of=gone))


@dataclass(frozen=True, slots=True)
class Desk:
    """What the house says about handing over."""

    roster: Roster
    lock_ttl_s: int
    # How often one message may be handed over.
    most_handovers: int


class Inward:
    """The calls that change the conversation itself. Nothing is changed before their results are committed."""

    def __init__(self, holding: Holding, agent: Agent, desk: Desk) -> None:
        self._holding = holding
        self._agent = agent
        self._desk = desk
        self._handed: HandOver | None = None
        self._todos: list[dict[str, str]] | None = None

    def settle(self, block: Block) -> str:
        """What the call comes to; it raises ToolFailed if that is nothing."""
        return self._hand_over(block) if block["name"] == HAND_OVER else self._set_todos(block)

    def consequences(self) -> Consequences:
        return Consequences(None if self._handed is None else self._relock(self._handed), self._todos)

    def _hand_over(self, block: Block) -> str:
        wished = read_hand_over(self._agent, block["input"])
        if self._handed is not None:
            raise ToolFailed(_NOT_AGAIN.format(agent=self._handed.to))
        before = self._holding.conversation.calls_of(HAND_OVER, self._holding.grant.first_seq)
        if before > self._desk.most_handovers:
            raise ToolFailed(_TOO_OFTEN)
        self._handed = wished
        return _HANDED_OVER.format(agent=wished.to, by=self._agent.key, reason=wished.reason)

    def _set_todos(self, block: Block) -> str:
        self._todos = read_todos(block["input"])
        done = sum(todo["status"] == "completed" for todo in self._todos)
        return _NOTED.format(count=len(self._todos) - done, done=done)

    def _relock(self, handed: HandOver) -> Relock:
        """The manager holds nothing: it answers where nobody else does."""
        to = self._desk.roster.agents[handed.to]
        ttl = LockTtl(None, to.lock_ttl_s, self._desk.lock_ttl_s)
        actor = f"agent:{self._agent.key}"
        if to is self._desk.roster.manager:
            return Relock(None, ttl, actor, "lock_cleared", handed.reason, of=self._agent.key)
        return Relock(to.key, ttl, actor, "lock_set", handed.reason)
