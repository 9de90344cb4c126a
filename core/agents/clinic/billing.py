"""Billing: the invoices of the example's clinic, and what is paid."""

from core.agents.agent import Agent
from core.agents.clinic.calendar import spelt
from core.agents.clinic.money import dollars
from core.agents.tool import Arguments, Effect, ToolContext, ToolFailed, tool
from core.store import clinic, clinic_bills

# What may be paid without asking the person once more.
_SMALL_DOLLARS = 50
_MOST_DOLLARS = 100_000


def _is_large(arguments: Arguments) -> bool:
    """What is no number is asked about as well."""
    amount = arguments.get("amount")
    return not isinstance(amount, int | float) or not 0 <= amount <= _SMALL_DOLLARS


@tool(effect=Effect.READ)
def list_invoices(context: ToolContext) -> str:
    """Lists the person's invoices, each with its number, and whether it is open, paid or void."""
    with context.connect() as connection:
        found = clinic_bills.invoices(connection, context.user_id)
    return "\n".join(map(_line, found)) or "There are no invoices."


@tool(effect=Effect.IDEMPOTENT, needs_approval=_is_large)
def pay_invoice(context: ToolContext, number: int, amount: float) -> str:
    """Pays an open invoice with the card on file. For a large amount the person is asked for a yes first.

    Args:
        number: The number of the invoice.
        amount: What it is over, in dollars, such as 40.00.
    """
    if not 0 < amount <= _MOST_DOLLARS:
        raise ToolFailed("That is no amount to be paid, so nothing was.")
    cents = round(amount * 100)
    with context.connect() as connection:
        found = clinic_bills.pay(connection, context.user_id, context.idempotency_key, number, cents)
    if found is None:
        raise ToolFailed(f"There is no invoice {number}, so nothing was paid.")
    if found.paid_by == context.idempotency_key:
        return _line(found)
    if found.status != "open":
        raise ToolFailed(f"{_line(found)} Nothing was paid now.")
    raise ToolFailed(
        f"Invoice {number} is over {dollars(found.amount_cents)}, so nothing was paid. Give its amount."
    )


@tool(effect=Effect.ONCE, needs_approval=True)
def request_refund(context: ToolContext, number: int, reason: str) -> str:
    """Asks bookkeeping for a refund of an invoice that is paid. The person is asked for a yes before it is done.

    Args:
        number: The number of the invoice.
        reason: Why, in a few words.
    """
    with context.connect() as connection:
        found = clinic_bills.invoice(connection, context.user_id, number)
        if found is None or found.status != "paid":
            raise ToolFailed(f"There is no invoice {number} that is paid, so there is nothing to give back.")
        words = f"Refund of {dollars(found.amount_cents)} for invoice {number}: {reason}"
        clinic.send(connection, context.user_id, "bookkeeping", words)
    return "Bookkeeping was asked for the refund, and writes to the person within a week."


def _line(one: clinic_bills.Invoice) -> str:
    what = f"for Dr. {one.doctor} on {spelt(one.starts_at.date())}"
    return f"Invoice {one.number} over {dollars(one.amount_cents)}, {what}, is {one.status}."


BILLING = Agent(
    key="billing",
    description="Invoices and payments: can list invoices, pay an invoice, and ask for the refund of a payment.",
    prompt=(
        "You keep the invoices of a small clinic, and write with its patients. Answer in a few plain sentences, in the "
        "language they write in. What was said earlier in this conversation is in front of you: use it, and do not ask "
        "again for what you were told.\n"
        "Your tools know what is owed and what is paid: never guess it. Look an invoice up before you pay it, and pay just "
        "what it is over. Pay or ask for a refund only if the person wants it. An outcome that is unknown is not to be "
        "tried again: say what you know.\n"
        "What is about appointments you hand over to scheduling, and what is about neither to the manager, at once and "
        "without announcing it."
    ),
    tools=(list_invoices, pay_invoice, request_refund),
    hands_over_to=("scheduling", "manager"),
)
