"""The roster: which agents there are. The manager answers whatever nobody else holds."""

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from core.agents.agent import EVERYBODY, Agent
from core.agents.builtin import equipped
from core.agents.checks import problems_of
from core.agents.clinic.billing import BILLING
from core.agents.clinic.manager import MANAGER
from core.agents.clinic.scheduling import SCHEDULING
from core.values import dataclass


@dataclass(frozen=True, slots=True)
class Roster:
    manager: Agent
    agents: Mapping[str, Agent]
    # As they were listed: of two with one key the mapping has only the last.
    listed: tuple[Agent, ...]

    @classmethod
    def of(cls, manager: Agent, *specialists: Agent) -> "Roster":
        listed = tuple(_knowing(agent, (manager, *specialists)) for agent in (manager, *specialists))
        agents = {agent.key: agent for agent in listed}
        # What is wrong is refused before anybody is served, so it need not be equipped.
        if not any(problems_of(listed)):
            agents = {key: equipped(agent, agents) for key, agent in agents.items()}
        return cls(agents[manager.key], MappingProxyType(agents), listed)

    def owner(self, active_agent: str | None) -> Agent:
        """Who answers: the holder of the lock if there is one that we know, else the manager."""
        return self.agents.get(active_agent or "", self.manager)

    def problems(self, *, longest_call_s: float = math.inf) -> list[str]:
        """All that is wrong with how its agents are declared, a sentence each."""
        return list(problems_of(self.listed, longest_call_s))


def _knowing(agent: Agent, all_: tuple[Agent, ...]) -> Agent:
    if agent.hands_over_to != EVERYBODY:
        return agent
    return replace(agent, hands_over_to=tuple(other.key for other in all_ if other.key != agent.key))


ROSTER = Roster.of(MANAGER, SCHEDULING, BILLING)
