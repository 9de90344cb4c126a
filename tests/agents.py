"""An agent with a tool of each effect class, which a test can count, hold at a gate, or have fail."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from core.agents.agent import Agent
from core.agents.roster import Roster
from core.agents.tool import Arguments, Effect, Tool, ToolContext


@dataclass(slots=True)
class Workshop:
    """What the tools do and did. `does` replaces what a tool does by its name."""

    ran: Counter[str] = field(default_factory=Counter)
    keys: list[str] = field(default_factory=list)
    does: dict[str, Callable[[ToolContext, Arguments], str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def roster(self, *, thinking: bool = False, time_limit_s: float = 10.0) -> Roster:
        def tool(name: str, effect: Effect, *, asks: bool = False) -> Tool:
            def run(context: ToolContext, arguments: Arguments) -> str:
                with self.lock:
                    self.ran[name] += 1
                    self.keys.append(context.idempotency_key)
                does = self.does.get(name)
                return does(context, arguments) if does else f"{name} says yes"

            return Tool(
                name=name,
                description=f"The tool {name}.",
                effect=effect,
                run=run,
                time_limit_s=time_limit_s,
                needs_approval=lambda _: asks,
            )

        tools = (
            tool("peek", Effect.READ),
            tool("pay", Effect.IDEMPOTENT),
            tool("post", Effect.ONCE),
            tool("burn", Effect.ONCE, asks=True),
        )
        return Roster.of(Agent(key="manager", prompt="You are one.", tools=tools, thinking=thinking))


def call(*names: str) -> list[dict[str, object]]:
    """A scripted reply's content: a call of each of these tools."""
    return [{"type": "tool_use", "name": name, "input": {}} for name in names]
