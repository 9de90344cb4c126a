"""What is looked at before it is told: where the day goes otherwise than it is written, it ends there."""

import json
import re
import time
from datetime import date, timedelta

from dev.demo.calls import Json
from dev.demo.people import Person

_SLOTS = re.compile(r"Dr\. (?P<doctor>[\w ]+) \([^)]*\): (?P<times>\d\d:\d\d(?:, \d\d:\d\d)*)")
_PATIENCE_S = 30
_POLL_S = 0.05


class WentOtherwise(Exception):
    """One sentence: what was to happen, and what did."""


def is_as_told(turn: Json, status: str, *, agent: str | None = None, calls: list[str] | None = None) -> None:
    called = [call["name"] for call in turn["tool_calls"]]
    found = (turn["status"], turn["agent"] if agent else None, called if calls else None)
    if found != (status, agent, calls):
        error = f" ({turn['error']['code']})" if turn["error"] else ""
        raise WentOtherwise(
            f"Turn {turn['id']} was to be {status} by {agent or 'anybody'} after {calls or 'any calls'}, "
            f"and is {turn['status']}{error} by {turn['agent']} after {called}."
        )


def book(person: Person, doctor: str, *, again: bool = False) -> str:
    """The first time of the doctor's that nobody has: which one it is depends on who has played before."""
    day = "tomorrow"
    if again:
        person.says("Which appointment times are free tomorrow?")
    for further in range(2, 30):
        free = {found["doctor"].split()[-1]: found["times"] for found in _SLOTS.finditer(_told(person))}
        if doctor in free:
            at = free[doctor].partition(",")[0]
            booked = person.says(f"Book {day} at {at} with doctor {doctor}")
            is_as_told(booked, "completed", agent="scheduling", calls=["book_slot"])
            return f"{day} at {at} with Dr. {doctor}"
        day = _later(_told(person), further)
        person.says(f"Which appointment times are free on {day}?")
    raise WentOtherwise(
        f"Dr. {doctor} has no time in the next month: take away what was played before (make demo ARGS=--erase)."
    )


def _told(person: Person) -> str:
    """What the last tool has returned."""
    for message in reversed(person.messages()):
        for block in message["content"]:
            if block["type"] == "tool_result":
                return json.dumps(block["content"], ensure_ascii=False).replace("\\n", "\n")
    return ""


def _later(told: str, days: int) -> str:
    """The clinic's own today, and so many days more."""
    found = re.search(r"Today is \w+ (\d{4}-\d\d-\d\d)", told)
    if found is None:
        raise WentOtherwise("Scheduling was to say what day it is.")
    return (date.fromisoformat(found[1]) + timedelta(days=days)).isoformat()


def until_it_speaks(person: Person, turn: Json) -> None:
    """Until its first words have come over the stream."""
    told = (kind for kind, _ in person.calls.events(f"/v1/turns/{turn['id']}/events"))
    if "text_delta" not in told:
        raise WentOtherwise(f"{person.name} was to hear the first words of a reply, and heard none.")


def until_it_runs(person: Person, turn: Json, tool: str) -> None:
    """Until it is on record as begun."""
    until = time.monotonic() + _PATIENCE_S
    while not any(call["name"] == tool and call["status"] == "started" for call in turn["tool_calls"]):
        if time.monotonic() > until or turn["status"] not in ("queued", "running"):
            raise WentOtherwise(f"{person.name}'s {tool} was to run, and does not.")
        time.sleep(_POLL_S)
        turn = person.calls.get(f"/v1/turns/{turn['id']}")


def replies(person: Person) -> int:
    return len([one for one in person.messages() if one["role"] == "assistant"])
