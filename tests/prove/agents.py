"""The agents of the proof: a manager and two specialists, who hand over to each other. Their tools leave a mark in the
database for each time that they take effect.
"""

from collections.abc import Callable
from dataclasses import dataclass

import psycopg2

from core.agents.agent import EVERYBODY, Agent
from core.agents.roster import Roster
from core.agents.tool import Arguments, Effect, Tool, ToolContext

EFFECTS = """
CREATE TABLE IF NOT EXISTS effects (
    id bigserial PRIMARY KEY, session_id uuid NOT NULL, key text NOT NULL, tool text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX IF NOT EXISTS one_effect_a_key ON effects (key)
WHERE tool IN ('transfer_payment', 'book_appointment');
"""
_MARK = "INSERT INTO effects (session_id, key, tool) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"

Told = Callable[[str], None]

SPECIALISTS = ("scheduling", "billing")


@dataclass(frozen=True, slots=True)
class Release:
    """What a deploy may change of the agents."""

    # The manager's prompt, and the description of the tool that all have.
    prompt: str = "You are at the front desk."
    forecast: str = "Looks up the weather forecast."
    # The specialists that it does not have.
    without: tuple[str, ...] = ()


def roster(url: str, told: Told, release: Release = Release()) -> Roster:
    """`url`: where the marks are made, past everything that is broken on purpose. `told`: hears when a tool begins and ends."""

    def mark(tool: str) -> Callable[[ToolContext, Arguments], str]:
        def run(context: ToolContext, arguments: Arguments) -> str:
            del arguments
            told(f"before tool {tool}")
            connection = psycopg2.connect(url)
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(_MARK, (str(context.session_id), context.idempotency_key, tool))
            connection.close()
            told(f"after tool {tool}")
            return f"{tool}: done."

        return run

    def tool(name: str, description: str, effect: Effect, *, asks: bool = False) -> Tool:
        return Tool(
            name=name,
            description=description,
            effect=effect,
            run=mark(name),
            needs_approval=asks,
        )

    weather = tool("lookup_weather", release.forecast, Effect.READ)
    payment = tool("transfer_payment", "Transfers the payment of an invoice.", Effect.IDEMPOTENT)
    letter = tool("send_letter", "Sends a letter by post.", Effect.ONCE)
    archive = tool("delete_archive", "Deletes the archive for good.", Effect.ONCE, asks=True)
    booking = tool("book_appointment", "Books a visit.", Effect.IDEMPOTENT)
    manager = Agent(
        key="manager",
        prompt=release.prompt,
        description="Everything else.",
        tools=(weather, payment, letter, archive),
        hands_over_to=EVERYBODY,
        todos=True,
        thinking=True,
    )
    scheduling = Agent(
        key="scheduling",
        prompt="You keep the calendar.",
        description="When to book an appointment with the doctor.",
        tools=(booking, weather),
        hands_over_to=EVERYBODY,
        lock_ttl_s=3_600,
        todos=True,
        thinking=True,
    )
    billing = Agent(
        key="billing",
        prompt="You write the invoices.",
        description="A payment, a letter or the archive.",
        tools=(weather, letter, payment, archive),
        hands_over_to=EVERYBODY,
        lock_ttl_s=600,
        thinking=True,
    )
    specialists = [agent for agent in (scheduling, billing) if agent.key not in release.without]
    return Roster.of(manager, *specialists)


# What a person says to have the demo model, by its rule of choice, call a tool.
SAYS = {
    "plain": "Good day to you",
    "read": "Please lookup the weather",
    "idempotent": "Please transfer the payment",
    "once": "Please send the letter",
    "approval": "Please delete the archive",
    # The manager hands over to scheduling, which books at once.
    "handover": "Please book the appointment with the doctor",
}
