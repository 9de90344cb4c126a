"""Asking: an agent asks the model, within its budgets and its time, and hears meanwhile when it is to stop.

Nothing is held all the while: no transaction and no connection, only the lease, which the heartbeat renews.
"""

from dataclasses import field
from time import perf_counter

from core.agents.agent import Agent
from core.attendance import attend
from core.budgets import Budgets, most_of
from core.conversation import Conversation
from core.deadline import Deadline
from core.errors import ModelTimeout
from core.holding import Holding
from core.model.bill import Bill
from core.model.prompt import Prompt
from core.model.reply import Model, ModelReply
from core.partials import Speech
from core.stopwatch import MODEL
from core.values import dataclass


class StopAsked(Exception):
    """While the model was being asked, the person changed their mind."""


@dataclass(slots=True)
class Asking:
    model: Model
    # Of the agents that name none.
    default_model: str
    timeout_s: float
    budgets: Budgets = field(default=Budgets())

    def prompt(self, agent: Agent, conversation: Conversation) -> Prompt:
        return Prompt(
            model=agent.model or self.default_model,
            system=agent.prompt,
            max_tokens=agent.max_tokens,
            thinking=agent.thinking,
            conversation=conversation,
            tools=(
                *(tool.declaration() for tool in agent.tools),
                *(server.toolset() for server in agent.mcp_servers),
            ),
            mcp_servers=tuple(server.definition() for server in agent.mcp_servers),
        )

    def reply(
        self, holding: Holding, prompt: Prompt, until: Deadline, speech: Speech | None = None
    ) -> ModelReply:
        """The whole reply; a ModelFailed or StopAsked says what was spent for nothing. `speech`: for whoever reads along."""
        self._afford(holding, prompt)
        limit = Deadline.after(self.timeout_s).earlier(until)
        bill, begun = Bill(prompt.model), perf_counter()

        def beat() -> None:
            holding.beat()
            if speech is not None:
                speech.stir()
            if holding.stop is not None:
                holding.tally.spend(bill.spent)
                raise StopAsked

        try:
            bell = speech.bell if speech else None
            with holding.watch.on(MODEL):
                asked = {"model": self.model.ask(prompt, limit, bill, speech)}
                for _, reply in attend(asked, limit, beat, holding.lease.beat_s, bell):
                    return reply.result()
            late = ModelTimeout()
            late.spent = bill.spent
            raise late
        finally:
            bill.leave()
            if bill.begun_at is not None:
                holding.watch.heard_after(bill.begun_at - begun)

    def _afford(self, holding: Holding, prompt: Prompt) -> None:
        """Raises BudgetExceeded before a call that could cost more than there is left."""
        if not self.budgets.are_set:
            return
        needed = most_of(prompt)
        self.budgets.check_own(holding.tally.turn, holding.tally.session, needed)
        if self.budgets.are_reserved:
            self.budgets.check_day(holding.reserve(needed))
