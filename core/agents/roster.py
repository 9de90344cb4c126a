"""The roster: which agents there are. The manager answers whatever nobody else holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from core.agents.agent import Agent
from core.agents.builtin import equipped
from core.agents.manager import MANAGER


@dataclass(frozen=True, slots=True)
class Roster:
    manager: Agent
    agents: Mapping[str, Agent]

    @classmethod
    def of(cls, manager: Agent, *specialists: Agent) -> "Roster":
        declared = {agent.key: agent for agent in (manager, *specialists)}
        agents = {key: equipped(agent, declared) for key, agent in declared.items()}
        return cls(agents[manager.key], MappingProxyType(agents))

    def owner(self, active_agent: str | None) -> Agent:
        """Who answers: the holder of the lock if there is one that we know, else the manager."""
        return self.agents.get(active_agent or "", self.manager)


ROSTER = Roster.of(MANAGER)
