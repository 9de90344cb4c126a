"""The agent of the proof: its tools leave a mark in the database for each time that they take effect."""

from collections.abc import Callable

import psycopg2

from core.agents.agent import Agent
from core.agents.roster import Roster
from core.agents.tool import Arguments, Effect, Tool, ToolContext

EFFECTS = """
CREATE TABLE IF NOT EXISTS effects (
    id bigserial PRIMARY KEY, session_id uuid NOT NULL, key text NOT NULL, tool text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX IF NOT EXISTS one_payment_a_key ON effects (key) WHERE tool = 'transfer_payment';
"""
_MARK = "INSERT INTO effects (session_id, key, tool) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"

Told = Callable[[str], None]


def roster(url: str, told: Told) -> Roster:
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
            needs_approval=lambda _: asks,
        )

    return Roster.of(
        Agent(
            key="manager",
            prompt="You are at the front desk.",
            thinking=True,
            tools=(
                tool("lookup_weather", "Looks up the weather forecast.", Effect.READ),
                tool("transfer_payment", "Transfers the payment of an invoice.", Effect.IDEMPOTENT),
                tool("send_letter", "Sends a letter by post.", Effect.ONCE),
                tool("delete_archive", "Deletes the archive for good.", Effect.ONCE, asks=True),
            ),
        )
    )


# What a person says to have the demo model, by its rule of choice, call a tool.
SAYS = {
    "plain": "Good day to you",
    "read": "Please lookup the weather",
    "idempotent": "Please transfer the payment",
    "once": "Please send the letter",
    "approval": "Please delete the archive",
}
