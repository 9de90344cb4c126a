"""A function that runs one errand after another, told on its standard input: for a process with a clock of its own."""

import datetime
import json
import sys
import time
from dataclasses import asdict
from typing import Any
from uuid import UUID


def set_clock(off_by_s: float) -> None:
    """Before anything is imported that asks for the time."""
    real = time.time

    class Moved(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Moved":
            return cls.fromtimestamp(real() + off_by_s, tz)

        @classmethod
        def utcnow(cls) -> "Moved":
            return cls.now(datetime.UTC).replace(tzinfo=None)

    time.time = lambda: real() + off_by_s
    time.time_ns = lambda: int((real() + off_by_s) * 1e9)
    datetime.datetime = Moved  # type: ignore[misc]  # all of the process is to believe it


def main() -> None:
    set_clock(float(sys.argv[1]))
    from tests.prove.errands import Errand, Place, Points, Result, open_house, run

    points = Points(None)
    house = open_house(Place(**json.loads(sys.stdin.readline())), points)
    _say({"time": time.time()})
    for line in sys.stdin:
        errand = Errand(**_with_ids(json.loads(line)))
        try:
            turn = run(house, errand)
            shown = None if turn is None else {"id": str(turn.id), "status": turn.status, "reply": turn.reply}
            _say(asdict(Result(turn=shown)))
        except Exception as error:
            _say(asdict(Result(problem=f"{type(error).__name__}: {error}")))
    house.close()


def _with_ids(given: dict[str, Any]) -> dict[str, Any]:
    ids = ("device", "session_id", "turn_id", "approval_id")
    return {name: UUID(str(value)) if name in ids and value else value for name, value in given.items()}


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
