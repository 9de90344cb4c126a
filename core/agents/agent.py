"""An agent: a declared specialist."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    key: str
    prompt: str
    max_tokens: int = 4_096
    # Whether the model may think before it answers; it decides itself for how long.
    thinking: bool = False
