"""Days and times as people and models write them, by the clock on the clinic's wall.

A model has no clock, and its prompt must have none either: what changes daily cannot be cached. So it may say "tomorrow",
and is told the date with every answer.
"""

import datetime
import re

from core.agents.tool import ToolFailed

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_NEAR = {"today": 0, "tonight": 0, "tomorrow": 1, "day after tomorrow": 2}
_TIME = re.compile(r"(?P<hour>\d{1,2})(?:[:.h](?P<minute>\d{2})(?::00)?)?(?: ?(?P<half>[ap])\.?m\.?)?")
_NAMED = {"noon": datetime.time(12), "midnight": datetime.time(0)}
_FURTHEST_DAYS = 365


def day_of(said: str, today: datetime.date) -> datetime.date:
    day = _day(said.strip().lower(), today)
    if day is None:
        raise ToolFailed(
            f"{said[:40]!r} is no day that is known here. {told(today)} Accepted: today, tomorrow, a weekday, or a date "
            "as YYYY-MM-DD."
        )
    if not today <= day <= today + datetime.timedelta(days=_FURTHEST_DAYS):
        raise ToolFailed(f"{spelt(day)} is past or more than a year away. {told(today)}")
    return day


def time_of(said: str) -> datetime.time:
    words = said.strip().lower()
    found = _TIME.fullmatch(words)
    if words in _NAMED:
        return _NAMED[words]
    if found is not None:
        hour, minute = int(found["hour"]), int(found["minute"] or 0)
        if found["half"] and 1 <= hour <= 12:
            hour = hour % 12 + (12 if found["half"] == "p" else 0)
        if hour < 24 and minute < 60:
            return datetime.time(hour, minute)
    raise ToolFailed(f"{said[:40]!r} is no time of day. Accepted: a time such as 14:30.")


def spelt(day: datetime.date) -> str:
    return f"{_WEEKDAYS[day.weekday()]} {day.isoformat()}"


def spelt_time(at: datetime.datetime) -> str:
    return f"{spelt(at.date())} at {at:%H:%M}"


def told(today: datetime.date) -> str:
    return f"Today is {spelt(today)}."


def _day(words: str, today: datetime.date) -> datetime.date | None:
    if words in _NEAR:
        return today + datetime.timedelta(days=_NEAR[words])
    weekday = words.removeprefix("next ").removeprefix("this ").removeprefix("on ").capitalize()
    if weekday in _WEEKDAYS:
        # The next one that is not today.
        return today + datetime.timedelta(days=(_WEEKDAYS.index(weekday) - today.weekday() - 1) % 7 + 1)
    try:
        return datetime.date.fromisoformat(words)
    except ValueError:
        return None
