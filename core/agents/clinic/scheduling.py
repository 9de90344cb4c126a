"""Scheduling: keeps the appointments of the example's clinic."""

import datetime

from core.agents.agent import Agent
from core.agents.clinic.calendar import day_of, spelt, spelt_time, time_of, told
from core.agents.clinic.money import dollars
from core.agents.tool import Effect, ToolContext, ToolFailed, tool
from core.store import clinic


@tool(effect=Effect.READ)
def find_free_slots(context: ToolContext, day: str, doctor: str = "") -> str:
    """Finds free times for an appointment with a doctor: today, tomorrow or on another day.

    Args:
        day: today, tomorrow, a weekday, or a date as YYYY-MM-DD.
        doctor: The doctor's name. Left out: any doctor.
    """
    with context.connect() as connection:
        today = clinic.today(connection)
        when = day_of(day, today)
        known = clinic.doctors(connection)
        free = clinic.free(connection, when, _doctor(known, doctor))
    if not free:
        return f"{told(today)} On {spelt(when)} no time is free."
    lines = [
        f"{_spelt(one)}: {', '.join(times)}"
        for one in known
        if (times := [f"{at:%H:%M}" for name, at in free if name == one.name])
    ]
    return "\n".join([f"{told(today)} Free on {spelt(when)}, half an hour each:", *lines])


@tool(effect=Effect.READ)
def list_appointments(context: ToolContext) -> str:
    """Lists the person's appointments, past and coming, each with its number."""
    with context.connect() as connection:
        today = clinic.today(connection)
        found = clinic.appointments(connection, context.user_id)
    if not found:
        return f"{told(today)} There are no appointments."
    return "\n".join([told(today), *map(_line, found)])


@tool(effect=Effect.IDEMPOTENT)
def book_slot(context: ToolContext, day: str, time: str, reason: str, doctor: str = "") -> str:
    """Books a slot of a doctor that is free, today, tomorrow or on another day, and makes out its invoice.

    Args:
        day: today, tomorrow, a weekday, or a date as YYYY-MM-DD.
        time: When it begins, such as 14:30.
        reason: What the person comes for, in a few words of theirs.
        doctor: The doctor's name. Left out: whoever is free then.
    """
    at = time_of(time)
    with context.connect() as connection:
        when = datetime.datetime.combine(day_of(day, clinic.today(connection)), at)
        wanted = _doctor(clinic.doctors(connection), doctor)
        booked = clinic.book(connection, context.user_id, context.idempotency_key, when, reason, wanted)
    if booked is None:
        raise ToolFailed(f"{spelt_time(when)} is not free, so nothing was booked. Look for times that are.")
    return f"Booked. {_line(booked)} Its invoice has the same number."


@tool(effect=Effect.IDEMPOTENT, needs_approval=True)
def cancel_appointment(context: ToolContext, number: int) -> str:
    """Cancels an appointment that is still to come. The person is asked for a yes before it is done.

    Args:
        number: The number of the appointment.
    """
    with context.connect() as connection:
        cancelled = clinic.cancel(connection, context.user_id, number)
    if cancelled is None:
        raise ToolFailed(f"There is no appointment {number} that could be cancelled.")
    return _line(cancelled)


@tool(effect=Effect.ONCE)
def send_reminder(context: ToolContext, number: int) -> str:
    """Sends a text message to the person's phone, to remind them of an appointment.

    Args:
        number: The number of the appointment.
    """
    with context.connect() as connection:
        found = clinic.appointment(connection, context.user_id, number)
        if found is None or found.status != "booked":
            raise ToolFailed(f"There is no appointment {number} to come, so nothing was sent.")
        words = f"Dr. {found.doctor} expects you on {spelt_time(found.starts_at)}."
        clinic.send(connection, context.user_id, "patient", words)
    return f'Sent: "{words}"'


def _doctor(known: list[clinic.Doctor], said: str) -> int | None:
    """The id of whom they mean. None: anybody."""
    words = {word for word in said.replace(".", " ").lower().split() if word not in ("dr", "doctor")}
    if not words:
        return None
    fits = [one for one in known if words <= set(one.name.lower().split())]
    if len(fits) != 1:
        there = ", ".join(map(_spelt, known))
        raise ToolFailed(f"There is no doctor {said[:40]!r} here. There are: {there}.")
    return fits[0].id


def _spelt(one: clinic.Doctor) -> str:
    return f"Dr. {one.name} ({one.speciality}, {dollars(one.fee_cents)})"


def _line(one: clinic.Appointment) -> str:
    return f"Appointment {one.number} with Dr. {one.doctor}, {spelt_time(one.starts_at)}, is {one.status}."


SCHEDULING = Agent(
    key="scheduling",
    description="Appointments with a doctor: finds a free appointment, can book, list or cancel appointments, and send a reminder.",
    prompt=(
        "You keep the appointments of a small clinic, and write with its patients. Answer in a few plain sentences, in "
        "the language they write in. What was said earlier in this conversation is in front of you: use it, and do not ask "
        "again for what you were told.\n"
        "Your tools know the doctors, the free times, and what day it is: never guess one of them. Offer two or three "
        "times rather than all. Book when the person has chosen a day and a time, and tell them the number. An outcome "
        "that is unknown is not to be tried again: say what you know.\n"
        "What is about invoices and payments you hand over to billing, and what is about neither to the manager, at once "
        "and without announcing it. Give no medical advice."
    ),
    todos=True,
    tools=(find_free_slots, list_appointments, book_slot, cancel_appointment, send_reminder),
    hands_over_to=("billing", "manager"),
)
